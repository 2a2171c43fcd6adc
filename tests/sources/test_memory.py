"""Images that do not fit into memory and decompression bombs are rejected before memory is allocated."""

from __future__ import annotations

import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from images import encoded, noise, png, smooth, tiff
from sfumato.data.sources import memory_limit
from sfumato.data.sources.decode import open_image
from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.resizing import Frame

from .decoding import decode_pixels, read_info

FILES = {
    "PNG": png(noise(300, 200, 3)),
    "grey PNG": png(noise(300, 200)),
    "PNG of 16 bits": png(noise(300, 200, 3, dtype="uint16")),
    "WebP": encoded(Image.fromarray(noise(300, 200, 3)), "WEBP"),
    "JPEG": encoded(Image.fromarray(noise(300, 200, 3)), "JPEG"),
    "progressive JPEG": encoded(Image.fromarray(noise(300, 200, 3)), "JPEG", progressive=True),
    "TIFF": tiff(noise(300, 200, 3)),
    "TIFF of 16 bits": tiff(noise(300, 200, 3, dtype="uint16")),
    "TIFF of floats": tiff(noise(300, 200, dtype="float32")),
}


def small_machine(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Sets the free memory for one image in bytes."""
    monkeypatch.setattr(memory_limit, "ALWAYS", 0)
    monkeypatch.setattr(memory_limit, "available_memory", lambda: round(free / memory_limit.SHARE))


@pytest.mark.parametrize("name", FILES)
def test_an_image_that_does_not_fit_is_rejected_with_both_sizes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_machine(monkeypatch, 40_000)
    with pytest.raises(BadImageError) as caught:
        decode_pixels(FILES[name])
    assert "40 kB are free for one image" in str(caught.value) or "fit in the memory that is free" in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_an_image_that_fits_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_machine(monkeypatch, 300 * 200 * 24)
    assert decode_pixels(FILES[name]).shape[:2] == (300, 200)


def test_a_jpeg_needs_memory_for_its_reduced_size(monkeypatch: pytest.MonkeyPatch) -> None:
    small_machine(monkeypatch, 30_000)
    content = encoded(Image.fromarray(smooth(400, 400)), "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.fromarray(smooth(400, 400)), "JPEG", exif=exif)
    assert decode_pixels(content, Frame(25, 25)).shape == (50, 50, 3)
    assert decode_pixels(turned, Frame(25, 25)).shape == (50, 50, 3)
    with pytest.raises(BadImageError, match="30 kB are free"):
        decode_pixels(content)
    with pytest.raises(BadImageError, match="30 kB are free"):  # its coefficients are kept at any size
        decode_pixels(encoded(Image.fromarray(smooth(400, 400)), "JPEG", progressive=True), Frame(25, 25))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_limit_of_pillow_gives_no_error_and_no_warning(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    content = encoded(Image.fromarray(smooth(64, 64)), kind, exif=exif)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_pixels(content).shape == (64, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_limit_of_pillow_is_restored_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    for content in (b"no image", FILES["WebP"][:200], FILES["PNG"][:300]):
        with pytest.raises(BadImageError):
            decode_pixels(content)
    assert Image.MAX_IMAGE_PIXELS == 12345


def bomb(width: int, height: int, bits: int, colour: int, channels: int) -> bytes:
    """A PNG file of zeros with some of its rows missing."""
    row = bytes(1 + width * channels * bits // 8)
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, colour, 0, 0, 0])
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(row * 20)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )


BOMBS = {
    "PNG": bomb(50_000, 50_000, 8, 2, 3),
    "PNG of 16 bits": bomb(50_000, 50_000, 16, 6, 4),
    "JPEG": (lambda small: small.replace(b"\x00\x08\x00\x10\x03", b"\xff\x00\xff\x00\x03", 1))(
        encoded(Image.new("RGB", (16, 8)), "JPEG")
    ),
    "TIFF": tiff(np.zeros((1, 8, 3), np.uint16), photometric="rgb", rowsperstrip=1).replace(
        b"\x00\x01\x04\x00\x01\x00\x00\x00\x08\x00", b"\x00\x01\x04\x00\x01\x00\x00\x00\x08\x7f", 1
    ),
    "BMP": b"BM" + b"\0" * 8 + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    + (60_000).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24),
    "PPM": b"P6 60000 60000 65535\n" + bytes(100),
    "GIF": b"GIF89a" + b"\xff\xff\xff\xff\x80\0\0" + bytes(6) + b"," + bytes(4) + b"\xff\xff\xff\xff\0\2\2D\1\0;",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_rejected_before_memory_is_allocated(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadImageError):
            open_image(BOMBS[name]).pixels(Frame(64, 64))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_the_file_size_distinguishes_bombs_from_large_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "available_memory", lambda: 1 << 50)
    with pytest.raises(BadImageError, match=r"its header declares 2,500 megapixels in a file of .* kB"):
        read_info(BOMBS["PNG"])
    memory_limit.check_memory(200_000_000, 10, 20_000_000)  # a photograph of a phone
    memory_limit.check_memory(60_000_000, 10, 1000)  # a blank page
    with pytest.raises(BadImageError, match="its header declares 200 megapixels in a file of 1 MB"):
        memory_limit.check_memory(200_000_000, 10, 1_000_000)
