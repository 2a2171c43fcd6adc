"""What Pillow would flatten to 8 bits or four channels: 16-bit colour PNGs, and TIFFs of any depth and channels."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from sfumato.sources.entry import BadImageError
from sfumato.sources.frame import GREY, RGB, RGBA
from sfumato.sources.pixels import Dtype, as_pixels, kept_dtype, refuse_bomb

if TYPE_CHECKING:
    from tifffile import TiffPage

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

TURNS = {
    1: (0, False),
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}
"""EXIF orientation: quarter turns counterclockwise, then whether to mirror left and right."""


def deep_shape(content: bytes) -> tuple[int, int, int, Dtype] | None:
    """(width, height, channels, dtype) of an image that only this file reads; None for all others.

    Raises:
        BadImageError: It is one, but too large or of a kind that cannot be used.
    """
    if content.startswith(PNG_MAGIC):
        return _png_shape(content)
    if content.startswith(TIFF_MAGICS):
        return _tiff_shape(content)
    return None


def deep_pixels(content: bytes) -> np.ndarray:
    """The pixels of an image for which `deep_shape` is not None: (H, W, C) uint8, uint16 or float32.

    Raises:
        BadImageError: It is damaged, or too large.
    """
    try:
        return _png_pixels(content) if content.startswith(PNG_MAGIC) else _tiff_pixels(content)
    except BadImageError:
        raise
    except Exception as error:  # decoders meet broken data with whatever their code runs into
        raise BadImageError(f"it is damaged ({' '.join(str(error).split())[:80] or type(error).__name__})") from error


def _png_shape(content: bytes) -> tuple[int, int, int, Dtype] | None:
    if len(content) < 26:
        return None
    width, height, depth, colour = struct.unpack(">IIBB", content[16:26])
    channels = _png_channels(content, colour)
    if depth != 16 or channels == GREY:
        return None
    refuse_bomb(width, height)
    return *_turned_size(width, height, _png_orientation(content)), channels, "uint16"


def _png_channels(content: bytes, colour: int) -> int:
    """Channels of an image of one of PNG's colour types; grey with opacity is shown as RGBA."""
    has_opacity = colour in (4, 6) or _has_before_pixels(content, b"tRNS")
    return RGBA if has_opacity else RGB if colour == 2 else GREY


def _has_before_pixels(content: bytes, chunk: bytes) -> bool:
    return content.find(chunk, 0, content.find(b"IDAT")) >= 0


def _png_pixels(content: bytes) -> np.ndarray:
    import imagecodecs

    pixels: np.ndarray = imagecodecs.png_decode(content)
    return _turned(_coloured(pixels) if pixels.shape[2] == 2 else pixels, _png_orientation(content))


def _png_orientation(content: bytes) -> int:
    """What EXIF says, if it stands before the pixels."""
    if not _has_before_pixels(content, b"eXIf"):
        return 1
    try:
        with Image.open(io.BytesIO(content)) as image:
            return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # what is broken says nothing
        return 1


def _tiff_shape(content: bytes) -> tuple[int, int, int, Dtype] | None:
    page = _first_page(content)
    if page is None or page.dtype is None or _is_pillows(page):
        return None
    channels = RGBA if _is_grey_with_opacity(page) else page.samplesperpixel
    refuse_bomb(page.imagewidth * channels, page.imagelength)
    return *_turned_size(page.imagewidth, page.imagelength, _orientation(page)), channels, kept_dtype(page.dtype)


def _is_pillows(page: TiffPage) -> bool:
    """Whether Pillow loses nothing, as of 8 bits or 1 in grey or colour, or alone knows the colours, such as inks."""
    from tifffile import PHOTOMETRIC

    match page.photometric:
        case PHOTOMETRIC.RGB:
            is_known = page.samplesperpixel in (RGB, RGBA)
        case PHOTOMETRIC.MINISBLACK | PHOTOMETRIC.MINISWHITE:
            is_known = page.samplesperpixel == GREY or _is_grey_with_opacity(page)
        case _:
            return True
    return is_known and page.dtype in (np.uint8, np.bool_)


def _is_grey_with_opacity(page: TiffPage) -> bool:
    from tifffile import EXTRASAMPLE

    return page.samplesperpixel == 2 and page.extrasamples == (EXTRASAMPLE.UNASSALPHA,)


def _tiff_pixels(content: bytes) -> np.ndarray:
    from tifffile import PHOTOMETRIC

    page = _first_page(content)
    assert page is not None
    array = page.asarray()
    is_planar = page.planarconfig == 2 and page.samplesperpixel > 1
    pixels = np.moveaxis(array, 0, 2) if is_planar else array.reshape(page.imagelength, page.imagewidth, -1)
    if page.photometric == PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    return as_pixels(_turned(_coloured(pixels) if _is_grey_with_opacity(page) else pixels, _orientation(page)))


def _coloured(pixels: np.ndarray) -> np.ndarray:
    """Grey with opacity as RGBA."""
    return np.concatenate([pixels[:, :, :1].repeat(3, axis=2), pixels[:, :, 1:]], axis=2)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    turns, mirrored = TURNS.get(orientation, (0, False))
    pixels = np.rot90(pixels, turns)
    return pixels[:, ::-1] if mirrored else pixels


def _turned_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if TURNS.get(orientation, (0, False))[0] % 2 else (width, height)


def _first_page(content: bytes) -> TiffPage | None:
    """The first page of a TIFF; None if even its directory is broken, which is then Pillow's to explain."""
    from tifffile import TiffFile

    try:
        return TiffFile(io.BytesIO(content)).pages.first
    except Exception:
        return None


def _orientation(page: TiffPage) -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None else 1
