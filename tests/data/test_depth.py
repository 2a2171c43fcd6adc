"""Conversion between pixel values and floats in [-1, 1]."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pictures import write
from sfumato.data import load_images
from sfumato.errors import ConfigError
from sfumato.utils.depth import EIGHT_BITS, SIXTEEN_BITS, Depth

EVERY = {
    EIGHT_BITS: torch.arange(256, dtype=torch.uint8),
    SIXTEEN_BITS: torch.arange(65536, dtype=torch.int32).to(torch.uint16),
}


@pytest.mark.parametrize("depth", EVERY, ids=lambda depth: depth.dtype)
def test_every_pixel_value_survives_the_round_trip(depth: Depth) -> None:
    floats = depth.to_float(EVERY[depth])
    assert floats.dtype == torch.float32
    assert (floats.min().item(), floats.max().item()) == (-1, 1)
    assert torch.equal(depth.to_pixels(floats), EVERY[depth])


@pytest.mark.parametrize("depth", [Depth("float32", 0, 1), Depth("float32", -1, 1), Depth("float32", -3, 250)])
def test_floats_survive_the_round_trip_within_rounding(depth: Depth) -> None:
    pixels = torch.linspace(depth.low, depth.high, 1001)
    floats = depth.to_float(pixels)
    assert (floats.min().item(), floats.max().item()) == (-1, 1)
    back = depth.to_pixels(floats)
    assert back.dtype == torch.float32
    assert (back - pixels).abs().max() <= 1e-6 * max(abs(depth.low), abs(depth.high))


@pytest.mark.parametrize("depth", EVERY, ids=lambda depth: depth.dtype)
def test_floats_are_clamped_and_rounded_to_pixel_values(depth: Depth) -> None:
    step, most = 2 / depth.high, int(depth.high)
    floats = torch.tensor([-9.0, -1 + 0.4 * step, -1 + 0.6 * step, 1 - 0.4 * step, 1 - 0.6 * step, 9.0])
    assert depth.to_pixels(floats.double()).tolist() == [0, 0, 1, most, most - 1, most]


def test_the_input_is_not_modified() -> None:
    pixels = torch.tensor([0.0, 1.0])
    Depth("float32", 0, 1).to_float(pixels)
    assert pixels.tolist() == [0, 1]


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_a_depth_without_a_range_is_rejected(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        Depth("float32", low, high)


@pytest.mark.parametrize("depth", [Depth("uint16", 200, 3000), Depth("uint8", 0, 3), Depth("float32", -1, 1)])
def test_pixels_outside_the_range_are_clipped(depth: Depth) -> None:
    pixels = torch.tensor([depth.low, depth.high, depth.high + 2], dtype=torch.float64).to(getattr(torch, depth.dtype))
    assert depth.to_float(pixels).tolist() == [-1, 1, 1]
    assert depth.to_float_array(pixels.numpy()).tolist() == [-1, 1, 1]
    assert depth.to_pixels(torch.tensor([-9.0, 9.0])).tolist() == [depth.low, depth.high]


def test_three_of_four_channels_without_opacity_are_viewable() -> None:
    images = torch.zeros(2, 4, 8, 8)
    assert Depth().viewable(images).shape == (2, 3, 8, 8)
    assert Depth(opacity=True).viewable(images).shape == (2, 4, 8, 8)


@pytest.mark.parametrize("depth", [*EVERY, Depth("float32", -3, 250)], ids=lambda depth: depth.dtype)
def test_numpy_gives_the_same_floats(depth: Depth) -> None:
    pixels = EVERY.get(depth, torch.linspace(-3, 250, 1001))
    assert torch.equal(torch.from_numpy(depth.to_float_array(pixels.numpy())), depth.to_float(pixels))


def test_the_default_depth_is_8_bits(tmp_path: Path) -> None:
    assert load_images(write(tmp_path)).depth == EIGHT_BITS
