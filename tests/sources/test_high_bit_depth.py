"""TIFF and PNG files with more than 8 bits or unusual numbers of channels keep every value."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import encoded, noise, png, tiff
from sfumato.data.sources.decode import open_image
from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.pillow import PillowPicture

from .decoding import decode_pixels, shape_is_true

GREY = {"photometric": "minisblack"}
COLOUR = {"photometric": "rgb"}
MANY = {"photometric": "minisblack", "planarconfig": "contig"}


@pytest.mark.parametrize(
    ("channels", "layout"),
    [(1, GREY), (2, MANY), (3, COLOUR), (3, MANY), (4, COLOUR), (4, MANY), (5, MANY), (17, MANY)],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib"},
        {"compression": "lzw", "predictor": True},
        {"tile": (16, 16)},
        {"rowsperstrip": 3},
        {"bigtiff": True},
    ],
    ids=["plain", "big-endian", "zlib", "lzw", "tiles", "strips", "BigTIFF"],
)
def test_a_tiff_is_read_exactly(
    channels: int, layout: dict[str, object], dtype: str, options: dict[str, object]
) -> None:
    if dtype == "float32" and options.get("predictor"):
        options = options | {"predictor": 3}
    pixels = noise(11, 7, channels, dtype=dtype)
    content = tiff(pixels[:, :, 0] if channels == 1 else pixels, **layout, **options)
    assert np.array_equal(shape_is_true(content), pixels)


@pytest.mark.parametrize("channels", [2, 3, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_planar_tiff_is_read_exactly(channels: int, dtype: str) -> None:
    pixels = noise(11, 7, channels, dtype=dtype)
    layout = {"photometric": "rgb" if channels == 3 else "minisblack", "planarconfig": "separate"}
    assert np.array_equal(shape_is_true(tiff(np.moveaxis(pixels, 2, 0), **layout)), pixels)


def test_a_grey_tiff_can_be_declared_planar() -> None:
    pixels = noise(6, 5, dtype="uint16")
    content = encoded(Image.fromarray(pixels), "TIFF", tiffinfo={284: 2})
    assert np.array_equal(shape_is_true(content)[:, :, 0], pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "bool"])
def test_a_tiff_with_white_as_0_is_inverted(dtype: str) -> None:
    pixels = noise(6, 16, dtype="uint8") > 99 if dtype == "bool" else noise(6, 16, dtype=dtype)
    shown = shape_is_true(tiff(pixels, photometric="miniswhite"))[:, :, 0]
    expected = np.where(pixels, 0, 255) if dtype == "bool" else np.iinfo(dtype).max - pixels
    assert np.array_equal(shown, expected)


@pytest.mark.parametrize("compression", [None, "group4", "packbits"])
def test_a_tiff_of_single_bits_is_read_exactly(compression: str | None) -> None:
    bits = noise(16, 24) > 127
    content = encoded(Image.fromarray(bits), "TIFF", compression=compression)
    assert np.array_equal(shape_is_true(content)[:, :, 0], np.where(bits, 255, 0))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_grey_with_opacity_becomes_rgba(dtype: str) -> None:
    pixels = noise(6, 5, 2, dtype=dtype)
    content = tiff(pixels, **MANY, extrasamples=["unassalpha"])
    assert np.array_equal(shape_is_true(content), pixels[:, :, [0, 0, 0, 1]])


def test_a_16_bit_png_of_grey_with_opacity_becomes_rgba() -> None:
    pixels = noise(6, 5, 2, dtype="uint16")
    assert np.array_equal(shape_is_true(png(pixels)), pixels[:, :, [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("dtype", "kept"), [("float16", "float32"), ("float64", "float32"), ("uint32", "float32"), ("int16", "float32")]
)
def test_other_dtypes_are_converted(dtype: str, kept: str) -> None:
    values = (noise(6, 5) % 100).astype(dtype)
    pixels = shape_is_true(tiff(values, **GREY))
    assert pixels.dtype == kept
    assert np.array_equal(pixels[:, :, 0], values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, 1j]], np.complex64), "not pixel values"),
    ],
)
def test_unsupported_dtypes_are_rejected(values: np.ndarray, message: str) -> None:
    with pytest.raises(BadImageError, match=message):
        decode_pixels(tiff(values, **GREY))


def test_16_bit_cmyk_is_rejected() -> None:
    with pytest.raises(BadImageError, match="it has CMYK or other colours with 16 bits; convert it to RGB"):
        decode_pixels(tiff(noise(4, 4, 4, dtype="uint16"), photometric="separated"))


@pytest.mark.parametrize(
    "content",
    [png(noise(4, 4, 3)), png(noise(4, 4, dtype="uint16")), tiff(noise(4, 4, 3), compression="lzw")],
    ids=["PNG", "16-bit grey PNG", "TIFF with LZW"],
)
def test_pillow_decodes_what_it_reads_without_loss(content: bytes) -> None:
    assert isinstance(open_image(content), PillowPicture)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_a_16_bit_png_is_transparent(channels: int) -> None:
    pixels = noise(4, 4, channels, dtype="uint16")
    content = png(pixels.squeeze())
    body = b"tRNS" + pixels[1, 2].astype(">u2").tobytes()
    chunk = (2 * channels).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    shown = shape_is_true(content[:33] + chunk + content[33:])
    assert np.array_equal(shown[:, :, :3], pixels.repeat(3 // channels, axis=2))
    assert shown[1, 2, 3] == 0
    assert (shown[:, :, 3] == 65535).sum() == 15


def test_an_interlaced_16_bit_png_is_read_exactly() -> None:
    """Pillow cannot write 16-bit colour, so the seven passes of Adam7 are written here."""
    pixels = noise(9, 10, 3, dtype="uint16")
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    lines = b"".join(
        b"\0" + row.astype(">u2").tobytes()
        for top, left, down, right in passes
        for row in pixels[top::down, left::right]
        if row.size
    )
    header = (10).to_bytes(4, "big") + (9).to_bytes(4, "big") + bytes([16, 2, 0, 0, 1])
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )
    assert np.array_equal(shape_is_true(content), pixels)


def test_decoders_print_nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    whole = tiff(noise(40, 40, 3, dtype="uint16"), compression="zlib")
    for end in range(0, len(whole), len(whole) // 40):
        damaged = io.BytesIO(whole)
        damaged.seek(end)
        damaged.write(b"\xff" * 8)
        for content in (whole[:end], damaged.getvalue()):
            try:
                decode_pixels(content)
            except BadImageError:
                continue
    assert capfd.readouterr() == ("", "")


def test_logs_of_tifffile_are_not_printed(tmp_path: Path) -> None:
    """Runs in a new process, since pytest captures all logs."""
    content = tiff(noise(9, 7, 2, dtype="uint16"), photometric="minisblack", planarconfig="contig")
    broken = content.replace(b"shape", b"shap\xff").replace(b'"shap', b"{{{{{")
    (tmp_path / "a.tif").write_bytes(broken)
    (tmp_path / "b.tif").write_bytes(content[:8] + b"\xff" * 40 + content[48:])
    code = (
        "import sys, logging; from pathlib import Path; from sfumato.data.sources.decode import open_image\n"
        "for path in sys.argv[1:]:\n"
        "    try: open_image(Path(path).read_bytes()).pixels()\n"
        "    except Exception: pass\n"
        "logging.getLogger('tifffile').warning('heard')"
    )
    paths = sorted(map(str, tmp_path.iterdir()))
    shown = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, check=True, text=True)
    assert (shown.stdout, shown.stderr) == ("", "")
