"""Images are as large as fits in memory, and decompression bombs are refused before anything is allocated."""

from __future__ import annotations

import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from images import encoded, noise, png, smooth, tiff
from sfumato.data.sources import memory
from sfumato.data.sources.decode import opened, pixels_of, shape_of
from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.frame import Frame

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
    """Lets so many bytes be free for one image."""
    monkeypatch.setattr(memory, "ALWAYS", 0)
    monkeypatch.setattr(memory, "free_memory", lambda: round(free / memory.SHARE))


@pytest.mark.parametrize("name", FILES)
def test_what_does_not_fit_in_memory_is_refused_with_both_sizes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_machine(monkeypatch, 40_000)
    with pytest.raises(BadImageError) as caught:
        pixels_of(FILES[name])
    assert "40 kB are free for one image" in str(caught.value) or "fit in the memory that is free" in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_what_fits_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_machine(monkeypatch, 300 * 200 * 24)
    assert pixels_of(FILES[name]).shape[:2] == (300, 200)


def test_a_jpeg_counts_by_the_size_that_it_is_decoded_at(monkeypatch: pytest.MonkeyPatch) -> None:
    small_machine(monkeypatch, 30_000)
    content = encoded(Image.fromarray(smooth(400, 400)), "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.fromarray(smooth(400, 400)), "JPEG", exif=exif)
    assert pixels_of(content, Frame(25, 25)).shape == (50, 50, 3)
    assert pixels_of(turned, Frame(25, 25)).shape == (50, 50, 3)
    with pytest.raises(BadImageError, match="30 kB are free"):
        pixels_of(content)
    with pytest.raises(BadImageError, match="30 kB are free"):  # whose coefficients are kept at any size
        pixels_of(encoded(Image.fromarray(smooth(400, 400)), "JPEG", progressive=True), Frame(25, 25))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pillows_limit_neither_stops_nor_warns(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    content = encoded(Image.fromarray(smooth(64, 64)), kind, exif=exif)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels_of(content).shape == (64, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_pillows_limit_is_as_before_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    for content in (b"no image", FILES["WebP"][:200], FILES["PNG"][:300]):
        with pytest.raises(BadImageError):
            pixels_of(content)
    assert Image.MAX_IMAGE_PIXELS == 12345


def bomb(width: int, height: int, bits: int, colour: int, channels: int) -> bytes:
    """A PNG of zeros, of which only some rows are there."""
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
def test_a_bomb_is_refused_before_anything_is_allocated(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadImageError):
            opened(BOMBS[name]).pixels(Frame(64, 64))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_the_size_of_a_file_tells_a_bomb_from_a_large_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 1 << 50)
    with pytest.raises(BadImageError, match=r"it promises 2,500 megapixels in a file of .* kB"):
        shape_of(BOMBS["PNG"])
    memory.check_memory(200_000_000, 10, 20_000_000)  # a phone's
    memory.check_memory(60_000_000, 10, 1000)  # a blank page
    with pytest.raises(BadImageError, match="it promises 200 megapixels in a file of 1 MB"):
        memory.check_memory(200_000_000, 10, 1_000_000)
