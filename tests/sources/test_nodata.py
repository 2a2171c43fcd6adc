"""Missing data: NaN, and the value of GDAL's TIFF tag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import noise, tiff
from sfumato.data.sources.decode import open_image


def declaring(values: np.ndarray, text: str) -> bytes:
    """A TIFF file with this text in tag 42113."""
    return tiff(values, photometric="minisblack", extratags=[(42113, "s", 0, text, True)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-9999", -9999),
        ("0", 0),
        ("255 ", 255),
        ("1e+20", 1e20),
        ("-3.40282346638529e+38", -3.40282346638529e38),
        ("none", None),
        ("nan", None),
        ("-inf", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_tag_is_read(dtype: str, text: str, expected: float | None) -> None:
    values = noise(6, 5, dtype=dtype)
    picture = open_image(declaring(values, text))
    assert picture.nodata == expected
    assert picture.info.dtype == dtype


def test_a_file_without_the_tag_declares_nothing() -> None:
    """tifffile returns 0 in this case."""
    for dtype in ("uint8", "uint16", "float32"):
        assert open_image(tiff(noise(6, 5, dtype=dtype))).nodata is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [-9999.0, float(np.finfo(np.float32).min), -1.7976931348623157e308])
def test_floats_without_data_are_nan(value: float, dtype: str) -> None:
    with np.errstate(over="ignore"):
        gap = np.float64(value).astype(dtype)
    values = noise(6, 5, dtype=dtype)
    values[2, 1:3] = gap
    pixels = open_image(declaring(values, repr(value))).pixels()[:, :, 0]
    assert pixels.dtype == np.float32
    assert np.array_equal(np.isnan(pixels), values == gap)
    assert np.array_equal(pixels[values != gap], values[values != gap].astype(np.float32))


@pytest.mark.parametrize("text", ["-3.40282e+38", "-3.4028234663852886e+38", "-3.402823e+38"])
def test_the_smallest_float_can_be_rounded_in_the_tag(text: str) -> None:
    values = np.array([[np.finfo(np.float32).min, -9999, 0, 1200]], np.float32)
    pixels = open_image(declaring(values, text)).pixels()[:, :, 0]
    assert np.array_equal(pixels, [[np.nan, -9999, 0, 1200]], equal_nan=True)


def test_signed_integers_without_data_are_floats() -> None:
    values = np.array([[-9999, -3, 0, 1200]], np.int16)
    picture = open_image(declaring(values, "-9999"))
    assert picture.info.dtype == "float32"
    assert np.array_equal(picture.pixels()[:, :, 0], [[np.nan, -3, 0, 1200]], equal_nan=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_without_data_keep_their_value(dtype: str) -> None:
    values = noise(6, 5, dtype=dtype)
    assert np.array_equal(open_image(declaring(values, str(values[0, 0]))).pixels()[:, :, 0], values)


def test_floats_can_be_nan_or_infinite() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    for content in (values, tiff(values)):
        assert np.array_equal(open_image(content).pixels()[:, :, 0], values, equal_nan=True)


def test_the_tag_of_a_palette_is_ignored(tmp_path: Path) -> None:
    """It is an index of the palette. Red pixels with green and blue 0 keep their colour if the value is 0."""
    image = Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "a.tif", tiffinfo={42113: "0"})
    picture = open_image((tmp_path / "a.tif").read_bytes())
    assert picture.nodata is None
    assert picture.pixels()[1, 1].tolist() == [255, 0, 0]
