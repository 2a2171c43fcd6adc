"""Conversion of an image to the format of a cache entry."""

from __future__ import annotations

import numpy as np
import pytest

from images import noise, png
from sfumato.data.cache.convert import WHITE, convert_channels, convert_dtype, convert_image
from sfumato.data.cache.target_format import ChannelMode, TargetFormat
from sfumato.data.sources import DEFAULT_OPTIONS, BadImageError, Frame
from sfumato.data.sources.decode import open_image


def kind(channels: int) -> ChannelMode:
    """Channel mode in which four channels are RGBA."""
    return ChannelMode(channels, opacity=channels == 4)


@pytest.mark.parametrize(
    ("colour", "wanted", "expected"),
    [
        ([50], 3, [50, 50, 50]),
        ([50], 4, [50, 50, 50, 255]),
        ([255, 0, 0], 1, [76]),
        ([0, 255, 0], 1, [150]),
        ([0, 0, 255], 1, [29]),
        ([1, 2, 3], 4, [1, 2, 3, 255]),
        ([255, 0, 0, 255], 3, [255, 0, 0]),
        ([0, 0, 0, 51], 3, [204, 204, 204]),
        ([0, 0, 0, 0], 3, [255, 255, 255]),
        ([0, 0, 0, 51], 1, [204]),
        ([9, 8, 7, 6], 4, [9, 8, 7, 6]),
        ([1, 2, 3, 4, 5], 5, [1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_channels_are_converted_and_alpha_is_composited_on_white(
    colour: list[int], wanted: int, expected: list[int], dtype: str
) -> None:
    pixels = convert_dtype(np.full((2, 3, len(colour)), colour, np.uint8), dtype)
    convert = convert_channels(pixels, kind(len(colour)), kind(wanted))
    assert convert.shape == (2, 3, wanted)
    assert convert.dtype == dtype
    one = WHITE[dtype] / 255
    assert np.abs(convert[0, 0] / one - expected).max() < (0.5 if dtype == "uint8" else 0.51)


@pytest.mark.parametrize(("present", "wanted"), [(2, 1), (5, 3), (3, 5), (1, 2)])
def test_other_numbers_of_channels_are_not_converted(present: int, wanted: int) -> None:
    with pytest.raises(BadImageError, match=r"it has .*, and most of the images"):
        convert_channels(noise(4, 4, present), kind(present), kind(wanted))


def test_8_bits_survive_a_conversion_to_16_bits() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    sixteen = convert_dtype(every, "uint16")
    assert np.array_equal(sixteen, every.astype(np.uint16) * 257)
    assert np.array_equal(convert_dtype(sixteen, "uint8"), every)
    assert np.array_equal(convert_dtype(convert_dtype(every, "float32"), "uint8"), every)


def test_16_bits_are_rounded_to_the_nearest_8_bits() -> None:
    values = np.array([[[0], [128], [129], [257], [32896], [65406], [65407], [65535]]], np.uint16)
    assert convert_dtype(values, "uint8").ravel().tolist() == [0, 0, 1, 1, 128, 254, 255, 255]


def test_16_bits_survive_a_conversion_to_floats() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    floats = convert_dtype(every, "float32")
    assert (floats.min(), floats.max()) == (0, 1)
    assert np.array_equal(convert_dtype(floats, "uint16"), every)


@pytest.mark.parametrize("values", [[-0.1, 0.5], [0.5, 1.5]])
def test_floats_with_an_unknown_range_are_not_converted(values: list[float]) -> None:
    floats = np.array(values, np.float32).reshape(1, 2, 1)
    assert convert_dtype(floats, "float32") is floats
    with pytest.raises(BadImageError, match=r"numbers outside 0..1, and most of the images have 8 bits"):
        convert_dtype(floats, "uint8")


def test_converted_pixels_have_channels_first() -> None:
    pixels = noise(5, 7, 3)
    picture = open_image(png(pixels))
    same = convert_image(picture, pixels, TargetFormat(Frame(7, 5), ChannelMode(3), "uint8"), DEFAULT_OPTIONS)
    assert np.array_equal(same.pixels, pixels.transpose(2, 0, 1))
    other = convert_image(picture, pixels, TargetFormat(Frame(4, 6, "pad"), ChannelMode(1), "uint16"), DEFAULT_OPTIONS)
    assert other.pixels.shape == (1, 6, 4)
