"""A channel is opacity only if the file declares it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from images import encoded, noise, png, tiff
from sfumato.data.sources.decode import open_image
from sfumato.data.sources.entry import Content
from sfumato.data.sources.options import ChannelChoice, ReadOptions

FOUR = noise(5, 7, 4)
DEEP = noise(5, 7, 4, dtype="uint16")
RGB = {"photometric": "rgb"}
GREY = {"photometric": "minisblack", "planarconfig": "contig"}


def plain_tiff(pixels: np.ndarray) -> bytes:
    """An RGB TIFF file with four channels that does not declare the fourth."""
    content = tiff(pixels, **RGB, extrasamples=["unspecified"])
    at = content.index((338).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    return content[:at] + (65000).to_bytes(2, "little") + content[at + 2 :]


CASES: dict[str, tuple[Content, bool]] = {
    "PNG": (png(FOUR), True),
    "PNG of 16 bits": (png(DEEP), True),
    "TIFF, unassociated": (tiff(FOUR, **RGB, extrasamples=["unassalpha"]), True),
    "TIFF, unassociated, 16 bits": (tiff(DEEP, **RGB, extrasamples=["unassalpha"]), True),
    "TIFF, unspecified": (tiff(FOUR, **RGB, extrasamples=["unspecified"]), False),
    "TIFF, unspecified, 16 bits": (tiff(DEEP, **RGB, extrasamples=["unspecified"]), False),
    "TIFF, undeclared": (plain_tiff(FOUR), False),
    "TIFF, undeclared, 16 bits": (plain_tiff(DEEP), False),
    "TIFF of four greys": (tiff(FOUR, **GREY), False),
    "array": (FOUR, False),
    "array, channels first": (np.moveaxis(noise(5, 7, 4), 2, 0), False),
    "WebP": (encoded(Image.fromarray(FOUR), "WEBP", lossless=True, exact=True), True),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("channels", ["auto", "rgb", "rgba", "bands"])
def test_opacity_is_declared_or_requested(name: str, channels: ChannelChoice) -> None:
    content, declared = CASES[name]
    picture = open_image(content, ReadOptions(channels=channels))
    expected = {"rgba": True, "bands": False}.get(channels, declared)
    assert (picture.info.channels, picture.info.opacity) == (4, expected)
    stored = FOUR if picture.info.dtype == "uint8" else DEEP
    assert np.array_equal(picture.pixels(), stored)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_opacity_has_two_bands(kind: str, dtype: str) -> None:
    pixels = noise(5, 7, 2, dtype=dtype)
    content = png(pixels) if kind == "PNG" else tiff(pixels, **GREY, extrasamples=["unassalpha"])
    picture = open_image(content, ReadOptions(channels="bands"))
    assert (picture.info.channels, picture.info.opacity) == (2, False)
    assert np.array_equal(picture.pixels(), pixels)
    shown = open_image(content)
    assert (shown.info.channels, shown.info.opacity) == (4, True)
    assert np.array_equal(shown.pixels(), pixels[:, :, [0, 0, 0, 1]])


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("P", 4)])
def test_a_transparent_colour_is_not_a_band(mode: str, channels: int) -> None:
    key = (0, 0, 0) if mode == "RGB" else 0
    content = encoded(Image.new(mode, (4, 4)), "PNG", transparency=key)
    assert open_image(content).info.opacity
    bands = open_image(content, ReadOptions(channels="bands"))
    assert (bands.info.channels, bands.info.opacity) == (channels, False)
    assert bands.pixels().shape == (4, 4, channels)


@pytest.mark.parametrize("samples", [4, 5, 7])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_samples_after_rgb_are_channels(samples: int, dtype: str, planar: str) -> None:
    pixels = noise(11, 9, samples, dtype=dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, 2, 0)
    extra = ["unspecified"] * (samples - 3)
    picture = open_image(tiff(stored, **RGB, planarconfig=planar, extrasamples=extra))
    assert (picture.info.channels, picture.info.opacity) == (samples, False)
    assert np.array_equal(picture.pixels(), pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_premultiplied_colours_are_divided_by_opacity(dtype: str, samples: int, planar: str) -> None:
    """Without the division, the mean error is up to 47 of 255."""
    random = np.random.default_rng(0)
    white = 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)
    opacity = random.choice([0.25, 0.5, 1.0], size=(11, 9, 1))
    colours = random.random((11, 9, samples - 1))
    stored = np.concatenate([colours * opacity, opacity], axis=2) * white
    stored = stored.astype(dtype) if dtype == "float32" else np.rint(stored).astype(dtype)
    layout = {**(RGB if samples == 4 else GREY), "planarconfig": planar, "extrasamples": ["assocalpha"]}
    picture = open_image(tiff(stored if planar == "contig" else np.moveaxis(stored, 2, 0), **layout))
    assert (picture.info.channels, picture.info.opacity) == (4, True)
    expected = np.concatenate([colours, opacity], axis=2)[:, :, [0, 0, 0, 1] if samples == 2 else slice(None)]
    assert np.abs(picture.pixels() / white - expected).max() < (1e-6 if dtype == "float32" else 4.1 / white)


def test_fully_transparent_premultiplied_pixels_are_black() -> None:
    stored = noise(5, 7, 4, dtype="uint16")
    stored[:, :, 3] = 0
    shown = open_image(tiff(stored, **RGB, extrasamples=["assocalpha"])).pixels()
    assert (shown == 0).all()


def test_premultiplied_bands_are_unchanged() -> None:
    content = tiff(DEEP, **RGB, extrasamples=["assocalpha"])
    assert np.array_equal(open_image(content, ReadOptions(channels="bands")).pixels(), DEEP)
