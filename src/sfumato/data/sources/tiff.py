"""TIFFs: samples of any depth and number, of one page or of several that are the channels of an image."""

from __future__ import annotations

import io
import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sfumato.data.sources.colour import Space, pixels_in_srgb
from sfumato.data.sources.directories import alone, layout_of, pages_of
from sfumato.data.sources.entry import BadImageError, ReadableFile
from sfumato.data.sources.frame import GREY, RGB, RGBA, Frame
from sfumato.data.sources.kinds import not_read
from sfumato.data.sources.memory import check_memory
from sfumato.data.sources.opacity import coloured, from_inks, straight
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.orientation import turned, turned_size
from sfumato.data.sources.picture import Picture, Shape
from sfumato.data.sources.pixels import as_pixels, kept_dtype, without_data
from sfumato.data.sources.tiffpages import Stack, images_of

if TYPE_CHECKING:
    from tifffile import TiffPage

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # without a handler, its warnings go to the terminal

NODATA, PROFILE, ORIENTATION, DNG_VERSION = 42113, 34675, 274, 50706
"""Tags: GDAL's value of pixels without data, the ICC profile, the orientation, and what makes a TIFF a DNG."""

CMYK = 4

LIBTIFF = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)
"""Compressions that every build of Pillow decodes: none, CCITT's, LZW, JPEG, deflate and PackBits."""

COPIES = 2
"""How often the pixels are in memory at the peak."""


@dataclass(frozen=True)
class TiffImage:
    """An image of a TIFF, before its pixels are read.

    Attributes:
        stack: Its pages.
        frames: Images in the file.
    """

    stack: Stack
    frames: int

    @property
    def page(self) -> TiffPage:
        """The page that describes it."""
        return self.stack.pages[0]

    @property
    def nodata(self) -> float | None:
        """The value that GDAL's tag declares for pixels without data, if it is a number, and not a place in a palette.

        NaN stands for no data anyway.
        """
        from tifffile import PHOTOMETRIC

        text = None if self.page.photometric == PHOTOMETRIC.PALETTE else _tag(self.page, NODATA)
        try:
            value = float(text.strip("\0 ")) if isinstance(text, str) else math.nan
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def alone(self, content: bytes) -> bytes:
        """A TIFF of its pages, from the whole file: Pillow opens no other page before the first."""
        file = io.BytesIO(content)
        layout = layout_of(file)
        assert layout is not None
        return alone(file, layout, [page.offset for page in self.stack.pages])


class Tiff(Picture):
    """A TIFF of grey or RGB, with any further channels and at any depth, or of 16-bit inks.

    Args:
        image: It.
        options: What its channels are.
        file_size: Bytes of the file.

    Raises:
        BadImageError: It is too large, or its numbers or colours are not pixels.
    """

    def __init__(self, image: TiffImage, options: ReadOptions, file_size: int) -> None:
        page = image.page
        if page.dtype is None:
            raise BadImageError(f"it has samples of {page.bitspersample} bits, which are not read")
        if not _is_grey_or_rgb(page) and not _is_ink(page):
            raise BadImageError("its pages have colours, as of a palette, that cannot be channels")
        self.nodata = image.nodata
        self._stack, self._page = image.stack, page
        count, samples = len(image.stack.pages), page.samplesperpixel
        self._opacity = options.channels != "bands" and count == 1 and _declares_opacity(page)
        width, height, channels = page.imagewidth, page.imagelength, samples * count
        check_memory(width * height, COPIES * channels * page.dtype.itemsize, file_size)
        if image.stack.are_rows:
            width, height, channels = height, count, width
        elif self._opacity or _is_ink(page):
            channels = RGBA if self._opacity else RGB
        self._orientation = 1 if image.stack.are_rows else _orientation(page)
        opacity = channels == RGBA and (self._opacity or options.channels == "rgba")
        size = turned_size(width, height, self._orientation)
        self.shape = Shape(*size, channels, kept_dtype(page.dtype), opacity, image.frames)

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        parts = [self._samples(page) for page in self._stack.pages]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        if self._stack.are_rows:
            pixels = pixels.transpose(2, 0, 1)
        if self.shape.dtype == "float32":
            pixels = self._with_gaps(pixels)
        return as_pixels(turned(pixels, self._orientation))

    def _with_gaps(self, pixels: np.ndarray) -> np.ndarray:
        """Floats that are NaN where there are no data."""
        kept = pixels.astype(np.float64 if pixels.dtype.itemsize == 8 else np.float32)
        if self.nodata is not None:
            kept[without_data(pixels, self.nodata)] = np.nan
        return kept

    def _samples(self, page: TiffPage) -> np.ndarray:
        """The samples of one page, (H, W, C): colours in sRGB, and not multiplied by opacity."""
        from tifffile import EXTRASAMPLE, PHOTOMETRIC

        array = page.asarray()
        is_planar = page.planarconfig == 2 and page.samplesperpixel > 1
        pixels = np.moveaxis(array, 0, 2) if is_planar else array.reshape(page.imagelength, page.imagewidth, -1)
        if pixels.dtype == np.uint8 and page.bitspersample < 8:
            pixels = pixels * np.uint8(255 // ((1 << page.bitspersample) - 1))
        if page.photometric == PHOTOMETRIC.MINISWHITE and pixels.dtype.kind in "ub":
            pixels = ~pixels
        if self._opacity and page.extrasamples[0] == EXTRASAMPLE.ASSOCALPHA:
            pixels = straight(pixels)
        if pixels.dtype in (np.uint8, np.uint16):
            profile, space = _tag(page, PROFILE), _space(page)
            pixels = pixels_in_srgb(pixels, profile if isinstance(profile, bytes) else None, space)
        if _is_ink(page) and pixels.shape[2] == CMYK:
            pixels = from_inks(pixels)
        return coloured(pixels) if self._opacity and pixels.shape[2] == 2 else pixels


def tiff_image(content: bytes, options: ReadOptions) -> TiffImage | None:
    """The image of a TIFF, or the first of several; None if the file is none, or its directory is broken.

    Raises:
        BadImageError: It is a raw camera file, ends before its pages do, or its pages may be images or channels.
    """
    layout = layout_of(io.BytesIO(content))
    if layout is None:
        return None
    _, is_part = pages_of(io.BytesIO(content), layout)
    try:
        images = stacks_of(io.BytesIO(content), replace(options, pages="first") if is_part else options)
    except BadImageError:
        raise
    except Exception:
        return None
    if is_part and options.pages != "first":
        raise BadImageError("its list of pages goes on beyond the end of the file; copy it anew, or give --pages first")
    return TiffImage(images[0], len(images))


def stacks_of(file: ReadableFile, options: ReadOptions, base: int = 0) -> list[Stack]:
    """The images of the TIFF that begins at `base` in an open file.

    Raises:
        BadImageError: It is a raw camera file, or its pages may be images or channels.
        Exception: A directory is broken.
    """
    from tifffile import TiffFile

    tiff = TiffFile(file, offset=base, _multifile=False)  # type: ignore[arg-type]  # any file that can seek
    _check_not_raw(tiff.pages.first)
    return images_of(tiff, options.pages)


def is_pillows(image: TiffImage) -> bool:
    """Whether Pillow loses nothing, as of 8 bits or 1 in grey or RGB, or alone knows the colours, as of a palette."""
    from tifffile import EXTRASAMPLE, PHOTOMETRIC

    page = image.page
    if len(image.stack.pages) > 1:
        return False
    if not _is_grey_or_rgb(page):
        return not _is_ink(page)
    colours = RGB if page.photometric == PHOTOMETRIC.RGB else GREY
    has_opacity = page.samplesperpixel == colours + 1 and page.extrasamples == (EXTRASAMPLE.UNASSALPHA,)
    is_known = page.compression in LIBTIFF and (page.samplesperpixel == colours or has_opacity)
    return is_known and page.dtype in (np.uint8, np.bool_)


def _is_grey_or_rgb(page: TiffPage) -> bool:
    from tifffile import PHOTOMETRIC

    return page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)


def _is_ink(page: TiffPage) -> bool:
    """Whether it is CMYK of 16 bits, which Pillow would cut to 8."""
    from tifffile import PHOTOMETRIC

    return page.photometric == PHOTOMETRIC.SEPARATED and page.samplesperpixel == CMYK and page.dtype == np.uint16


def _space(page: TiffPage) -> Space:
    """What the first samples of a page are."""
    from tifffile import PHOTOMETRIC

    return "cmyk" if _is_ink(page) else "rgb" if page.photometric == PHOTOMETRIC.RGB else "gray"


def _declares_opacity(page: TiffPage) -> bool:
    """Whether the one sample after grey or RGB is declared to be opacity."""
    from tifffile import EXTRASAMPLE, PHOTOMETRIC

    colours = RGB if page.photometric == PHOTOMETRIC.RGB else GREY
    declared = (EXTRASAMPLE.UNASSALPHA, EXTRASAMPLE.ASSOCALPHA)
    return page.samplesperpixel == colours + 1 and len(page.extrasamples) == 1 and page.extrasamples[0] in declared


def _check_not_raw(page: TiffPage) -> None:
    """Refuses what a camera's sensor has seen, beside which there may be a preview."""
    from tifffile import PHOTOMETRIC

    raw = (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW)
    photometrics = [page.photometric, *(getattr(sub, "photometric", None) for sub in page.pages or ())]
    if DNG_VERSION in page.tags or any(one in raw for one in photometrics):
        raise BadImageError(not_read("a raw camera file"))


def _tag(page: TiffPage, code: int) -> object:
    found = page.tags.get(code)
    return None if found is None else found.value


def _orientation(page: TiffPage) -> int:
    value = _tag(page, ORIENTATION)
    return value if isinstance(value, int) else 1
