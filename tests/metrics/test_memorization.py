"""The verdict on models that copy, and on new samples of the same distribution, which are not copies."""

import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

import sfumato as sf
from metrics.blobs import blobs, noise
from sfumato.data import load_images
from sfumato.diffusion import analytic
from sfumato.errors import DataError
from sfumato.metrics.memorization import Memorization, closest_pairs, of_features, of_images
from sfumato.metrics.memorization.shifts import STILL, Shift, shifted, shifts_within

TRAIN = blobs(300, 0)
HELD_OUT = blobs(250, 1)
FRESH = blobs(200, 2)


def shuffled(images: Tensor, seed: int) -> Tensor:
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))]


def random_moves(images: Tensor) -> Tensor:
    """Images with flips and shifts by up to 2 pixels."""
    moves = shifts_within(2, flips=True)
    return torch.stack([shifted(image, moves[(7 * index) % len(moves)]) for index, image in enumerate(images)])


def described(image: Tensor) -> Tensor:
    """Features that do not depend on small shifts and flips."""
    return torch.nn.functional.avg_pool2d(image + image.flip(3), 4).flatten(1)


def test_the_exact_denoiser_of_the_training_set_copies() -> None:
    samples = sf.sample(analytic.images(sf.schedules.LinearBeta(), TRAIN), 100, steps=20)
    found = of_images(samples, TRAIN, HELD_OUT)
    assert found.verdict == "copies"
    assert found.flagged == 100
    assert max(match.distance for match in found.samples) < 0.01
    assert len({match.train for match in found.samples}) > 50
    assert {match.move for match in found.samples} == {STILL}
    assert found.sentence == (
        "Copies: 100 of 100 samples are closer to a training image than 99.6 % of held-out images are, and 0.4 are "
        "expected by chance. The requested 99.9 % need 999 held-out images."
    )
    assert of_features(described(samples), described(TRAIN), described(HELD_OUT)).verdict == "copies"


def test_a_gaussian_fitted_to_the_training_set_does_not_copy() -> None:
    model = analytic.gaussian(sf.schedules.LinearBeta(), TRAIN.mean(0), TRAIN.var(0).mean().item())
    found = of_images(sf.sample(model, 100, steps=20), TRAIN, HELD_OUT)
    assert (found.verdict, found.flagged) == ("no sign", 0)


def test_new_samples_of_the_same_distribution_are_not_copies() -> None:
    found = of_images(FRESH, TRAIN, HELD_OUT, rate=0.01)
    assert found.verdict == "no sign"
    assert found.flagged <= 7  # 2 are expected
    assert found.sentence.startswith(f"No sign of copies: {found.flagged} of 200 samples")
    assert found.expected == 200 * 2 / 251
    features = of_features(described(FRESH), described(TRAIN), described(HELD_OUT), rate=0.01)
    assert features.verdict == "no sign"


@pytest.mark.parametrize("deviation", [0.0, 0.05, 0.15])
def test_copies_are_found_through_flips_shifts_and_noise(deviation: float) -> None:
    copies = random_moves(TRAIN[:100])
    found = of_images(copies + noise(copies, deviation, 3), TRAIN, HELD_OUT)
    assert found.verdict == "copies"
    assert found.flagged == 100
    assert [match.train for match in found.samples] == list(range(100))
    moves = shifts_within(2, flips=True)
    assert [match.move for match in found.samples] == [moves[(7 * index) % len(moves)] for index in range(100)]
    assert torch.tensor([match.distance for match in found.samples]).mean().item() == pytest.approx(
        deviation / 2, rel=0.02, abs=1e-9
    )


def test_moved_copies_are_missed_without_flips_or_shifts() -> None:
    copies = torch.stack([shifted(image, Shift(flipped=True, down=2, right=-2)) for image in TRAIN[:100]])
    assert of_images(copies, TRAIN, HELD_OUT).flagged == 100
    assert of_images(copies, TRAIN, HELD_OUT, flips=False).flagged < 10
    assert of_images(copies, TRAIN, HELD_OUT, reach=0).flagged < 60


def test_a_few_copies_among_new_images_are_flagged() -> None:
    found = of_images(torch.cat([FRESH, random_moves(TRAIN[:30])]), TRAIN, HELD_OUT)
    assert found.verdict == "copies"
    assert all(match.flagged for match in found.samples[200:])
    assert found.flagged <= 33


def test_flat_images_are_not_flagged_as_copies() -> None:
    """They are close to many training images; their distance alone would flag them."""
    greys = torch.rand(400, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(400, 3, 16, 16) * 0.2
    train, held_out = torch.cat([TRAIN, greys[:200]]), torch.cat([HELD_OUT, greys[200:220]])
    found = of_images(greys[220:], train, held_out, rate=0.01)
    assert max(match.distance for match in found.samples) < min(match.distance for match in found.held_out[:250])
    assert found.flagged <= 5  # 1.4 are expected


@pytest.mark.parametrize("width", [1, 2, 4])
def test_data_of_few_dimensions_have_no_copies(width: int) -> None:
    """On a line or a plane the nearest point is often much nearer than the second, for held-out points too."""
    for seed in range(20):
        samples, train, held_out = torch.randn(3, 500, width, generator=torch.Generator().manual_seed(seed))
        assert of_features(samples, train, held_out).verdict != "copies"


def test_an_image_equal_to_many_training_images_is_not_a_copy() -> None:
    """With flips and shifts all of them are equal, so the nearest one is arbitrary."""
    train = torch.cat([TRAIN, random_moves(TRAIN[:1].expand(30, -1, -1, -1))])
    assert of_images(TRAIN[:1], train, HELD_OUT).samples[0].ratio == 1


def test_the_index_of_a_training_image_counts_duplicates() -> None:
    """The first of equal images."""
    train = torch.cat([TRAIN[:5], TRAIN[:5], TRAIN])
    found = of_images(TRAIN[[3, 5, 299]], train, HELD_OUT)
    assert [match.train for match in found.samples] == [3, 15, 309]
    features = of_features(described(TRAIN[[3, 5, 299]]), described(train), described(HELD_OUT))
    assert [match.train for match in features.samples] == [3, 15, 309]


@pytest.mark.parametrize("copies", [1, 40])
@pytest.mark.slow
def test_duplicates_in_the_training_set_do_not_hide_copies(copies: int) -> None:
    train = torch.cat([TRAIN, *[TRAIN[:100]] * copies])
    found = of_images(TRAIN[:100] + noise(TRAIN[:100], 0.1, 0), train, HELD_OUT)
    assert found.flagged == 100
    assert [match.train for match in found.samples] == list(range(100))
    alone = of_images(FRESH, TRAIN, HELD_OUT)
    assert of_images(FRESH, train, HELD_OUT).samples == alone.samples


def test_near_duplicates_in_the_training_set_do_not_hide_copies() -> None:
    """Eight versions of each image, as from different encodings."""
    again = torch.cat([TRAIN + noise(TRAIN, 0.02, seed) for seed in range(7)])
    found = of_images(TRAIN[:100] + noise(TRAIN[:100], 0.05, 9), torch.cat([TRAIN, again]), HELD_OUT)
    assert found.flagged == 100


def test_repeats_among_held_out_images_do_not_change_the_verdict() -> None:
    repeats = random_moves(TRAIN[:20]) + noise(TRAIN[:20], 0.05, 4)
    spoiled = torch.cat([HELD_OUT, repeats])
    copies = of_images(TRAIN[100:200], TRAIN, spoiled)
    assert copies.verdict == "copies"
    assert copies.threshold.repeats == 20
    assert "20 of 270 held-out images repeat a training image and were ignored." in copies.sentence
    assert [match.image for match in copies.held_out if match.flagged] == list(range(250, 270))
    assert copies.threshold.below == of_images(TRAIN[100:200], TRAIN, HELD_OUT).threshold.below
    assert of_images(FRESH, TRAIN, spoiled).verdict == "no sign"


def test_as_many_repeats_as_among_held_out_images_are_unclear() -> None:
    spoiled = torch.cat([HELD_OUT, TRAIN[:25]])
    found = of_images(torch.cat([FRESH, TRAIN[50:70]]), TRAIN, spoiled)
    assert found.verdict == "unclear"
    assert found.chance < 0.01
    assert found.sentence.startswith("Perhaps copies:")
    assert "remove duplicates from the data" in found.sentence


def test_certain_copies_are_reported_with_few_held_out_images() -> None:
    """Ranks among 100 images cannot exclude chance, although no held-out image is nearly as close."""
    found = of_images(torch.cat([FRESH, TRAIN[:10]]), TRAIN, HELD_OUT[:100])
    assert found.verdict == "unclear"
    assert found.chance > 0.01
    assert (
        "10 of them are three times closer to one training image than to the next 10, compared with 0 of 100"
        in found.sentence
    )


@pytest.mark.parametrize("held_out", [0, 40])
def test_with_few_held_out_images_the_rule_of_thumb_is_used(held_out: int) -> None:
    copies = of_images(TRAIN[:50], TRAIN, HELD_OUT[:held_out])
    assert copies.verdict == "copies"
    assert copies.threshold.rank is None
    assert "50 of 50 samples are three times closer to one training image than to the next 10" in copies.sentence
    assert (
        f"needs 100 held-out images that do not repeat a training image, and there are {held_out}." in copies.sentence
    )
    assert of_images(FRESH, TRAIN, HELD_OUT[:held_out]).verdict == "no sign"


@pytest.mark.slow
def test_real_held_out_digits_are_flagged_at_the_stated_rate() -> None:
    """Ten random divisions of the digits; the ranks of new and held-out digits have the same distribution."""
    digits = load_images("digits").floats()
    flagged, expected = 0, 0.0
    for seed in range(10):
        train, held_out, fresh = shuffled(digits, seed).split(599)[:3]
        found = of_images(fresh, train, held_out, rate=0.01)
        flagged, expected = flagged + found.flagged, expected + found.expected
        assert found.verdict == "no sign"
    assert 0.5 * expected < flagged < 1.6 * expected


def test_a_model_that_copies_digits_is_detected() -> None:
    train, held_out = shuffled(load_images("digits").floats(), 0).split(1200)[:2]
    samples = sf.sample(analytic.images(sf.schedules.LinearBeta(), train), 100, steps=20)
    found = of_images(samples, train, held_out)
    assert found.verdict == "copies"
    assert found.flagged == 100


def test_the_ratio_is_the_nearest_over_the_mean_of_the_next_ten() -> None:
    found = of_features(described(FRESH), described(TRAIN), described(HELD_OUT))
    distances = torch.cdist(described(FRESH).double(), described(TRAIN).double()).sort(1)
    expected = distances.values[:, 0] / distances.values[:, 1:11].mean(1)
    torch.testing.assert_close(torch.tensor([m.ratio for m in found.samples]), expected.float())
    assert [match.train for match in found.samples] == distances.indices[:, 0].tolist()


def test_batches_and_order_do_not_change_the_result() -> None:
    found = of_images(FRESH, TRAIN, HELD_OUT)
    backwards = of_images(FRESH.flip(0), TRAIN, HELD_OUT.flip(0))
    assert [match.ratio for match in backwards.samples[::-1]] == [match.ratio for match in found.samples]
    assert backwards.threshold == found.threshold
    assert backwards.sentence == found.sentence


def test_the_result_is_json() -> None:
    found = of_images(FRESH[:3], TRAIN, HELD_OUT)
    again = json.loads(json.dumps(asdict(found)))
    assert again["samples"][2]["ratio"] == found.samples[2].ratio
    assert again["threshold"]["rate"] == found.threshold.rate


def test_closest_pairs_are_sorted_and_show_moved_training_images() -> None:
    copies = random_moves(TRAIN[:5])
    samples = torch.cat([FRESH[:20], copies])
    found = of_images(samples, TRAIN, HELD_OUT)
    pairs = closest_pairs(samples, TRAIN, found.samples, 5)
    assert pairs.shape == (5, 2, 3, 16, 16)
    assert {tuple(pair[0].flatten().tolist()) for pair in pairs} == {tuple(copy.flatten().tolist()) for copy in copies}
    assert (pairs[:, 0] == pairs[:, 1]).all()
    usual = closest_pairs(HELD_OUT, TRAIN, found.held_out, 5)
    differences = (usual[:, 0] - usual[:, 1]).square().mean((1, 2, 3))
    assert (differences > 0.01).all()
    assert closest_pairs(samples, TRAIN, found.samples, 100).shape == (25, 2, 3, 16, 16)
    assert closest_pairs(HELD_OUT[:0], TRAIN, (), 5).shape == (0, 2, 3, 16, 16)


def test_progress_counts_samples_and_held_out_images() -> None:
    done: list[int] = []
    of_images(FRESH[:30], TRAIN, HELD_OUT[:20], on_images=done.append)
    of_features(described(FRESH[:30]), described(TRAIN), described(HELD_OUT[:20]), on_images=done.append)
    assert sum(done) == 100


@pytest.mark.parametrize(
    ("samples", "train", "held_out", "problem"),
    [
        (FRESH[:0], TRAIN, HELD_OUT, "for 0 images"),
        (FRESH, TRAIN[:10], HELD_OUT, "10 different training image"),
        (FRESH, torch.zeros(300, 3, 16, 16), HELD_OUT, "1 different training image"),
        (blobs(5, 2, side=12), TRAIN, HELD_OUT, "3x12x12"),
        (FRESH, TRAIN, blobs(5, 1, channels=1), "1x16x16"),
        (FRESH * math.nan, TRAIN, HELD_OUT, "NaN"),
        (FRESH, TRAIN, HELD_OUT * math.nan, "NaN"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_images_that_cannot_be_compared_are_rejected(
    samples: Tensor, train: Tensor, held_out: Tensor, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        of_images(samples, train, held_out)


def test_constant_samples_are_supported() -> None:
    found: Memorization = of_images(torch.full((3, 3, 16, 16), 0.9), TRAIN, HELD_OUT)
    assert found.flagged == 0
    assert found.samples[0].move in {Shift(*move) for move in shifts_within(2, flips=True)}
