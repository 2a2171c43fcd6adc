"""Pixel features, and properties of all features."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from metrics.features.networks import images
from sfumato.errors import ConfigError, DataError
from sfumato.metrics.features import as_rgb, features_for, resized
from sfumato.metrics.features.pixels import projection


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_projection_preserves_distances(channels: int) -> None:
    """(Achlioptas 2003): |P x|^2 has the mean |x|^2 and the deviation sqrt(2 / 512) |x|^2, 6 %."""
    several = images(200, channels, 32)
    ratios = features_for("pixels")(several).square().sum(1) / several.flatten(1).square().sum(1)
    assert ratios.mean().item() == pytest.approx(1, abs=0.02)
    assert ratios.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.2)


def test_the_signs_of_the_projection_are_independent() -> None:
    signs = projection(3) * 512**0.5
    assert signs.shape == (3072, 512)
    assert (signs.abs() - 1).abs().max() < 1e-6
    assert signs.mean().abs() < 4 / math.sqrt(signs.numel())
    likeness = (signs.T @ signs / 3072).fill_diagonal_(0)
    assert likeness.abs().max() < 6 / math.sqrt(3072)
    assert (projection(1) * 512**0.5 - signs[:1024]).abs().max() > 1


def philox(counter: int, key: tuple[int, int]) -> list[int]:
    """Four words of Philox 4x64-10 (Salmon et al. 2011)."""
    x, whole = [counter, 0, 0, 0], 2**64
    for turn in range(10):
        keys = [(key[0] + turn * 0x9E3779B97F4A7C15) % whole, (key[1] + turn * 0xBB67AE8584CAA73B) % whole]
        first, second = x[0] * 0xD2E7470EE14C6C93, x[2] * 0xCA5A826395121157
        x = [second // whole ^ x[1] ^ keys[0], second % whole, first // whole ^ x[3] ^ keys[1], first % whole]
    return x


def test_the_signs_are_the_bits_of_philox() -> None:
    """From counter 1, with the lowest byte of each word and the highest bit of each byte first."""
    words = [word for counter in (1, 2) for word in philox(counter, (6, 3))]
    expected = [int(bit) for word in words for byte in word.to_bytes(8, "little") for bit in f"{byte:08b}"]
    assert (projection(3)[0] > 0).long().tolist() == expected


@pytest.mark.parametrize("side", [8, 32, 70])
def test_the_batch_size_does_not_change_the_features(side: int) -> None:
    several = images(130, 3, side)
    features = features_for("pixels")
    together = features(several)
    assert together.shape == (130, 512)
    apart = torch.cat([features(part) for part in several.split(7)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("spoil", "blame"), [(math.nan, "not finite"), (math.inf, "not finite")])
def test_features_that_are_not_finite_are_rejected(spoil: float, blame: str) -> None:
    several = images(70, 1, 8)
    several[[3, 69], 0, 0, 0] = spoil
    with pytest.raises(DataError, match=rf"pixels of 2 of 70 images are NaN or infinite.*{blame}"):
        features_for("pixels")(several)


def test_grey_is_repeated_and_transparency_is_blended_with_white() -> None:
    grey = images(2, 1, 4)
    assert (as_rgb(grey) == torch.cat([grey] * 3, 1)).all()
    colour = images(2, 3, 4)
    assert as_rgb(colour) is colour

    def with_opacity(opacity: float) -> Tensor:
        return as_rgb(torch.cat([colour, torch.full((2, 1, 4, 4), opacity)], 1))

    assert (with_opacity(1) == colour).all()
    assert (with_opacity(-1) == 1).all()
    torch.testing.assert_close(with_opacity(0), (colour + 1) / 2)


def test_other_numbers_of_channels_are_rejected() -> None:
    with pytest.raises(DataError, match=r"Images of 2 channels"):
        as_rgb(images(1, 2, 4))


def test_downscaling_averages_all_pixels() -> None:
    lines = torch.tensor([1.0, -1, -1, -1, -1, -1, -1, -1]).repeat(8).expand(1, 1, 64, 64)
    inner = resized(lines, 8, 8)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, -0.75), rtol=0, atol=0.05)


def test_a_side_without_a_size_is_not_changed() -> None:
    wide = images(1, 1, 8).reshape(1, 1, 4, 16)
    assert resized(wide, None, 16) is wide
    assert resized(wide, 4, None) is wide
    assert resized(wide, None, 8).shape == (1, 1, 4, 8)
    assert resized(wide, 2, None).shape == (1, 1, 2, 16)


def test_unknown_features_are_rejected_with_a_list_of_names() -> None:
    message = r"clip are unknown\. Choose pixels, efficientnet, inception, dinov2, an .onnx file, or the import path"
    with pytest.raises(ConfigError, match=message):
        features_for("clip")


def test_pixels_have_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pixels take no weights.*Leave out --weights"):
        features_for("pixels", tmp_path)
