"""Without imagecodecs, common formats are read exactly, and the others are unreadable with a remedy."""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from images import encoded, noise, png, tiff, write
from sfumato.data import load_images
from sfumato.data.sources import ReadOptions, with_pages
from sfumato.data.sources.entry import BadImageError, FileEntry
from sfumato.data.sources.source import Listing

from .decoding import decode_pixels
from .test_colour import ADOBE, GAMMA, SWAPPED, png_with, tiff_with

REASON = 'decoding it needs the package imagecodecs: pip install "sfumato[imagecodecs]"'

EIGHT, DEEP, FLOATS = (noise(33, 21, 3, dtype=dtype) for dtype in ("uint8", "uint16", "float32"))
MANY = {"photometric": "minisblack", "planarconfig": "contig"}
STACK = noise(3, 33, 21)


def heic(profile: bytes) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    content = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(EIGHT)).save(content, quality=-1, icc_profile=profile)
    return content.getvalue()


def with_transparent_colour(content: bytes) -> bytes:
    """A grey PNG of 16 bits in which black is transparent."""
    body = b"tRNS\0\0"
    return content[:33] + b"\0\0\0\2" + body + zlib.crc32(body).to_bytes(4, "big") + content[33:]


READ = {
    "PNG": png(EIGHT),
    "PNG with a profile": encoded(Image.fromarray(EIGHT), "PNG", icc_profile=SWAPPED),
    "PNG of 16-bit grey": png(DEEP[:, :, 0]),
    "JPEG": encoded(Image.fromarray(EIGHT), "JPEG"),
    "WebP": encoded(Image.fromarray(EIGHT), "WEBP"),
    "HEIC with a profile": heic(ADOBE),
    **{
        f"TIFF, {pixels.dtype}, {compression}": tiff(pixels, photometric="rgb", compression=compression)
        for pixels in (EIGHT, DEEP, FLOATS)
        for compression in (None, "zlib", "packbits")
    },
    "TIFF, zlib with differences": tiff(DEEP, photometric="rgb", compression="zlib", predictor=2),
    "TIFF, planar": tiff(np.moveaxis(DEEP, 2, 0), photometric="rgb", planarconfig="separate", compression="zlib"),
    "TIFF, five channels": tiff(noise(9, 8, 5, dtype="uint16"), **MANY),
    "TIFF, 8-bit LZW": tiff(EIGHT, photometric="rgb", compression="lzw", predictor=True),
    "TIFF, 8-bit JPEG": tiff(EIGHT, photometric="rgb", compression="jpeg"),
    "TIFF, 8-bit Zstandard": tiff(EIGHT, photometric="rgb", compression="zstd", predictor=True),
    "TIFF, 1-bit Zstandard": tiff(EIGHT[:, :, 0] > 99, photometric="miniswhite", compression="zstd"),
    "TIFF, 8 bits with a profile": tiff_with(EIGHT, ADOBE),
    "TIFF, 4 bits": tiff(EIGHT[:, :, 0] % 16, bitspersample=4, photometric="minisblack"),
    "TIFF, 1 bit": encoded(Image.fromarray(EIGHT[:, :, 0] > 99), "TIFF", compression="group4"),
    "TIFF, 8-bit CMYK": tiff(noise(8, 9, 4), photometric="separated"),
}

UNREADABLE = {
    "PNG of 16-bit RGB": png(DEEP),
    "PNG of 16-bit RGBA": png(noise(9, 8, 4, dtype="uint16")),
    "PNG of 16-bit grey with opacity": png(noise(9, 8, 2, dtype="uint16")),
    "PNG of 16-bit grey with a transparent colour": with_transparent_colour(png(DEEP[:, :, 0])),
    "PNG of 16-bit grey with a profile": png_with(DEEP[:, :, 0], GAMMA),
    "TIFF, 16-bit LZW": tiff(DEEP, photometric="rgb", compression="lzw"),
    "TIFF, floats with differences": tiff(FLOATS, photometric="rgb", compression="zlib", predictor=3),
    "TIFF, five channels, LZW": tiff(noise(9, 8, 5), **MANY, compression="lzw"),
    "TIFF, Zstandard": tiff(DEEP, photometric="rgb", compression="zstd"),
    "TIFF, 16 bits with a profile": tiff_with(DEEP, ADOBE),
    "TIFF, 12 bits": tiff(DEEP[:, :, 0] % 4096, bitspersample=12, photometric="minisblack"),
}

EXPECTED = {name: decode_pixels(content) for name, content in READ.items()}


@pytest.fixture
def _without_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tifffile"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    yield
    assert getattr(sys.modules.get("tifffile"), "imagecodecs", None) is not imagecodecs


@pytest.mark.usefixtures("_without_imagecodecs")
@pytest.mark.parametrize("name", READ)
def test_common_formats_are_read_exactly(name: str) -> None:
    assert np.array_equal(decode_pixels(READ[name]), EXPECTED[name])


@pytest.mark.usefixtures("_without_imagecodecs")
@pytest.mark.parametrize("name", UNREADABLE)
def test_other_formats_are_unreadable_with_a_remedy(name: str) -> None:
    with pytest.raises(BadImageError) as caught:
        decode_pixels(UNREADABLE[name])
    assert str(caught.value) == REASON


@pytest.mark.parametrize("name", UNREADABLE)
def test_imagecodecs_reads_the_other_formats(name: str) -> None:
    kinds = {"TIFF, five channels, LZW": "uint8", "TIFF, floats with differences": "float32"}
    assert decode_pixels(UNREADABLE[name]).dtype == kinds.get(name, "uint16")


@pytest.mark.usefixtures("_without_imagecodecs")
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_the_pages_of_a_stack_are_read(compression: str | None, tmp_path: Path) -> None:
    content = io.BytesIO()
    with tifffile.TiffWriter(content) as writer:
        for page in STACK:
            writer.write(page, photometric="minisblack", metadata=None, compression=compression)
    write(tmp_path, {"a.tif": content.getvalue()})
    listing = with_pages(Listing([FileEntry("a.tif", tmp_path / "a.tif")]), ReadOptions(pages="images"))
    found = [decode_pixels(entry.read())[:, :, 0] for entry in listing.entries]
    assert np.array_equal(found, STACK)


@pytest.mark.usefixtures("_without_imagecodecs")
def test_a_notice_lists_the_unreadable_images_with_the_remedy(tmp_path: Path) -> None:
    images = load_images(write(tmp_path / "a", {"a.png": png(EIGHT), "b.png": png(EIGHT), "c.png": png(DEEP)}))
    assert len(images) == 2
    assert [notice.text for notice in images.notices] == [f"1 of 3 images was skipped: c.png ({REASON})."]
