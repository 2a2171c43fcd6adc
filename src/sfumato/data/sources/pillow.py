"""Whatever Pillow reads."""

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
from sfumato.data.sources.frame import GREY, RGB, RGBA, Frame
from sfumato.data.sources.jpeg import FINER, check_jpeg_memory
from sfumato.data.sources.memory import check_memory, most_pixels
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.orientation import turned_size
from sfumato.data.sources.picture import Picture, Shape
from sfumato.data.sources.pixels import Dtype, as_pixels

Image.init()
UNSAFE = {"EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
SAFE_FORMATS = tuple(sorted(set(Image.OPEN) - UNSAFE, key=lambda name: (Image.OPEN[name][1] is None, name)))
"""What Pillow decodes, without PostScript, which it would hand to Ghostscript, and without formats of which it knows
the header alone. Those without a mark at the beginning are tried last."""

ANIMATIONS = ("AVIF", "FLI", "GIF", "PNG", "WEBP")
"""Formats whose further frames are images like the first."""

JPEGS = ("JPEG", "MPO")

INTERNAL = 4
"""Bytes a pixel in Pillow's memory."""

PEAK = {"1": 4, "L": 4, "F": 12, "I": 12, "I;16": 6}
PEAK_IN_COLOUR = 16
PEAK_WHOLE = 22
"""Bytes a pixel at the peak of decoding and converting, by Pillow's mode, in colour, and of formats whose decoders keep
the whole image; measured with images of 4 to 16 megapixels."""

WHOLE = ("AVIF", "JPEG2000", "WEBP")

SIMPLE = (b"\xff\xd8\xff", b"\x89PNG", b"II", b"MM", b"BM", b"GIF8", b"P")
"""How formats begin of which Pillow allocates nothing before their size is known, and no other image within."""

PNG_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Chunks that may hold EXIF or XMP, and so an orientation, before or after the pixels."""

_LIMIT = threading.RLock()


class PillowPicture(Picture):
    """An image that Pillow decodes to 8 bits, or to grey of any depth.

    Args:
        content: The encoded file.
        image: That file, opened.
        options: What its channels are.
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
        size = turned_size(*image.size, orientation_of(image, content))
        self.shape = Shape(*size, channels, dtype, opacity, frames_of(image))

    def _decoded(self, frame: Frame | None) -> np.ndarray:
        image = self._image
        if image.format in JPEGS:
            size = (self.shape.width, self.shape.height)
            least = size if frame is None else frame.least(*size)
            check_jpeg_memory(self._content, *size, least)
            least = least if size == image.size else least[::-1]
            image.draft(None, (FINER * least[0], FINER * least[1]))
        with pixel_limit(self._content):
            image.load()
            return _shown(_upright(image), self._is_plain)


def open_in_pillow(content: bytes) -> ImageFile.ImageFile:
    """The image, opened and not decoded.

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
    """For as long as one image is read, Pillow's limit is what fits in memory, and its warnings are silent."""
    with _LIMIT, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usual = Image.MAX_IMAGE_PIXELS
        is_simple = content.startswith(SIMPLE)  # Pillow refuses what has twice as many pixels as its limit
        Image.MAX_IMAGE_PIXELS = None if is_simple else most_pixels(INTERNAL, len(content)) // 2
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def frames_of(image: ImageFile.ImageFile) -> int:
    """The images in a file: the frames of an animation, but not the other pictures of a phone or a document."""
    return getattr(image, "n_frames", 1) if image.format in ANIMATIONS else 1


def orientation_of(image: Image.Image, content: bytes) -> int:
    """What EXIF says of an opened image that still is to be turned; 1 if it says nothing, or is broken.

    Raises:
        OSError: The file is only a part of one, which does not show it.
    """
    if image.format == "TIFF":  # whose size is that of the upright image, and which is turned as it is loaded
        return 1
    try:
        is_late = image.format != "PNG" or _may_have_late_metadata(content)
        exif = image.getexif() if is_late else Image.Image.getexif(image)  # a PNG's own decodes the image
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except OSError:
        raise
    except Exception:  # what is broken says nothing
        return 1


def _may_have_late_metadata(content: bytes) -> bool:
    """Whether the metadata of a PNG stand after the pixels, or may do so in the part of a file that is not there.

    Pillow finds them only when it decodes the pixels.
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
    """A decoded image, turned as EXIF says, unless what EXIF says is broken."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _native(image: Image.Image, is_plain: bool) -> tuple[int, Dtype]:
    """(channels, dtype) that an opened image will have; if it `is_plain`, every band is a channel."""
    if image.mode in ("F", "I"):
        return GREY, "float32"
    if image.mode.startswith("I"):
        return GREY, "uint16"
    if is_plain and image.mode == "LA":
        return 2, "uint8"
    if image.has_transparency_data and not (is_plain and image.mode in ("1", "L", "RGB")):
        return RGBA, "uint8"
    return (GREY if image.mode in ("1", "L") else RGB), "uint8"


def _shown(image: Image.Image, is_plain: bool) -> np.ndarray:
    """The pixels of a decoded image, (H, W, C)."""
    channels, dtype = _native(image, is_plain)
    if dtype != "uint8":
        return as_pixels(np.asarray(image)[:, :, None])
    mode = {GREY: "L", 2: "LA", RGB: "RGB", RGBA: "RGBA"}[channels]
    return np.asarray(in_srgb(image, mode)).reshape(image.height, image.width, channels)
