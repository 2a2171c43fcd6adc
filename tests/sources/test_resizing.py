"""Resizing, cropping and padding."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from images import noise, smooth
from sfumato.data.sources.resizing import BAND, SHARPEST, Fit, Frame, resample_box, resize_image

FITS: tuple[Fit, ...] = ("crop", "pad", "resize")


@pytest.mark.parametrize(
    ("size", "frame", "least"),
    [
        ((48, 16), Frame(8, 8, "crop"), (24, 8)),
        ((48, 16), Frame(8, 8, "pad"), (8, 3)),
        ((48, 16), Frame(8, 8, "resize"), (8, 8)),
        ((16, 48), Frame(6, 9, "crop"), (6, 18)),
        ((16, 48), Frame(6, 9, "pad"), (3, 9)),
        ((1, 1000), Frame(8, 8, "pad"), (1, 8)),
        ((3, 5), Frame(16, 16, "crop"), (16, 27)),
    ],
)
def test_the_size_before_cropping_and_padding(size: tuple[int, int], frame: Frame, least: tuple[int, int]) -> None:
    assert frame.least(*size) == least


@pytest.mark.parametrize(("width", "height"), [(48, 16), (16, 48)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_longer_side_is_cropped_around_the_centre(width: int, height: int, dtype: str) -> None:
    white = np.iinfo(dtype).max
    image = np.zeros((height, width, 1), dtype)
    image[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8] = white
    kept = resize_image(image, Frame(8, 8), opacity=False)
    assert kept.shape == (8, 8, 1)
    assert kept.min() > 0.9 * white  # the filter reaches across the edges of the crop
    assert np.array_equal(kept, kept[::-1, ::-1])


@pytest.mark.parametrize(
    ("shape", "frame", "rows", "columns"),
    [
        ((16, 48), Frame(24, 24, "pad"), slice(8, 16), slice(0, 24)),
        ((48, 16), Frame(24, 24, "pad"), slice(0, 24), slice(8, 16)),
        ((16, 48), Frame(24, 13, "pad"), slice(2, 10), slice(0, 24)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_borders_are_black_or_transparent(
    shape: tuple[int, int], frame: Frame, rows: slice, columns: slice, channels: int, dtype: str
) -> None:
    image = np.full((*shape, channels), 200, dtype)
    expected = np.zeros((frame.height, frame.width, channels), dtype)
    expected[rows, columns] = 200
    shown = resize_image(image, frame, opacity=False)
    assert shown.dtype == dtype
    assert np.array_equal(shown, expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_stretched_image_shows_the_whole_image(dtype: str) -> None:
    image = np.zeros((16, 48, 1), dtype)
    image[:, 24:] = 200
    shown = resize_image(image, Frame(8, 8, "resize"), opacity=False)[:, :, 0]
    assert shown[:, :3].max() < 30
    assert shown[:, 5:].min() > 170


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_an_image_of_the_target_size_is_unchanged(channels: int, dtype: str, fit: Fit) -> None:
    image = noise(6, 9, channels, dtype=dtype)
    assert np.array_equal(resize_image(image, Frame(9, 6, fit), opacity=False), image)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("size", [(3, 5), (40, 30), (7, 200)])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_the_result_has_the_size_of_the_frame(size: tuple[int, int], channels: int, dtype: str, fit: Fit) -> None:
    shown = resize_image(noise(*size, channels, dtype=dtype), Frame(16, 12, fit), opacity=False)
    assert shown.shape == (12, 16, channels)
    assert shown.dtype == dtype


def test_every_size_can_be_cropped_to_every_frame() -> None:
    """The box is computed with floats; rounding errors must not move it outside the image."""
    for width in range(1, 70):
        image = np.zeros((37, width, 1), np.uint8)
        for side in range(4, 40):
            for frame in (Frame(side, 7), Frame(7, side), Frame(side, 37)):
                assert resize_image(image, frame, opacity=False).shape == (frame.height, frame.width, 1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_shrinking_is_antialiased(dtype: str) -> None:
    stripes = np.tile(np.array([[[0], [255]]], dtype), (64, 32, 1))
    assert np.abs(resize_image(stripes, Frame(8, 8), opacity=False).astype(float) - 127).max() < 12


def test_a_small_image_is_enlarged() -> None:
    assert (resize_image(np.full((5, 3, 3), 9, np.uint8), Frame(16, 16), opacity=False) == 9).all()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(40, 30), (90, 17), (12, 12)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_16_bits_and_floats_are_resampled_like_8_bits(size: tuple[int, int], channels: int, fit: Fit) -> None:
    waves = smooth(size[1], size[0])[:, :, :1].repeat(channels, axis=2).astype(float)
    eight = np.rint(255 * (waves - waves.min()) / np.ptp(waves)).astype(np.uint8)  # smooth, so no overshoot
    frame = Frame(16, 20, fit)
    planes = [resize_image(eight[:, :, c : c + 1], frame, opacity=False)[:, :, 0] for c in range(channels)]
    plain = np.stack(planes, axis=2).astype(float)
    sixteen = resize_image(eight.astype(np.uint16) * 257, frame, opacity=False) / 257
    floats = resize_image(eight.astype(np.float32) / 255, frame, opacity=False) * 255.0
    assert np.abs(sixteen - plain).max() < 1.6  # Pillow rounds between the two passes
    assert np.abs(floats - plain).max() < 1.6


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_transparent_pixels_do_not_bleed_into_others(dtype: str) -> None:
    white = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    image = np.zeros((32, 32, 4), dtype)
    image[:, :, 1] = white  # green and transparent
    image[:, :17] = np.array([white, 0, 0, white])  # red and opaque
    shown = resize_image(image, Frame(8, 8), opacity=True)
    visible = shown[shown[:, :, 3] > 0.01 * white]
    assert visible[:, 1].max() <= 1e-6 * white
    assert visible[:, 0].min() >= 0.98 * white
    assert 0 < shown[0, 4, 3] < white  # the edge lies within this pixel


def test_16_bit_opacity_weights_colours_like_8_bit_opacity() -> None:
    eight = np.dstack([smooth(40, 40), 55 + smooth(40, 40)[:, :, 0] // 2]).astype(np.uint8)
    shown = resize_image(eight.astype(np.uint16) * 257, Frame(10, 10), opacity=True) / 257
    error = np.abs(shown - resize_image(eight, Frame(10, 10), opacity=True))
    assert (error * shown[:, :, 3:]).max() < 1.6 * 255  # 8-bit colours are coarse at low opacity


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sharp_edges_do_not_leave_the_range(dtype: str, channels: int) -> None:
    edge = np.full((16, 16, channels), 100, dtype)
    edge[:, 8:] = 1000
    shown = resize_image(edge, Frame(61, 61), opacity=False)
    assert shown.min() >= 100
    assert shown.max() <= 1000


def test_a_box_is_resampled_as_in_pillow() -> None:
    image, box = noise(20, 30, 3), (2.5, 3.0, 27.5, 18.0)
    expected = Image.fromarray(image).resize((10, 6), Image.Resampling.LANCZOS, box)
    assert np.array_equal(resample_box(image, (10, 6), box, opacity=False), np.asarray(expected))
    by_channel = resample_box(image.astype(np.float32), (10, 6), box, opacity=False)
    assert np.abs(by_channel - np.asarray(expected)).max() < 1.6


def test_16_bits_are_rounded_to_the_nearest() -> None:
    image = noise(20, 30, 3, dtype="uint16")
    exact = resize_image(image.astype(np.float32), Frame(7, 9), opacity=False)
    assert np.array_equal(resize_image(image, Frame(7, 9), opacity=False), np.rint(exact))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_four_channels_without_opacity_are_independent(dtype: str) -> None:
    image = noise(40, 30, 4, dtype=dtype)
    frame = Frame(9, 8)
    alone = [resize_image(image[:, :, c : c + 1], frame, opacity=False)[:, :, 0] for c in range(4)]
    assert np.array_equal(resize_image(image, frame, opacity=False), np.stack(alone, axis=2))


def test_a_tall_16_bit_image_has_no_seams() -> None:
    """It is converted to floats in bands of rows."""
    image = noise(BAND * 2 + 77, 20, 1, dtype="uint16")
    whole = Image.fromarray(image[:, :, 0].astype(np.float32)).resize((7, 100), SHARPEST, (0, 3.5, 19.5, 580))
    shown = resample_box(image, (7, 100), (0, 3.5, 19.5, 580), opacity=False)[:, :, 0]
    assert np.array_equal(shown, np.rint(np.asarray(whole).clip(image.min(), image.max())))


def test_nan_is_kept() -> None:
    image = np.ones((40, 40, 1), np.float32)
    image[:8] = np.nan
    shown = resize_image(image, Frame(10, 10), opacity=False)[:, :, 0]
    assert np.isnan(shown[:2]).all()
    assert (shown[5:] == 1).all()
