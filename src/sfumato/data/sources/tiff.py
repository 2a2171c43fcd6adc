"""TIFF decoder: any bit depth and number of channels, in one page or in several pages that are channels."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageFile

from sfumato.data.sources.colour import Space, pixels_in_srgb
from sfumato.data.sources.memory_limit import check_memory
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.picture import ImageInfo, Picture
from sfumato.data.sources.pillow import PillowPicture, open_in_pillow
from sfumato.data.sources.pixel_arrays import (
    apply_orientation,
    as_pixels,
    grey_alpha_to_rgba,
    kept_dtype,
    oriented_size,
    unpremultiplied,
    without_data,
)
from sfumato.data.sources.resizing import GREY, RGB, RGBA, Frame
from sfumato.data.sources.tiff_pages import PageGroup, group_pages
from sfumato.data.sources.unsupported import not_read
from sfumato.errors import BadImageError

if TYPE_CHECKING:
    from tifffile import FileHandle, TiffFile, TiffPage

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # keeps its warnings out of the terminal

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files in both byte orders."""

NODATA, PROFILE, ORIENTATION, DNG_VERSION = 42113, 34675, 274, 50706
"""Tags: GDAL's value of pixels without data, ICC profile, orientation, and the version tag of DNG files."""

WHITE_IS_ZERO, BLACK_IS_ZERO, COLOUR, PALETTE = 0, 1, 2, 3
GREY_OR_RGB = (WHITE_IS_ZERO, BLACK_IS_ZERO, COLOUR)
RAW = (32803, 34892)
"""Photometric interpretations (TIFF 6.0, page 37), and those of raw camera files."""

PREMULTIPLIED, STRAIGHT = 1, 2
"""Kinds of opacity in the tag ExtraSamples."""

BY_LIBTIFF = (2, 3, 4, 5, 7, 50000)
"""Compressions that need imagecodecs in tifffile, and not in Pillow (8 bits only): CCITT, LZW, JPEG, Zstandard."""

TIFF_COPIES = 2
"""Peak memory of decoding as a multiple of the size of the pixels."""


class TiffImages:
    """The images of a TIFF file; its pages are parsed once, and the file is opened again to decode one.

    Args:
        tiff: The file.
        content: Reads the whole file, for pages that Pillow decodes; None if Pillow can read `tiff`, a whole file.
        options: Interpretation of the pages and channels.

    Raises:
        BadImageError: It is a raw camera file, it is truncated, or its pages can be images or channels.
        Exception: A directory is broken.
    """

    def __init__(self, tiff: TiffFile, content: Callable[[], bytes] | None, options: ReadOptions) -> None:
        with tiff:
            first = tiff.pages.first
            photometrics = [first.photometric, *(getattr(page, "photometric", None) for page in first.pages or ())]
            if DNG_VERSION in first.tags or not set(RAW).isdisjoint(photometrics):  # they may also contain a preview
                raise BadImageError(not_read("a raw camera file"))
            if options.pages != "first" and _is_cut(tiff):
                raise BadImageError(
                    "its list of pages continues beyond the end of the file; copy it again, or give --pages first"
                )
            self._groups = group_pages(tiff, options.pages)
        self._file = tiff.filehandle
        self._content = content
        self._options = options

    def __len__(self) -> int:
        return len(self._groups)

    def picture(self, number: int) -> Picture:
        """Opens one of the images.

        Raises:
            BadImageError: It is too large, or its samples are not supported.
        """
        group = self._groups[number]
        page = group.pages[0]
        with _reopened(self._file):
            if len(group.pages) > 1 or not _is_for_pillow(page):
                return Tiff(group, self._options, self._file)
            return _PillowPage(page, self._in_pillow, self._options, self._file)

    @cached_property
    def _in_pillow(self) -> ImageFile.ImageFile:
        if self._content is None:
            return open_in_pillow(MAGICS[0], self._file)
        return open_in_pillow(self._content())


def open_tiff(content: bytes, options: ReadOptions) -> Picture | None:
    """Opens the first image of a TIFF file; None if it is not a TIFF file, or its directory is broken.

    Raises:
        BadImageError: See `TiffImages`.
    """
    if not content.startswith(MAGICS):
        return None
    from tifffile import TiffFile

    try:
        images = TiffImages(TiffFile(io.BytesIO(content), _multifile=False), lambda: content, options)
    except BadImageError:
        raise
    except Exception:
        return None
    return images.picture(0)


class Tiff(Picture):
    """A TIFF image in grey or RGB with further channels and any bit depth; the file is opened to decode its pages.

    Raises:
        BadImageError: It is too large, or its samples are not supported.
    """

    def __init__(self, group: PageGroup, options: ReadOptions, file: FileHandle) -> None:
        page = group.pages[0]
        if page.dtype is None:
            raise BadImageError(f"it has samples of {page.bitspersample} bits, which are not read")
        if page.photometric not in GREY_OR_RGB:
            raise BadImageError("its pages have colours, for example a palette, that cannot be channels")
        self.nodata = _nodata(page)
        self._group = group
        self._file = file
        count, samples = len(group.pages), page.samplesperpixel
        self._opacity = options.channels != "bands" and count == 1 and _declares_opacity(page)
        width, height, channels = page.imagewidth, page.imagelength, samples * count
        check_memory(width * height, TIFF_COPIES * channels * page.dtype.itemsize, file.size)
        if group.are_rows:
            width, height, channels = height, count, width
        elif self._opacity:
            channels = RGBA
        orientation = _tag(page, ORIENTATION)
        self._orientation = orientation if isinstance(orientation, int) and not group.are_rows else 1
        opacity = channels == RGBA and (self._opacity or options.channels == "rgba")
        size = oriented_size(width, height, self._orientation)
        self.info = ImageInfo(*size, channels, kept_dtype(page.dtype), opacity)

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        with _reopened(self._file):
            parts = [self._samples(page) for page in self._group.pages]
        pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        if self._group.are_rows:
            pixels = pixels.transpose(2, 0, 1)
        if self.info.dtype == "float32":
            stored = pixels
            pixels = stored.astype(np.float64 if stored.dtype.itemsize == 8 else np.float32)
            if self.nodata is not None:
                pixels[without_data(stored, self.nodata)] = np.nan
        return as_pixels(apply_orientation(pixels, self._orientation))

    def _samples(self, page: TiffPage) -> np.ndarray:
        """Decodes one page to (H, W, C) in sRGB with straight alpha."""
        array = page.asarray()
        is_planar = page.planarconfig == 2 and page.samplesperpixel > 1
        pixels = np.moveaxis(array, 0, 2) if is_planar else array.reshape(page.imagelength, page.imagewidth, -1)
        if pixels.dtype == np.uint8 and page.bitspersample < 8:
            pixels = pixels * np.uint8(255 // ((1 << page.bitspersample) - 1))
        if page.photometric == WHITE_IS_ZERO and pixels.dtype.kind in "ub":
            pixels = ~pixels
        if self._opacity and page.extrasamples[0] == PREMULTIPLIED:
            pixels = unpremultiplied(pixels)
        if pixels.dtype in (np.uint8, np.uint16):
            space: Space = "rgb" if page.photometric == COLOUR else "gray"
            profile = _tag(page, PROFILE)
            pixels = pixels_in_srgb(pixels, profile if isinstance(profile, bytes) else None, space)
        return grey_alpha_to_rgba(pixels) if self._opacity and pixels.shape[2] == 2 else pixels


class _PillowPage(PillowPicture):
    """A page that Pillow decodes; the file is opened to decode it."""

    def __init__(self, page: TiffPage, image: ImageFile.ImageFile, options: ReadOptions, file: FileHandle) -> None:
        super().__init__(MAGICS[0], image, options, int(page.index), file.size)
        self.nodata = _nodata(page)
        self._file = file

    def _decoded(self, frame: Frame | None) -> np.ndarray:
        with _reopened(self._file):
            return super()._decoded(frame)


def _reopened(handle: FileHandle) -> FileHandle:
    """Opens a file that was closed; a context manager that closes it again."""
    handle.open()
    return handle


def _is_cut(tiff: TiffFile) -> bool:
    """Whether the list of pages continues beyond the end of the file."""
    file, size = tiff.filehandle, tiff.tiff.offsetsize
    file.seek(tiff.pages.next_page_offset or 0)
    link = file.read(size)
    return len(link) < size or int.from_bytes(link, "little" if tiff.byteorder == "<" else "big") >= file.size - 1


def _is_for_pillow(page: TiffPage) -> bool:
    """Whether only Pillow supports its colours, or it has up to 8 bits that tifffile decodes with imagecodecs only."""
    if page.photometric not in GREY_OR_RGB:
        if page.bitspersample > 8:
            raise BadImageError(f"it has CMYK or other colours with {page.bitspersample} bits; convert it to RGB")
        return True
    is_known = page.samplesperpixel == _colours(page) or (_declares_opacity(page) and page.extrasamples[0] == STRAIGHT)
    if page.samplesperpixel == 2 and (page.planarconfig == 2 or page.photometric == WHITE_IS_ZERO):
        return False  # Pillow decodes other pixels, or none
    is_shallow = page.dtype in (np.uint8, np.bool_)
    return is_known and is_shallow and (page.compression in BY_LIBTIFF or page.bitspersample < 8)


def _colours(page: TiffPage) -> int:
    return RGB if page.photometric == COLOUR else GREY


def _declares_opacity(page: TiffPage) -> bool:
    """Whether the only channel after grey or RGB is declared as opacity."""
    extra = page.extrasamples
    return page.samplesperpixel == _colours(page) + 1 and len(extra) == 1 and extra[0] in (STRAIGHT, PREMULTIPLIED)


def _nodata(page: TiffPage) -> float | None:
    """Value of pixels without data in GDAL's tag, if it is a finite number and not an index of a palette."""
    text = None if page.photometric == PALETTE else _tag(page, NODATA)
    try:
        value = float(text.strip("\0 ")) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _tag(page: TiffPage, code: int) -> object:
    found = page.tags.get(code)
    return None if found is None else found.value
