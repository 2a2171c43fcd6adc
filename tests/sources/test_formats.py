"""Further formats: bit depths that are kept, and unsupported types."""

from __future__ import annotations

import io
import struct
import sys

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from images import encoded, noise, smooth, tiff
from sfumato.data.sources.decode import open_image
from sfumato.data.sources.entry import BadImageError

from .decoding import shape_is_true, turned


def reason(content: bytes) -> str:
    """Reason why a file cannot be opened."""
    with pytest.raises(BadImageError) as caught:
        open_image(content).pixels()
    return str(caught.value)


WAVES = smooth(40, 56).astype(np.uint16) * 257
MORE_BITS = {
    "AVIF": imagecodecs.avif_encode(WAVES >> 6, 100, bitspersample=10),
    "JPEG 2000": imagecodecs.jpeg2k_encode(WAVES, 0, codecformat="jp2", bitspersample=16, reversible=True),
    "PPM": b"P6 56 40 65535\n" + WAVES.astype(">u2").tobytes(),
    "SGI": struct.pack(">HBBHHHHII", 474, 0, 2, 3, 56, 40, 3, 0, 65535).ljust(512, b"\0")
    + WAVES[::-1].transpose(2, 0, 1).astype(">u2").tobytes(),
}


@pytest.mark.parametrize("kind", MORE_BITS)
def test_some_formats_are_read_with_8_bits(kind: str) -> None:
    shown = shape_is_true(bytes(MORE_BITS[kind]))
    assert shown.dtype == np.uint8
    assert np.abs(shown - WAVES / 257).max() <= 1


def test_a_grey_jpeg_2000_keeps_16_bits() -> None:
    grey = WAVES[:, :, 0]
    content = imagecodecs.jpeg2k_encode(grey, 0, codecformat="jp2", bitspersample=16, reversible=True)
    assert np.array_equal(shape_is_true(bytes(content))[:, :, 0], grey)


@pytest.mark.parametrize("white", [4095, 65535])
def test_a_grey_pgm_keeps_16_bits(white: int) -> None:
    values = WAVES[:, :, 0] // (65536 // (white + 1))
    shown = shape_is_true(b"P5 56 40 %d\n" % white + values.astype(">u2").tobytes())
    assert shown.dtype == np.uint16
    assert np.abs(shown[:, :, 0] - values * (65535 / white)).max() < 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_of_heic_is_applied(mode: str, orientation: int) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    stored = np.full((64, 96, 3), 20, np.uint8)
    stored[:32, :48] = 220  # the top left quarter is bright
    image, exif, content = Image.fromarray(stored).convert(mode), Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    pillow_heif.from_pillow(image).save(content, quality=90, exif=exif.tobytes())
    shown = shape_is_true(content.getvalue())
    expected = turned(np.asarray(image).reshape(64, 96, -1), orientation)
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected)[8:-8, 8:-8].mean() < 4
    assert open_image(content.getvalue()).info.opacity == (mode == "RGBA")


def test_heic_keeps_its_bit_depth() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    values, content = smooth(64, 96).astype(np.uint16) * 257, io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (96, 64), values.tobytes()).save(content, quality=-1, chroma=444)
    shown = shape_is_true(content.getvalue())
    assert shown.dtype == np.uint16
    assert np.abs(shown.astype(int) - values).max() < 257


def test_heic_without_its_reader_suggests_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    assert reason(head) == 'it is a HEIC image; install the reader: pip install "sfumato[heic]"'


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0" * 128 + b"DICM" + b"\2\0\0\0UL", "a DICOM file"),
        (b"\x5c\1\0\0" + b"\0" * 340 + b"n+1\0", "a NIfTI file"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 500, "an HDF5 file"),
        (b"GRIB\0\0\0\2", "a GRIB file"),
        (b"BUFR\0\0\0\4", "a BUFR file"),
        (b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4hH", 0, 0, 500, 300, 96) + b"\0" * 100, "a Windows metafile"),
        (b"%PDF-1.7\n%", "a PDF file"),
        (b"\n<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'>", "an SVG drawing"),
        (b"<!DOCTYPE html><html><body>Not found", "a web page"),
        (b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 20, "a raw camera file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "a raw camera file"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", "a video"),
        (b"\0\0\1\xba" + b"\0" * 20, "a video"),
        (b"8BPS\0\1" + b"\0" * 30, "an unusual Photoshop file (PSD)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"PK\x03\x04" + b"\0" * 30, "a zip archive"),
        (b"\xff\x0a" + b"\0" * 30, "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    ],
)
def test_unsupported_types_are_recognised(content: bytes, name: str) -> None:
    assert reason(content).startswith(f"it is {name}, which is not read; ")


@pytest.mark.parametrize(
    "content",
    [
        tiff(noise(8, 8, dtype="uint16"), photometric="cfa", extratags=[(33421, "H", 2, (2, 2), True)]),
        tiff(noise(8, 8, 3), photometric="rgb", extratags=[(50706, "B", 4, b"\1\4\0\0", True)]),
    ],
    ids=["samples of a sensor", "DNG"],
)
def test_raw_camera_files_are_recognised(content: bytes) -> None:
    assert reason(content).startswith("it is a raw camera file, which is not read; ")


@pytest.mark.parametrize("exif", [b"", b"\xff\xe1\0\x08Exif\0\0"], ids=["plain", "EXIF"])
def test_a_jpeg_of_12_bits_is_recognised(exif: bytes) -> None:
    content = bytes(imagecodecs.jpeg_encode(WAVES >> 4, bitspersample=12))
    expected = "it is a JPEG of 12 bits, which is not read; convert it to PNG or TIFF"
    assert reason(content[:2] + exif + content[2:]) == expected


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_grey_with_opacity_is_read_from_lzw(planar: str, photometric: str) -> None:
    pixels = noise(33, 21, 2)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, 2, 0)
    kind = {"photometric": photometric, "planarconfig": planar, "extrasamples": ["unassalpha"]}
    shown = open_image(tiff(stored, compression="lzw", **kind)).pixels()
    assert np.array_equal(shown, open_image(tiff(stored, **kind)).pixels())
    assert np.array_equal(shown[:, :, 0] if photometric == "minisblack" else ~shown[:, :, 0], pixels[:, :, 0])


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels_is_rejected(size: tuple[int, int]) -> None:
    assert reason(b"P5 %d %d 255\n" % size)
    grey = encoded(Image.new("L", (5, 5)), "PNG")
    assert reason(grey[:16] + struct.pack(">II", *size) + grey[24:])
