"""Drift of images with a known distribution, and of known changes."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.blobs import blobs, noise
from sfumato.errors import DataError
from sfumato.metrics.drift import BAND_NAMES, SIGNIFICANCE, Appearance, Change, Drift, appearance, band_powers, drift

DATA = blobs(600, 0)
FRESH = blobs(600, 1)


def appearance_of(images: Tensor) -> Appearance:
    return appearance([images])


def change(found: Drift, quantity: str) -> Change:
    (only,) = [each for each in found.changes if each.quantity == quantity]
    return only


def gaussian(count: int, seed: int) -> Tensor:
    """White noise of mean 0.5, 0.4, 0.6 and standard deviation 0.1, 0.05, 0.02; black is 0 and white is 1."""
    mean, deviation = torch.tensor([[0.5, 0.4, 0.6], [0.1, 0.05, 0.02]]).reshape(2, 1, 3, 1, 1)
    return 2 * (mean + deviation * noise(torch.empty(count, 3, 16, 16), 1.0, seed)) - 1


def test_the_bands_of_an_image_add_up_to_its_variance() -> None:
    grey = blobs(20, 0, side=17, channels=1)[:, 0].double()
    torch.testing.assert_close(band_powers(grey).sum(1), grey.flatten(1).var(1, correction=0))


@pytest.mark.parametrize(("period", "band"), [(32, 0), (16, 0), (15, 1), (8, 1), (5, 2), (4, 2), (3, 3), (2, 3)])
def test_a_wave_is_in_the_band_of_its_frequency(period: int, band: int) -> None:
    wave = 0.3 * torch.cos(2 * math.pi * torch.arange(480).double() / period)
    for grey in (wave.expand(1, 16, -1), wave[:, None].expand(1, -1, 16)):
        powers = band_powers(grey)[0]
        expected = 0.09 if period == 2 else 0.045
        assert powers[band].item() == pytest.approx(expected)
        assert powers.sum().item() == pytest.approx(expected)


def test_white_noise_has_equal_power_at_each_frequency() -> None:
    powers = band_powers(noise(torch.empty(3000, 16, 16), 0.2, 0).double()).mean(0)
    frequencies = torch.hypot(torch.fft.fftfreq(16)[:, None], torch.fft.fftfreq(16))
    fine = (frequencies > 0.25).sum() / 256 * 0.04
    assert powers[3].item() == pytest.approx(fine.item(), rel=0.01)
    assert powers.sum().item() == pytest.approx(0.04 * 255 / 256, rel=0.01)


def test_means_deviations_and_contrast_equal_the_distribution() -> None:
    found = drift(appearance_of(gaussian(400, 0)), appearance_of(gaussian(400, 1)))
    for name, mean, deviation in (("red", 0.5, 0.1), ("green", 0.4, 0.05), ("blue", 0.6, 0.02)):
        assert change(found, f"brightness in {name}").samples == pytest.approx(mean, abs=0.002)
        assert change(found, f"spread in {name}").samples == pytest.approx(deviation, rel=0.02)
        error = deviation * math.sqrt(2 / (400 * 256))
        assert change(found, f"brightness in {name}").error == pytest.approx(error, rel=0.1)
        assert change(found, f"spread in {name}").error == pytest.approx(error / math.sqrt(2) / deviation, rel=0.1)
    assert change(found, "contrast").samples == pytest.approx(math.sqrt(0.0129) / 3, rel=0.01)


def test_errors_are_the_standard_deviation_over_many_sets() -> None:
    """Few images of unequal brightness and contrast, in sets of unequal size."""
    found = [
        drift(appearance_of(blobs(100, 2 * seed)), appearance_of(blobs(60, 2 * seed + 1))) for seed in range(100, 300)
    ]
    for place, one in enumerate(found[0].changes):
        changes = torch.tensor([each.changes[place].change for each in found], dtype=torch.float64)
        error = torch.tensor([each.changes[place].error for each in found]).mean().item()
        assert changes.std().item() == pytest.approx(error, rel=0.2), one.quantity


def test_sets_of_one_distribution_rarely_drift() -> None:
    drifted = sum(
        any(
            each.significant
            for each in drift(appearance_of(blobs(150, seed)), appearance_of(blobs(150, seed + 5000))).changes
        )
        for seed in range(300)
    )
    assert SIGNIFICANCE == 0.01
    assert drifted <= 9  # 3 are allowed on average; 10 or more would come once in a thousand times
    found = drift(appearance_of(FRESH), appearance_of(DATA))
    assert (
        found.sentence
        == "No drift: samples differ from the data in colour, contrast and detail by no more than chance."
    )


def tinted(images: Tensor) -> Tensor:
    return images - torch.tensor([0.0, 0.0, 0.2]).reshape(3, 1, 1)


def faded(images: Tensor) -> Tensor:
    return 0.8 * images


def greyed(images: Tensor) -> Tensor:
    return torch.lerp(images, images.mean(1, keepdim=True), 0.5)


def blurred(images: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


@pytest.mark.parametrize(
    ("planted", "quantity", "size"),
    [
        (tinted, "brightness in blue", -0.1),
        (faded, "contrast", -0.2),
        (faded, "spread in green", -0.2),
        (faded, "detail", -0.2),
        (greyed, "saturation", None),
    ],
)
def test_a_known_change_is_found_with_its_sign_and_size(
    planted: Callable[[Tensor], Tensor], quantity: str, size: float | None
) -> None:
    """The change is applied to other images than the data; half the colour is half the saturation."""
    found = drift(appearance_of(planted(FRESH)), appearance_of(DATA))
    one = change(found, quantity)
    assert one.significant
    size = -0.5 * one.data if size is None else size
    assert abs(one.change - size) < 4 * one.error
    assert one.error < 0.25 * abs(size)


def test_the_change_of_the_same_images_is_exact() -> None:
    found = drift(appearance_of(tinted(DATA)), appearance_of(DATA))
    assert change(found, "brightness in blue").change == pytest.approx(-0.1, abs=1e-7)
    assert change(found, "brightness in red").change == 0
    assert change(found, "spread in blue").change == pytest.approx(0, abs=1e-6)
    assert change(drift(appearance_of(greyed(DATA)), appearance_of(DATA)), "brightness in red").significant is False
    brighter = change(drift(appearance_of(DATA), appearance_of(faded(DATA))), "contrast")
    assert brighter.change == pytest.approx(0.25, abs=1e-6)
    assert brighter.words == "have 25.0 % more contrast"


def test_blur_reduces_fine_detail_by_the_gain_of_the_filter() -> None:
    """A 3x3 mean filter multiplies the power of white noise at each frequency by the square of a known gain."""
    sharp = noise(torch.empty(400, 3, 32, 32), 0.3, 0)
    other = noise(torch.empty(400, 3, 32, 32), 0.3, 1)
    blur = F.conv2d(F.pad(other, (1, 1, 1, 1), mode="circular"), torch.full((3, 1, 3, 3), 1 / 9), groups=3)
    f = torch.fft.fftfreq(32)
    gain = (1 + 2 * torch.cos(2 * math.pi * f)) / 3
    power = (gain[:, None] * gain).square()
    fine = torch.hypot(f[:, None], f) > 0.25
    found = drift(appearance_of(blur), appearance_of(sharp))
    one = change(found, "fine detail")
    assert one.change == pytest.approx(power[fine].mean().sqrt().item() - 1, abs=4 * one.error)
    assert one.significant
    assert found.sentence.startswith(f"Samples have {-100 * one.change:.1f} % less fine detail than the data")


def test_the_sentence_names_the_largest_change() -> None:
    found = drift(appearance_of(tinted(FRESH)), appearance_of(DATA))
    size, error = (100 * getattr(change(found, "brightness in blue"), of) for of in ("change", "error"))
    assert found.sentence == f"Samples are {-size:.1f} % darker in blue than the data (standard error {error:.1f} %)."
    blurry = drift(appearance_of(blurred(FRESH)), appearance_of(DATA)).sentence
    assert " % less detail than the data" in blurry
    assert "significant changes." in blurry


@pytest.mark.parametrize(
    ("channels", "last", "saturation"),
    [
        (1, "brightness", False),
        (2, "brightness in channel 2", False),
        (3, "brightness in blue", True),
        (4, "brightness in channel 4", True),
        (5, "brightness in channel 5", False),
    ],
)
def test_channels_have_names(channels: int, last: str, saturation: bool) -> None:
    found = drift(appearance_of(blobs(5, 0, channels=channels)), appearance_of(blobs(5, 1, channels=channels)))
    names = [each.quantity for each in found.changes]
    assert [name for name in names if name.startswith("brightness")][-1] == last
    assert len([name for name in names if name.startswith("brightness")]) == channels
    assert ("saturation" in names) == saturation
    assert len(set(names)) == len(names)


def test_opacity_is_not_a_colour() -> None:
    images = blobs(20, 0)
    shown = torch.cat([images, torch.ones(20, 1, 16, 16)], 1)
    assert (appearance_of(shown).contrast == appearance_of(images).contrast).all()
    assert (appearance_of(shown).saturation == appearance_of(images).saturation).all()


def test_a_tint_relative_to_grey_data_is_found() -> None:
    """Data without colour have no saturation, so the change is a difference."""
    grey = DATA.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    found = drift(appearance_of(tinted(grey)), appearance_of(grey))
    assert change(found, "saturation").data == pytest.approx(0, abs=1e-7)
    assert change(found, "saturation").change == pytest.approx(0.1, abs=1e-6)
    assert change(found, "saturation").significant


def test_batches_do_not_change_the_result() -> None:
    whole = appearance([DATA])
    parts = appearance(DATA.split(77))
    assert drift(parts, appearance_of(FRESH)) == drift(whole, appearance_of(FRESH))


def test_tiny_images_have_no_coarse_structure() -> None:
    found = drift(appearance_of(blobs(20, 0, side=8)), appearance_of(blobs(20, 1, side=8)))
    names = [each.quantity for each in found.changes]
    assert names[-3:] == list(BAND_NAMES[1:])


def test_constant_samples_lose_contrast_that_flat_data_lack() -> None:
    flat = torch.zeros(5, 3, 16, 16)
    lost = change(drift(appearance_of(flat), appearance_of(DATA)), "contrast")
    assert (lost.change, lost.significant) == (-1, True)
    found = drift(appearance_of(DATA), appearance_of(flat))
    assert {each.quantity for each in found.changes} == {
        *("brightness in red", "brightness in green", "brightness in blue", "saturation"),
    }
    assert drift(appearance_of(flat), appearance_of(flat)).sentence.startswith("No drift")


def test_the_result_is_json() -> None:
    found = drift(appearance_of(FRESH), appearance_of(DATA))
    assert json.loads(json.dumps(asdict(found)))["changes"][0]["change"] == found.changes[0].change


@pytest.mark.parametrize(
    ("batches", "problem"),
    [
        ([], "0 image"),
        ([DATA[:1]], "1 image"),
        ([DATA[:5], blobs(5, 0, side=8)], "2 shape"),
        ([DATA[:5], DATA[:5] * math.nan], "NaN"),
    ],
)
def test_images_that_cannot_be_measured_are_rejected(batches: list[Tensor], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        appearance(batches)


def test_samples_of_another_shape_are_rejected() -> None:
    with pytest.raises(DataError, match=r"1x16x16 .* 3x16x16"):
        drift(appearance_of(blobs(5, 0, channels=1)), appearance_of(DATA))
