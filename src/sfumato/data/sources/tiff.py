"""TIFF decoder: any bit depth and number of channels, in one page or in several pages that are channels."""

from __future__ import annotations

import io
import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sfumato.data.sources.colour import Space, pixels_in_srgb
from sfumato.data.sources.entry import BadImageError, ReadableFile
from sfumato.data.sources.memory import check_memory
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.picture import ImageInfo, Picture
from sfumato.data.sources.pixel_arrays import (
    apply_orientation,
    as_pixels,
    cmyk_to_rgb,
    grey_alpha_to_rgba,
    kept_dtype,
    oriented_size,
    unpremultiplied,
    without_data,
)
from sfumato.data.sources.resizing import GREY, RGB, RGBA, Frame
from sfumato.data.sources.tiff_directories import extract_pages, page_offsets, read_tiff_header
from sfumato.data.sources.tiff_pages import PageGroup, group_pages
from sfumato.data.sources.unsupported import not_read

if TYPE_CHECKING:
    from tifffile import TiffPage

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # keeps its warnings out of the terminal

NODATA, PROFILE, ORIENTATION, DNG_VERSION = 42113, 34675, 274, 50706
"""Tags: GDAL's value of pixels without data, ICC profile, orientation, and the version tag of DNG files."""

CMYK = 4

LIBTIFF = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)
"""Compressions that every build of Pillow decodes: none, CCITT, LZW, JPEG, deflate and PackBits."""

COPIES = 2
"""Peak memory of decoding as a multiple of the size of the pixels."""


@dataclass(frozen=True)
class TiffImage:
    """An image of a TIFF file before decoding.

    Attributes:
        stack: Its pages.
        frames: Number of images in the file.
    """

    stack: PageGroup
    frames: int

    @property
    def page(self) -> TiffPage:
        """The page that describes it."""
        return self.stack.pages[0]

    @property
    def nodata(self) -> float | None:
        """Value of pixels without data in GDAL's tag, if it is a finite number and not an index of a palette.

        NaN always means missing data.
        """
        from tifffile import PHOTOMETRIC

        text = None if self.page.photometric == PHOTOMETRIC.PALETTE else _tag(self.page, NODATA)
        try:
            value = float(text.strip("\0 ")) if isinstance(text, str) else math.nan
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def extracted(self, content: bytes) -> bytes:
        """A TIFF file with only its pages, for Pillow, which always opens the first page."""
        file = io.BytesIO(content)
        header = read_tiff_header(file)
        assert header is not None
        return extract_pages(file, header, [page.offset for page in self.stack.pages])


class Tiff(Picture):
    """A TIFF image in grey or RGB with further channels and any bit depth, or in 16-bit CMYK.

    Args:
        image: Its pages.
        options: Interpretation of the channels.
        file_size: Size of the file in bytes.

    Raises:
        BadImageError: It is too large, or its samples are not supported.
    """

    def __init__(self, image: TiffImage, options: ReadOptions, file_size: int) -> None:
        page = image.page
        if page.dtype is None:
            raise BadImageError(f"it has samples of {page.bitspersample} bits, which are not read")
        if not _is_grey_or_rgb(page) and not _is_ink(page):
            raise BadImageError("its pages have colours, for example a palette, that cannot be channels")
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
        size = oriented_size(width, height, self._orientation)
        self.info = ImageInfo(*size, channels, kept_dtype(page.dtype), opacity, image.frames)

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        parts = [self._samples(page) for page in self._stack.pages]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        if self._stack.are_rows:
            pixels = pixels.transpose(2, 0, 1)
        if self.info.dtype == "float32":
            pixels = self._with_gaps(pixels)
        return as_pixels(apply_orientation(pixels, self._orientation))

    def _with_gaps(self, pixels: np.ndarray) -> np.ndarray:
        """Converts pixels to floats with NaN for missing data."""
        kept = pixels.astype(np.float64 if pixels.dtype.itemsize == 8 else np.float32)
        if self.nodata is not None:
            kept[without_data(pixels, self.nodata)] = np.nan
        return kept

    def _samples(self, page: TiffPage) -> np.ndarray:
        """Decodes one page to (H, W, C) in sRGB with straight alpha."""
        from tifffile import EXTRASAMPLE, PHOTOMETRIC

        array = page.asarray()
        is_planar = page.planarconfig == 2 and page.samplesperpixel > 1
        pixels = np.moveaxis(array, 0, 2) if is_planar else array.reshape(page.imagelength, page.imagewidth, -1)
        if pixels.dtype == np.uint8 and page.bitspersample < 8:
            pixels = pixels * np.uint8(255 // ((1 << page.bitspersample) - 1))
        if page.photometric == PHOTOMETRIC.MINISWHITE and pixels.dtype.kind in "ub":
            pixels = ~pixels
        if self._opacity and page.extrasamples[0] == EXTRASAMPLE.ASSOCALPHA:
            pixels = unpremultiplied(pixels)
        if pixels.dtype in (np.uint8, np.uint16):
            profile, space = _tag(page, PROFILE), _space(page)
            pixels = pixels_in_srgb(pixels, profile if isinstance(profile, bytes) else None, space)
        if _is_ink(page) and pixels.shape[2] == CMYK:
            pixels = cmyk_to_rgb(pixels)
        return grey_alpha_to_rgba(pixels) if self._opacity and pixels.shape[2] == 2 else pixels


def tiff_image(content: bytes, options: ReadOptions) -> TiffImage | None:
    """The first image of a TIFF file; None if it is not a TIFF file, or its directory is broken.

    Raises:
        BadImageError: It is a raw camera file, it is truncated, or its pages can be images or channels.
    """
    header = read_tiff_header(io.BytesIO(content))
    if header is None:
        return None
    _, is_part = page_offsets(io.BytesIO(content), header)
    try:
        images = stacks_of(io.BytesIO(content), replace(options, pages="first") if is_part else options)
    except BadImageError:
        raise
    except Exception:
        return None
    if is_part and options.pages != "first":
        raise BadImageError(
            "its list of pages continues beyond the end of the file; copy it again, or give --pages first"
        )
    return TiffImage(images[0], len(images))


def stacks_of(file: ReadableFile, options: ReadOptions, base: int = 0) -> list[PageGroup]:
    """Groups the pages of the TIFF file at offset `base` of an open file into images.

    Raises:
        BadImageError: It is a raw camera file, or its pages can be images or channels.
        Exception: A directory is broken.
    """
    from tifffile import TiffFile

    tiff = TiffFile(file, offset=base, _multifile=False)  # type: ignore[arg-type]  # any file that can seek
    _check_not_raw(tiff.pages.first)
    return group_pages(tiff, options.pages)


def is_pillow_sufficient(image: TiffImage) -> bool:
    """Whether Pillow decodes it without loss (8 bits or 1 bit in grey or RGB), or only Pillow supports its colours."""
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
    """Whether it is 16-bit CMYK, which Pillow reduces to 8 bits."""
    from tifffile import PHOTOMETRIC

    return page.photometric == PHOTOMETRIC.SEPARATED and page.samplesperpixel == CMYK and page.dtype == np.uint16


def _space(page: TiffPage) -> Space:
    """Colour space of the first channels of a page."""
    from tifffile import PHOTOMETRIC

    return "cmyk" if _is_ink(page) else "rgb" if page.photometric == PHOTOMETRIC.RGB else "gray"


def _declares_opacity(page: TiffPage) -> bool:
    """Whether the only channel after grey or RGB is declared as opacity."""
    from tifffile import EXTRASAMPLE, PHOTOMETRIC

    colours = RGB if page.photometric == PHOTOMETRIC.RGB else GREY
    declared = (EXTRASAMPLE.UNASSALPHA, EXTRASAMPLE.ASSOCALPHA)
    return page.samplesperpixel == colours + 1 and len(page.extrasamples) == 1 and page.extrasamples[0] in declared


def _check_not_raw(page: TiffPage) -> None:
    """Raises `BadImageError` for raw camera files; they may also contain a preview."""
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
