"""The verdict on models that copy, made here, and on fresh draws of the same law, which cannot."""

import json
import math
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

import sfumato as sf
from metrics.made import blobs, noise
from sfumato.data import load_images
from sfumato.diffusion import analytic
from sfumato.errors import DataError
from sfumato.metrics.memorization import Memorization, closest_pairs, of_features, of_images
from sfumato.metrics.shifts import STILL, Shift, shifted, shifts_within

TRAIN = blobs(300, 0)
HELD_OUT = blobs(250, 1)
FRESH = blobs(200, 2)


def shuffled(images: Tensor, seed: int) -> Tensor:
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))]


def random_moves(images: Tensor) -> Tensor:
    """Each image flipped or not and shifted by up to 2 pixels."""
    moves = shifts_within(2, flips=True)
    return torch.stack([shifted(image, moves[(7 * index) % len(moves)]) for index, image in enumerate(images)])


def described(image: Tensor) -> Tensor:
    """Features: what of images is left when small shifts and flips are not seen."""
    return torch.nn.functional.avg_pool2d(image + image.flip(3), 4).flatten(1)


def test_the_exact_denoiser_of_the_training_set_copies() -> None:
    samples = sf.sample(analytic.images(sf.LinearBeta(), TRAIN), 100, steps=20)
    found = of_images(samples, TRAIN, HELD_OUT)
    assert found.verdict == "copies"
    assert found.flagged == 100
    assert max(match.distance for match in found.samples) < 0.01
    assert len({match.train for match in found.samples}) > 50
    assert {match.move for match in found.samples} == {STILL}
    assert found.sentence == (
        "It copies: 100 of 100 samples are closer to a training image than 99.6 % of held-out images are, where chance "
        "alone gives 0.4. The 99.9 % that were asked need 999 held-out images."
    )
    assert of_features(described(samples), described(TRAIN), described(HELD_OUT)).verdict == "copies"


def test_a_gaussian_fitted_to_the_training_set_does_not_copy() -> None:
    model = analytic.gaussian(sf.LinearBeta(), TRAIN.mean(0), TRAIN.var(0).mean().item())
    found = of_images(sf.sample(model, 100, steps=20), TRAIN, HELD_OUT)
    assert (found.verdict, found.flagged) == ("no sign", 0)


def test_fresh_draws_of_the_same_law_do_not_copy() -> None:
    found = of_images(FRESH, TRAIN, HELD_OUT, rate=0.01)
    assert found.verdict == "no sign"
    assert found.flagged <= 7  # 2 are expected
    assert found.sentence.startswith(f"No sign of copying: {found.flagged} of 200 samples")
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


def test_moved_copies_are_missed_where_moves_are_not_looked_at() -> None:
    """So the search is what finds them."""
    copies = torch.stack([shifted(image, Shift(flipped=True, down=2, right=-2)) for image in TRAIN[:100]])
    assert of_images(copies, TRAIN, HELD_OUT).flagged == 100
    assert of_images(copies, TRAIN, HELD_OUT, flips=False).flagged < 10
    assert of_images(copies, TRAIN, HELD_OUT, reach=0).flagged < 60


def test_a_few_copies_among_fresh_images_are_told_and_named() -> None:
    found = of_images(torch.cat([FRESH, random_moves(TRAIN[:30])]), TRAIN, HELD_OUT)
    assert found.verdict == "copies"
    assert all(match.flagged for match in found.samples[200:])
    assert found.flagged <= 33


def test_flat_images_are_not_taken_for_copies() -> None:
    """They are close to a training image, but to many: the distance alone would flag them."""
    greys = torch.rand(400, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(400, 3, 16, 16) * 0.2
    train, held_out = torch.cat([TRAIN, greys[:200]]), torch.cat([HELD_OUT, greys[200:220]])
    found = of_images(greys[220:], train, held_out, rate=0.01)
    assert max(match.distance for match in found.samples) < min(match.distance for match in found.held_out[:250])
    assert found.flagged <= 5  # 1.4 are expected


@pytest.mark.parametrize("width", [1, 2, 4])
def test_where_data_have_few_dimensions_nothing_is_called_a_copy(width: int) -> None:
    """On a line or a plane, one point is often far nearer than the next: of held-out ones too."""
    for seed in range(20):
        samples, train, held_out = torch.randn(3, 500, width, generator=torch.Generator().manual_seed(seed))
        assert of_features(samples, train, held_out).verdict != "copies"


def test_an_image_that_all_training_images_nearby_equal_is_no_copy_of_one() -> None:
    """Flipped and shifted they are all the same, so which one is nearest says nothing."""
    train = torch.cat([TRAIN, random_moves(TRAIN[:1].expand(30, -1, -1, -1))])
    assert of_images(TRAIN[:1], train, HELD_OUT).samples[0].ratio == 1


def test_the_training_image_is_named_by_its_place_among_all_duplicates_included() -> None:
    """The first of equal ones."""
    train = torch.cat([TRAIN[:5], TRAIN[:5], TRAIN])
    found = of_images(TRAIN[[3, 5, 299]], train, HELD_OUT)
    assert [match.train for match in found.samples] == [3, 15, 309]
    features = of_features(described(TRAIN[[3, 5, 299]]), described(train), described(HELD_OUT))
    assert [match.train for match in features.samples] == [3, 15, 309]


@pytest.mark.parametrize("copies", [1, 40])
def test_duplicates_in_the_training_set_hide_no_copy(copies: int) -> None:
    train = torch.cat([TRAIN, *[TRAIN[:100]] * copies])
    found = of_images(TRAIN[:100] + noise(TRAIN[:100], 0.1, 0), train, HELD_OUT)
    assert found.flagged == 100
    assert [match.train for match in found.samples] == list(range(100))
    alone = of_images(FRESH, TRAIN, HELD_OUT)
    assert of_images(FRESH, train, HELD_OUT).samples == alone.samples


def test_nearly_equal_training_images_hide_no_copy() -> None:
    """Up to eight times the same picture, coded anew each time."""
    again = torch.cat([TRAIN + noise(TRAIN, 0.02, seed) for seed in range(7)])
    found = of_images(TRAIN[:100] + noise(TRAIN[:100], 0.05, 9), torch.cat([TRAIN, again]), HELD_OUT)
    assert found.flagged == 100


def test_held_out_images_that_repeat_training_images_hide_no_copier_and_blame_nobody() -> None:
    repeats = random_moves(TRAIN[:20]) + noise(TRAIN[:20], 0.05, 4)
    spoiled = torch.cat([HELD_OUT, repeats])
    copier = of_images(TRAIN[100:200], TRAIN, spoiled)
    assert copier.verdict == "copies"
    assert copier.threshold.repeats == 20
    assert "20 of 270 held-out images repeat a training image and were left out." in copier.sentence
    assert [match.image for match in copier.held_out if match.flagged] == list(range(250, 270))
    assert copier.threshold.below == of_images(TRAIN[100:200], TRAIN, HELD_OUT).threshold.below
    assert of_images(FRESH, TRAIN, spoiled).verdict == "no sign"


def test_repeating_no_more_than_held_out_images_do_is_unclear() -> None:
    spoiled = torch.cat([HELD_OUT, TRAIN[:25]])
    found = of_images(torch.cat([FRESH, TRAIN[50:70]]), TRAIN, spoiled)
    assert found.verdict == "unclear"
    assert found.chance < 0.01
    assert found.sentence.startswith("Perhaps it copies:")
    assert "take duplicates out of the data" in found.sentence


def test_certain_copies_among_many_samples_are_not_passed_over_where_few_images_are_held_out() -> None:
    """Ranks among a hundred cannot exclude chance, though no held-out image is nearly as close."""
    found = of_images(torch.cat([FRESH, TRAIN[:10]]), TRAIN, HELD_OUT[:100])
    assert found.verdict == "unclear"
    assert found.chance > 0.01
    assert (
        "10 of them are three times closer to one training image than to the next 10, beside 0 of 100" in found.sentence
    )


@pytest.mark.parametrize("held_out", [0, 40])
def test_with_few_held_out_images_the_rule_of_thumb_decides_and_says_so(held_out: int) -> None:
    copier = of_images(TRAIN[:50], TRAIN, HELD_OUT[:held_out])
    assert copier.verdict == "copies"
    assert copier.threshold.rank is None
    assert "50 of 50 samples are three times closer to one training image than to the next 10" in copier.sentence
    assert f"from 100 held-out images that repeat no training image, but not from {held_out}." in copier.sentence
    assert of_images(FRESH, TRAIN, HELD_OUT[:held_out]).verdict == "no sign"


def test_real_held_out_digits_are_flagged_at_the_stated_rate() -> None:
    """Digits against digits, in ten random divisions; a fresh digit has no other rank than a held-out one."""
    digits = load_images("digits").floats()
    flagged, expected = 0, 0.0
    for seed in range(10):
        train, held_out, fresh = shuffled(digits, seed).split(599)[:3]
        found = of_images(fresh, train, held_out, rate=0.01)
        flagged, expected = flagged + found.flagged, expected + found.expected
        assert found.verdict == "no sign"
    assert 0.5 * expected < flagged < 1.6 * expected


def test_a_model_that_copies_digits_is_told_from_digits() -> None:
    train, held_out = shuffled(load_images("digits").floats(), 0).split(1200)[:2]
    samples = sf.sample(analytic.images(sf.LinearBeta(), train), 100, steps=20)
    found = of_images(samples, train, held_out)
    assert found.verdict == "copies"
    assert found.flagged == 100


def test_the_ratio_is_of_the_nearest_to_the_mean_of_the_next_ten() -> None:
    found = of_features(described(FRESH), described(TRAIN), described(HELD_OUT))
    distances = torch.cdist(described(FRESH).double(), described(TRAIN).double()).sort(1)
    expected = distances.values[:, 0] / distances.values[:, 1:11].mean(1)
    torch.testing.assert_close(torch.tensor([m.ratio for m in found.samples]), expected.float())
    assert [match.train for match in found.samples] == distances.indices[:, 0].tolist()


def test_batches_and_order_change_no_number() -> None:
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


def test_the_sheet_shows_the_closest_first_each_beside_the_moved_training_image() -> None:
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
    told: list[int] = []
    of_images(FRESH[:30], TRAIN, HELD_OUT[:20], on_images=told.append)
    of_features(described(FRESH[:30]), described(TRAIN), described(HELD_OUT[:20]), on_images=told.append)
    assert sum(told) == 100


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
def test_images_that_cannot_be_judged_are_refused(
    samples: Tensor, train: Tensor, held_out: Tensor, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        of_images(samples, train, held_out)


def test_constant_samples_are_judged_like_others() -> None:
    found: Memorization = of_images(torch.full((3, 3, 16, 16), 0.9), TRAIN, HELD_OUT)
    assert found.flagged == 0
    assert found.samples[0].move in {Shift(*move) for move in shifts_within(2, flips=True)}
