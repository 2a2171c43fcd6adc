"""Images that are opened by Pillow, and decoded by it unless they are PNGs of 16 bits in colour."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

import numpy as np
from PIL import ExifTags, Image, ImageFile

from sfumato.data.sources.colour import in_srgb, pixels_in_srgb
from sfumato.data.sources.jpeg import FINER, check_jpeg_memory
from sfumato.data.sources.memory_limit import check_memory, most_pixels
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.picture import ImageInfo, Picture
from sfumato.data.sources.pixel_arrays import Dtype, apply_orientation, as_pixels, grey_alpha_to_rgba, oriented_size
from sfumato.data.sources.resizing import GREY, RGB, RGBA, Frame
from sfumato.errors import BadImageError

if TYPE_CHECKING:
    from tifffile import FileHandle

Image.init()
UNSAFE = {"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
SAFE_FORMATS = tuple(sorted(set(Image.OPEN) - UNSAFE, key=lambda name: (Image.OPEN[name][1] is None, name)))
"""Formats that are decoded. PostScript, for which Pillow starts Ghostscript, and formats whose pixels Pillow cannot
decode are left out. Formats without a magic number are tried last."""

JPEGS = ("JPEG", "MPO")

INTERNAL = 4
"""Bytes per pixel in the memory of Pillow."""

PEAK_BY_MODE = {"1": 4, "L": 4, "F": 12, "I": 12, "I;16": 6}
PEAK_IN_COLOUR = 16
PEAK_WHOLE = 22
"""Peak memory of decoding and converting in bytes per pixel: by mode, in colour, and for formats whose decoders keep
the whole image; measured with images of 4 to 16 megapixels."""

FORMATS_OF_16_BITS = ("PNG", "PPM")
"""Formats in which Pillow's mode of 32-bit integers holds 16 bits."""

WHOLE = ("AVIF", "JPEG2000", "WEBP")

SIMPLE = (b"\xff\xd8\xff", b"\x89PNG", b"II", b"MM", b"BM", b"GIF8", b"P")
"""First bytes of formats without embedded images for which Pillow allocates memory only after checking the size."""

PNG_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Chunks that may hold EXIF or XMP with an orientation, before or after the pixels."""

BIT_DEPTH, COLOUR_TYPE = 24, 25
"""Offsets in a PNG (PNG specification, 11.2.1)."""

GREY_TYPE = 0
CHANNELS_BY_TYPE = {GREY_TYPE: GREY, 2: RGB, 4: 2, 6: RGBA}
"""Number of channels by colour type."""

DEEP_COPIES = 1.5
"""Peak memory of decoding as a multiple of the size of the pixels; measured."""

_LIMIT = threading.RLock()


class PillowPicture(Picture):
    """An image that Pillow decodes to 8 bits, or to grey of any bit depth.

    Args:
        content: Encoded file; for a page of a TIFF file, its first bytes.
        image: The file, opened by Pillow.
        options: Interpretation of the channels.
        page: Index of the page of a TIFF file; None for other files.
        file_size: Size of the file in bytes; None if `content` is the whole file.
    """

    def __init__(
        self,
        content: bytes,
        image: ImageFile.ImageFile,
        options: ReadOptions,
        page: int | None = None,
        file_size: int | None = None,
    ) -> None:
        self._content = content
        self._image = image
        self._page = page
        if page is not None:
            image.seek(page)
        self._is_plain = options.channels == "bands"
        if image.format not in JPEGS:
            peak = PEAK_WHOLE if image.format in WHOLE else PEAK_BY_MODE.get(image.mode, PEAK_IN_COLOUR)
            check_memory(image.width * image.height, peak, file_size or len(content))
        channels, dtype = _native(image, self._is_plain)
        opacity = channels == RGBA and not self._is_plain
        self._orientation = orientation_of(image, content)
        self.info = ImageInfo(*oriented_size(*image.size, self._orientation), channels, dtype, opacity)

    def _decoded(self, frame: Frame | None) -> np.ndarray:
        image = self._image
        if image.format in JPEGS:
            size = (self.info.width, self.info.height)
            least = size if frame is None else frame.least(*size)
            check_jpeg_memory(self._content, *size, least)
            least = least if size == image.size else least[::-1]
            image.draft(None, (FINER * least[0], FINER * least[1]))
        with pixel_limit(self._content):
            if self._page is not None:  # the pages of a file share the opened image
                image.seek(self._page)
            image.load()
            if self.info.dtype != "uint8":
                pixels = as_pixels(np.asarray(image)[:, :, None]).astype(self.info.dtype, copy=False)
            else:
                channels, _ = _native(image, self._is_plain)
                converted = in_srgb(image, {GREY: "L", 2: "LA", RGB: "RGB", RGBA: "RGBA"}[channels])
                pixels = np.asarray(converted).reshape(image.height, image.width, channels)
        return apply_orientation(pixels, self._orientation)


def is_deep_png(image: ImageFile.ImageFile, content: bytes) -> bool:
    """Whether an image is a PNG that Pillow reduces to 8 bits, or whose opacity or colour profile it ignores."""
    if image.format != "PNG" or content[BIT_DEPTH] != 16:
        return False
    return content[COLOUR_TYPE] != GREY_TYPE or "transparency" in image.info or "icc_profile" in image.info


class DeepPng(Picture):
    """A PNG for which `is_deep_png` is true; see `PillowPicture`."""

    def __init__(self, content: bytes, image: ImageFile.ImageFile, options: ReadOptions) -> None:
        self._content = content
        self._profile = image.info.get("icc_profile")
        channels = CHANNELS_BY_TYPE[content[COLOUR_TYPE]]
        opacity = options.channels != "bands" and (channels in (2, RGBA) or "transparency" in image.info)
        channels = RGBA if opacity else channels
        check_memory(image.width * image.height, DEEP_COPIES * 2 * channels, len(content))
        self._orientation = orientation_of(image, content)
        self.info = ImageInfo(*oriented_size(*image.size, self._orientation), channels, "uint16", opacity)

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        import imagecodecs

        stored = np.asarray(imagecodecs.png_decode(self._content))
        stored = stored.reshape(*stored.shape[:2], -1)
        pixels = pixels_in_srgb(stored, self._profile, "gray" if stored.shape[2] < RGB else "rgb")
        if self.info.opacity and pixels.shape[2] == 2:
            pixels = grey_alpha_to_rgba(pixels)
        return apply_orientation(pixels[:, :, : self.info.channels], self._orientation)


def open_in_pillow(content: bytes, file: FileHandle | None = None) -> ImageFile.ImageFile:
    """Opens an image without decoding it.

    Args:
        content: Encoded file, or its first bytes if `file` is given.
        file: Open file that is not read into memory.

    Raises:
        BadImageError: It has no pixels.
        Exception: It is not an image that Pillow reads.
    """
    source = io.BytesIO(content) if file is None else cast("IO[bytes]", file)
    with pixel_limit(content):
        image = Image.open(source, formats=SAFE_FORMATS)
    if 0 in image.size or isinstance(image, ImageFile.StubImageFile):
        raise BadImageError("it has no pixels")
    return image


@contextmanager
def pixel_limit(content: bytes) -> Iterator[None]:
    """Sets Pillow's pixel limit from the free memory and suppresses warnings while an image is read."""
    with _LIMIT, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usual = Image.MAX_IMAGE_PIXELS
        is_simple = content.startswith(SIMPLE)  # Pillow rejects images of more than twice its limit
        Image.MAX_IMAGE_PIXELS = None if is_simple else most_pixels(INTERNAL, len(content)) // 2
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def orientation_of(image: Image.Image, content: bytes) -> int:
    """Remaining EXIF orientation of an opened image; 1 if there is none, or it is broken.

    Raises:
        OSError: The file is truncated before the orientation.
    """
    if image.format == "TIFF":  # Pillow applies the orientation when it loads the image
        return 1
    try:
        is_late = image.format != "PNG" or _may_have_late_metadata(content)
        exif = image.getexif() if is_late else Image.Image.getexif(image)  # the method of PNG decodes the image
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except OSError:
        raise
    except Exception:  # broken EXIF data are ignored
        return 1


def _may_have_late_metadata(content: bytes) -> bool:
    """Whether a PNG is truncated, or may have metadata after the pixels, which Pillow reads when it decodes them."""
    end = content[content.find(b"IDAT") :]
    return b"IEND" not in end or any(kind in end for kind in PNG_METADATA)


def _native(image: Image.Image, is_plain: bool) -> tuple[int, Dtype]:
    """(channels, dtype) of an opened image; if `is_plain`, every band is a channel."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in FORMATS_OF_16_BITS):
        return GREY, "uint16"
    if image.mode in ("F", "I"):
        return GREY, "float32"
    if is_plain and image.mode == "LA":
        return 2, "uint8"
    if image.has_transparency_data and not (is_plain and image.mode in ("1", "L", "RGB")):
        return RGBA, "uint8"
    return (GREY if image.mode in ("1", "L") else RGB), "uint8"
