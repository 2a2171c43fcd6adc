"""Images that are decoded by Pillow."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps

from sfumato.data.sources.colour import in_srgb
from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.jpeg import FINER, check_jpeg_memory
from sfumato.data.sources.memory import check_memory, most_pixels
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.picture import ImageInfo, Picture
from sfumato.data.sources.pixel_arrays import Dtype, as_pixels, oriented_size
from sfumato.data.sources.resizing import GREY, RGB, RGBA, Frame

Image.init()
UNSAFE = {"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
SAFE_FORMATS = tuple(sorted(set(Image.OPEN) - UNSAFE, key=lambda name: (Image.OPEN[name][1] is None, name)))
"""Formats that are decoded. PostScript, for which Pillow starts Ghostscript, and formats whose pixels Pillow cannot
decode are left out. Formats without a magic number are tried last."""

ANIMATIONS = ("AVIF", "FLI", "GIF", "PNG", "WEBP")
"""Formats in which all frames are images."""

JPEGS = ("JPEG", "MPO")

INTERNAL = 4
"""Bytes per pixel in the memory of Pillow."""

PEAK = {"1": 4, "L": 4, "F": 12, "I": 12, "I;16": 6}
PEAK_IN_COLOUR = 16
PEAK_WHOLE = 22
"""Peak memory of decoding and converting in bytes per pixel: by mode, in colour, and for formats whose decoders keep
the whole image; measured with images of 4 to 16 megapixels."""

WHOLE = ("AVIF", "JPEG2000", "WEBP")

SIMPLE = (b"\xff\xd8\xff", b"\x89PNG", b"II", b"MM", b"BM", b"GIF8", b"P")
"""First bytes of formats without embedded images for which Pillow allocates memory only after checking the size."""

PNG_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Chunks that may hold EXIF or XMP with an orientation, before or after the pixels."""

_LIMIT = threading.RLock()


class PillowPicture(Picture):
    """An image that Pillow decodes to 8 bits, or to grey of any bit depth.

    Args:
        content: Encoded file.
        image: The file, opened by Pillow.
        options: Interpretation of the channels.
    """

    def __init__(self, content: bytes, image: ImageFile.ImageFile, options: ReadOptions) -> None:
        self._content = content
        self._image = image
        self._is_plain = options.channels == "bands"
        if image.format not in JPEGS:
            peak = PEAK_WHOLE if image.format in WHOLE else PEAK.get(image.mode, PEAK_IN_COLOUR)
            check_memory(image.width * image.height, peak, len(content))
        channels, dtype = _native(image, self._is_plain)
        opacity = channels == RGBA and not self._is_plain
        size = oriented_size(*image.size, orientation_of(image, content))
        self.info = ImageInfo(*size, channels, dtype, opacity, frames_of(image))

    def _decoded(self, frame: Frame | None) -> np.ndarray:
        image = self._image
        if image.format in JPEGS:
            size = (self.info.width, self.info.height)
            least = size if frame is None else frame.least(*size)
            check_jpeg_memory(self._content, *size, least)
            least = least if size == image.size else least[::-1]
            image.draft(None, (FINER * least[0], FINER * least[1]))
        with pixel_limit(self._content):
            image.load()
            return _to_pixels(_upright(image), self._is_plain)


def open_in_pillow(content: bytes) -> ImageFile.ImageFile:
    """Opens an image without decoding it.

    Raises:
        BadImageError: It has no pixels.
        Exception: It is not an image that Pillow reads.
    """
    with pixel_limit(content):
        image = Image.open(io.BytesIO(content), formats=SAFE_FORMATS)
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


def frames_of(image: ImageFile.ImageFile) -> int:
    """Number of images in a file: frames of an animation, but not the additional images of phones or documents."""
    return getattr(image, "n_frames", 1) if image.format in ANIMATIONS else 1


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
    """Whether a PNG has metadata after the pixels, or may have them in the missing part of a truncated file.

    Pillow reads such metadata only when it decodes the pixels.
    """
    at, is_late = len(b"\x89PNG\r\n\x1a\n"), False
    while at + 8 <= len(content):
        kind = content[at + 4 : at + 8]
        if kind == b"IEND":
            return False
        if is_late and kind in PNG_METADATA:
            return True
        is_late = is_late or kind == b"IDAT"
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return True


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation to a decoded image; broken EXIF data are ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _native(image: Image.Image, is_plain: bool) -> tuple[int, Dtype]:
    """(channels, dtype) of an opened image; if `is_plain`, every band is a channel."""
    if image.mode in ("F", "I"):
        return GREY, "float32"
    if image.mode.startswith("I"):
        return GREY, "uint16"
    if is_plain and image.mode == "LA":
        return 2, "uint8"
    if image.has_transparency_data and not (is_plain and image.mode in ("1", "L", "RGB")):
        return RGBA, "uint8"
    return (GREY if image.mode in ("1", "L") else RGB), "uint8"


def _to_pixels(image: Image.Image, is_plain: bool) -> np.ndarray:
    """Pixels of a decoded image, (H, W, C)."""
    channels, dtype = _native(image, is_plain)
    if dtype != "uint8":
        return as_pixels(np.asarray(image)[:, :, None])
    mode = {GREY: "L", 2: "LA", RGB: "RGB", RGBA: "RGBA"}[channels]
    return np.asarray(in_srgb(image, mode)).reshape(image.height, image.width, channels)
