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
from sfumato.data.sources.jxl import size_of

from .decoding import shape_is_true, turned

DEEP = noise(9, 14, 3, dtype="uint16")


def reason(content: bytes) -> str:
    """Reason why a file cannot be opened."""
    with pytest.raises(BadImageError) as caught:
        open_image(content).pixels()
    return str(caught.value)


def exact(values: np.ndarray, white: int) -> np.ndarray:
    """Rescales values from [0, white] to 16 bits."""
    return np.rint(values.astype(float) / white * 65535).astype(np.uint16)


def plain_netpbm(values: np.ndarray, white: int) -> bytes:
    """A PGM or PPM file in text form."""
    kind = b"P2" if values.shape[2] == 1 else b"P3"
    head = b"%s\n# a comment\n%d %d # another\n%d\n" % (kind, values.shape[1], values.shape[0], white)
    return head + b" ".join(b"%d" % value for value in values.ravel())


def netpbm(values: np.ndarray, white: int) -> bytes:
    """A PGM or PPM file in binary form."""
    kind = b"P5" if values.shape[2] == 1 else b"P6"
    return b"%s %d %d %d\n" % (kind, values.shape[1], values.shape[0], white) + values.astype(">u2").tobytes()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("white", [300, 4095, 65535])
@pytest.mark.parametrize("write", [netpbm, plain_netpbm])
def test_netpbm_keeps_its_bit_depth(write: object, white: int, channels: int) -> None:
    values = DEEP[:, :, :channels] % np.uint32(white + 1)
    assert np.array_equal(shape_is_true(write(values, white)), exact(values, white))  # type: ignore[operator]


def sgi(values: np.ndarray, packed: bool) -> bytes:
    """A 16-bit SGI image: rows from the bottom, one channel after another."""
    height, width, channels = values.shape
    rows = [row for plane in np.moveaxis(values[::-1], 2, 0) for row in plane.astype(">u2")]
    head = struct.pack(">HBBHHHHII", 474, int(packed), 2, 3 if channels > 1 else 2, width, height, channels, 0, 65535)
    head = head.ljust(512, b"\0")
    if not packed:
        return head + b"".join(row.tobytes() for row in rows)
    half = width // 2  # literal values, then one repeated value
    tail = [struct.pack(">HHH", width - half, row[half], 0) for row in rows]
    units = [struct.pack(">H", 0x80 | half) + row[:half].tobytes() + end for row, end in zip(rows, tail, strict=True)]
    starts = np.cumsum([512 + 8 * len(rows), *map(len, units[:-1])])
    return head + starts.astype(">u4").tobytes() + struct.pack(f">{len(units)}I", *map(len, units)) + b"".join(units)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("packed", [False, True])
def test_sgi_keeps_its_bit_depth(packed: bool, channels: int) -> None:
    values = noise(9, 14, channels, dtype="uint16")
    if packed:
        values[:, 7:] = values[:, 7:8]
    content = sgi(values, packed)
    assert np.array_equal(shape_is_true(content), values)
    with Image.open(io.BytesIO(content)) as image:
        eight = np.asarray(image).reshape(values.shape)
    assert np.abs(eight - values / 257).max() < 1


@pytest.mark.parametrize("bits", [9, 12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("container", ["jp2", "j2k"])
def test_jpeg_2000_keeps_its_bit_depth(container: str, channels: int, bits: int) -> None:
    values = noise(20, 30, channels, dtype="uint16") >> (16 - bits)
    content = imagecodecs.jpeg2k_encode(values.squeeze(), 0, codecformat=container, bitspersample=bits, reversible=True)
    shown = shape_is_true(bytes(content))
    expected = exact(values, (1 << bits) - 1)
    assert np.array_equal(shown, expected[:, :, [0, 0, 0, 1]] if channels == 2 else expected)
    assert open_image(bytes(content)).info.opacity == (channels in (2, 4))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_12_bit_jpeg_keeps_its_bit_depth(channels: int) -> None:
    values = (smooth(40, 56)[:, :, :channels].astype(np.uint16) * 257) >> 4
    content = bytes(imagecodecs.jpeg8_encode(values.squeeze(), 99, bitspersample=12))
    shown = shape_is_true(content)
    assert shown.dtype == np.uint16
    assert np.abs(shown / 65535 - values / 4095).max() < 0.03  # chroma is subsampled


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [3, 4])
def test_avif_keeps_its_bit_depth(channels: int, bits: int) -> None:
    values = noise(20, 30, channels, dtype="uint16") >> (16 - bits)
    content = bytes(imagecodecs.avif_encode(values, 100, bitspersample=bits))
    assert np.array_equal(shape_is_true(content), exact(values, (1 << bits) - 1))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_xl_keeps_its_bit_depth(channels: int, dtype: str) -> None:
    values = noise(20, 30, channels, dtype=dtype)
    content = bytes(imagecodecs.jpegxl_encode(values, lossless=True))
    assert np.array_equal(shape_is_true(content), values[:, :, [0, 0, 0, 1]] if channels == 2 else values)
    assert open_image(content).info.opacity == (channels in (2, 4))


@pytest.mark.parametrize(
    "size", [(8, 8), (256, 256), (16, 24), (300, 300), (120, 100), (400, 300), (96, 64), (512, 288), (125, 100),
             (200, 100), (1, 1), (7, 3000), (5000, 9), (300, 200)]
)  # fmt: skip
@pytest.mark.parametrize("container", [False, True])
def test_the_size_of_a_jpeg_xl_is_read_from_its_header(size: tuple[int, int], container: bool) -> None:
    content = imagecodecs.jpegxl_encode(np.zeros(size[::-1], np.uint8), usecontainer=container, effort=1)
    assert size_of(bytes(content)[:64]) == size


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
        (b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4hH", 0, 0, 500, 300, 96) + b"\0" * 100, "a Windows metafile (WMF)"),
        (b"%PDF-1.7\n%", "a PDF file"),
        (b"\n<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'>", "an SVG drawing"),
        (b"<!DOCTYPE html><html><body>Not found", "a web page"),
        (b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 20, "a raw camera file (Canon CR2)"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "a raw camera file (Canon CR3)"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", "a video"),
        (b"\0\0\1\xba" + b"\0" * 20, "a video"),
        (b"8BPS\0\1" + b"\0" * 30, "an unusual Photoshop file (PSD)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"PK\x03\x04" + b"\0" * 30, "a zip archive"),
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


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels_is_rejected(size: tuple[int, int]) -> None:
    assert reason(b"P5 %d %d 255\n" % size)
    grey = encoded(Image.new("L", (5, 5)), "PNG")
    assert reason(grey[:16] + struct.pack(">II", *size) + grey[24:])
