"""Decoding of image files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import encoded, noise, png, smooth, tiff
from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.folder import FolderSource

from .decoding import decode_pixels, shape_is_true, turned


def reason(content: bytes) -> str:
    """Reason why a file cannot be decoded."""
    with pytest.raises(BadImageError) as caught:
        decode_pixels(content)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "mode", "colour", "expected", "dtype"),
    [
        ("PNG", "1", 1, [255], "uint8"),
        ("PNG", "L", 77, [77], "uint8"),
        ("PNG", "LA", (77, 5), [77, 77, 77, 5], "uint8"),
        ("PNG", "RGB", (1, 2, 3), [1, 2, 3], "uint8"),
        ("PNG", "RGBA", (1, 2, 3, 4), [1, 2, 3, 4], "uint8"),
        ("PNG", "I;16", 65535, [65535], "uint16"),
        ("TIFF", "1", 1, [255], "uint8"),
        ("TIFF", "L", 77, [77], "uint8"),
        ("TIFF", "LA", (77, 5), [77, 77, 77, 5], "uint8"),
        ("TIFF", "RGB", (1, 2, 3), [1, 2, 3], "uint8"),
        ("TIFF", "RGBA", (1, 2, 3, 4), [1, 2, 3, 4], "uint8"),
        ("TIFF", "CMYK", (0, 255, 255, 0), [255, 0, 0], "uint8"),
        ("TIFF", "YCbCr", (200, 128, 128), [200, 200, 200], "uint8"),
        ("TIFF", "I;16", 300, [300], "uint16"),
        ("TIFF", "I;16B", 300, [300], "uint16"),
        ("TIFF", "I", 65535, [65535], "float32"),
        ("TIFF", "I", -1, [-1], "float32"),
        ("TIFF", "I", 65536, [65536], "float32"),
        ("TIFF", "F", 0.25, [0.25], "float32"),
        ("WEBP", "RGBA", (1, 2, 3, 200), [1, 2, 3, 200], "uint8"),
        ("BMP", "RGB", (1, 2, 3), [1, 2, 3], "uint8"),
        ("PPM", "I;16", 300, [300], "uint16"),
    ],
)
def test_every_mode_becomes_grey_or_colour_with_its_bit_depth(
    kind: str, mode: str, colour: float | tuple[int, ...], expected: list[float], dtype: str
) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = shape_is_true(encoded(Image.new(mode, (6, 4), colour), kind, **options))
    assert pixels.dtype == dtype
    assert pixels.shape == (4, 6, len(expected))
    assert (pixels == expected).all()


def test_lab_becomes_rgb_within_rounding() -> None:
    assert shape_is_true(encoded(Image.new("LAB", (8, 8), (255, 128, 128)), "TIFF")).min() >= 253


def test_a_palette_becomes_rgb() -> None:
    content = encoded(Image.new("RGB", (4, 4), (10, 20, 30)).quantize(2), "PNG")
    assert (shape_is_true(content) == [10, 20, 30]).all()


@pytest.mark.parametrize(("mode", "transparent"), [("P", 0), ("P", b"\x00"), ("L", 0), ("RGB", (0, 0, 0))])
def test_a_transparent_colour_becomes_rgba(mode: str, transparent: object) -> None:
    content = encoded(Image.new(mode, (4, 4)), "PNG", transparency=transparent)
    assert shape_is_true(content)[0, 0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_read(kind: str) -> None:
    frames = [Image.new("L", (4, 4), colour) for colour in (10, 200)]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert shape_is_true(content)[0, 0, 0] == 10


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_png_is_read_exactly(channels: int, dtype: str) -> None:
    pixels = noise(5, 7, channels, dtype=dtype)
    assert np.array_equal(shape_is_true(png(pixels[:, :, 0] if channels == 1 else pixels)), pixels)


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "GIF", "PPM", "WEBP", "PCX", "TGA"])
def test_a_lossless_format_is_read_exactly(kind: str) -> None:
    pixels = noise(5, 8, 1).repeat(3, axis=2) if kind == "GIF" else noise(5, 8, 3)
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(Image.fromarray(pixels), kind, **options)
    assert np.array_equal(shape_is_true(content), pixels)


ORIENTATIONS = range(1, 9)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :16] = 255  # the top left quarter is white
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = shape_is_true(encoded(Image.fromarray(stored), kind, exif=exif))
    assert np.abs(shown.astype(int) - turned(stored, orientation)).max() < 60


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_orientation_of_a_16_bit_tiff_is_applied(orientation: int, dtype: str, channels: int) -> None:
    stored = noise(4, 7, channels, dtype=dtype)
    order = {} if channels == 1 else {"planarconfig": "contig"}
    tags = [(274, "H", 1, orientation, True)]
    content = tiff(stored.squeeze(), photometric="minisblack", extratags=tags, **order)
    assert np.array_equal(shape_is_true(content), turned(stored, orientation))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_orientation_of_a_16_bit_png_is_applied(orientation: int, channels: int) -> None:
    stored = noise(4, 7, channels, dtype="uint16")
    plain = png(stored.squeeze())
    exif = Image.Exif()
    exif[0x0112] = orientation
    (chunk,) = [chunk for chunk in png_chunks(encoded(Image.new("L", (1, 1)), "PNG", exif=exif)) if b"eXIf" in chunk]
    assert np.array_equal(shape_is_true(plain[:33] + chunk + plain[33:]), turned(stored, orientation))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_orientation_can_be_after_the_pixels_of_a_png(orientation: int, dtype: str) -> None:
    stored = noise(4, 7, 3, dtype=dtype)
    plain = png(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (chunk,) = [chunk for chunk in png_chunks(encoded(Image.new("L", (1, 1)), "PNG", exif=exif)) if b"eXIf" in chunk]
    assert np.array_equal(shape_is_true(plain[:-12] + chunk + plain[-12:]), turned(stored, orientation))


def png_chunks(content: bytes) -> list[bytes]:
    """Complete chunks of a PNG file."""
    chunks, at = [], 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big") + 12
        chunks.append(content[at : at + length])
        at += length
    return chunks


@pytest.mark.parametrize("orientation", [0, 9, 99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_an_invalid_orientation_is_ignored(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = Image.fromarray(smooth(6, 8))
    assert np.array_equal(shape_is_true(encoded(plain, kind, exif=exif)), decode_pixels(encoded(plain, kind)))


def test_an_empty_file() -> None:
    assert "empty" in reason(b"") or "not an image" in reason(b"")


def test_text_with_an_image_extension() -> None:
    assert reason(b"no image") == "it is not an image that can be read"


WHOLE = {
    "PNG": encoded(Image.fromarray(noise(64, 64, 3)), "PNG"),
    "16-bit PNG": png(noise(64, 64, 3, dtype="uint16")),
    "16-bit grey PNG": png(noise(64, 64, dtype="uint16")),
    "JPEG": encoded(Image.fromarray(noise(64, 64, 3)), "JPEG"),
    "progressive JPEG": encoded(Image.fromarray(noise(64, 64, 3)), "JPEG", progressive=True),
    "GIF": encoded(Image.fromarray(noise(64, 64)), "GIF"),
    "BMP": encoded(Image.fromarray(noise(64, 64, 3)), "BMP"),
    "TIFF": encoded(Image.fromarray(noise(64, 64, 3)), "TIFF"),
    "16-bit TIFF": tiff(noise(64, 64, 3, dtype="uint16")),
    "packed TIFF": tiff(noise(64, 64, 3, dtype="uint16"), compression="zlib"),
    "float TIFF": tiff(noise(64, 64, dtype="float32")),
    "WEBP": encoded(Image.fromarray(noise(64, 64, 3)), "WEBP"),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.98])
@pytest.mark.filterwarnings("ignore")
def test_a_truncated_file_is_rejected(kind: str, share: float) -> None:
    content = WHOLE[kind]
    assert reason(content[: int(share * len(content))])


def test_any_exception_of_a_decoder_is_a_bad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr("sfumato.data.sources.pillow.in_srgb", fail)
    assert reason(encoded(Image.new("L", (4, 4)), "PNG")) == "it is damaged (KeyError)"


def test_postscript_is_never_executed(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "EPS")
    with pytest.raises(BadImageError, match="it is a PostScript file, which is not read"):
        decode_pixels(content.getvalue())
    (tmp_path / "x.eps").write_bytes(content.getvalue())
    (entry,) = FolderSource(tmp_path).listing(tmp_path).entries
    with pytest.raises(BadImageError, match="it is a PostScript file, which is not read"):
        decode_pixels(entry.read())
