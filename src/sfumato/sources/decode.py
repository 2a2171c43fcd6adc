"""From the content of one entry to pixels as a viewer would show them: upright, in sRGB, at the depth they have."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sfumato.sources.colour import in_srgb
from sfumato.sources.deep import deep_pixels, deep_shape
from sfumato.sources.entry import BadImageError, Content
from sfumato.sources.frame import GREY, RGB, RGBA, Frame
from sfumato.sources.options import USUAL, ReadOptions
from sfumato.sources.pixels import Dtype, arranged, as_pixels, kept_dtype, refuse_bomb

Image.init()
SAFE_FORMATS = tuple(sorted(set(Image.OPEN) - {"EPS"}))
"""What Pillow reads, without PostScript, which it would hand to Ghostscript: a program, and no picture."""

SIDEWAYS = (5, 6, 7, 8)  # the EXIF orientations that swap width and height

FINER = 2
"""A JPEG is decoded at a half, a quarter or an eighth of its size where that is this many times what is needed."""

SPECIAL_JPEG = (b"Exif\0\0", b"ICC_PROFILE\0", b"Adobe\0", b"Adobe\1")
"""Marks of what only Pillow's decoder heeds: orientation, colour profiles, and unusual colour models."""

START_OF_SCAN = b"\xff\xda"
"""Where the head of a JPEG ends; in a thumbnail it stands after the mark of EXIF."""


@dataclass(frozen=True)
class Shape:
    """What an image will be when decoded.

    Attributes:
        width: In pixels, upright.
        height: In pixels, upright.
        channels: 1 grey, 3 RGB; any other number for arrays and TIFFs.
        dtype: "uint8", "uint16" or "float32".
        opacity: Whether the last of four channels is opacity.
        frames: Images in the file, of which this is one.
    """

    width: int
    height: int
    channels: int
    dtype: Dtype
    opacity: bool = False
    frames: int = 1


class Picture(ABC):
    """An image that has been opened: its shape is known, and its pixels can be had.

    Attributes:
        shape: What it will be when decoded.
        nodata: The value of pixels without data that the file declares; None if it declares none.
    """

    shape: Shape
    nodata: float | None = None

    @abstractmethod
    def pixels(self, frame: Frame | None = None) -> np.ndarray:
        """Decode it.

        Args:
            frame: What the pixels will be fitted to; lets large JPEGs be decoded at a fraction of their size.

        Returns:
            (H, W, C) uint8, uint16 or float32.

        Raises:
            BadImageError: It is only a part of an image, or damaged.
        """


def opened(content: Content, options: ReadOptions = USUAL) -> Picture:  # noqa: ARG001
    """Opens an image, looking no further than its header.

    Args:
        content: Of a file, or an array.
        options: What its channels and pages are, where the file does not say it.

    Raises:
        BadImageError: There is none, or one that is too large.
    """
    if isinstance(content, np.ndarray):
        return _Array(content)
    if _is_plain_jpeg(content):
        return _PlainJpeg(content)
    if (deep := deep_shape(content)) is not None:
        return _Deep(content, Shape(*deep))
    return _Pillow(content)


def shape_of(content: Content) -> Shape:
    """The shape of an image, from its header alone; see `opened`."""
    return opened(content).shape


def pixels_of(content: Content, frame: Frame | None = None) -> np.ndarray:
    """The pixels of an image; see `opened` and `Picture.pixels`."""
    return opened(content).pixels(frame)


def reason_of(error: Exception) -> str:
    """Why an image could not be read, as the end of a sentence.

    A decoder meets broken data with whatever its code runs into: OSError, SyntaxError, struct.error and more.
    """
    match error:
        case BadImageError():
            return str(error)
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return f"it has more than {Image.MAX_IMAGE_PIXELS} pixels"
        case UnidentifiedImageError():
            return "it is not an image that Pillow can read"
        case OSError(strerror=str(reason)):
            return reason.lower()
        case MemoryError():
            return "it does not fit into memory"
        case _:
            return " ".join(str(error).split()) or type(error).__name__


class _Array(Picture):
    """Pixels that need no decoding."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = arranged(array)
        if array.dtype.kind in "ui" and array.dtype.itemsize > 2:
            raise BadImageError(f"it holds {array.dtype}, whose white is unknown; save it as uint8, uint16 or floats")
        height, width, channels = self._array.shape
        self.shape = Shape(width, height, channels, kept_dtype(array.dtype))

    def pixels(self, frame: Frame | None = None) -> np.ndarray:  # noqa: ARG002
        return as_pixels(self._array)


class _Deep(Picture):
    """An image that Pillow would flatten."""

    def __init__(self, content: bytes, shape: Shape) -> None:
        self._content = content
        self.shape = shape

    def pixels(self, frame: Frame | None = None) -> np.ndarray:  # noqa: ARG002
        return deep_pixels(self._content)


class _PlainJpeg(Picture):
    """A JPEG that says nothing about orientation and colour."""

    def __init__(self, content: bytes) -> None:
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        except ValueError as error:
            raise BadImageError(reason_of(error)) from error
        refuse_bomb(width, height)
        self._content = content
        self.shape = Shape(width, height, GREY if colours == "Gray" else RGB, "uint8")

    def pixels(self, frame: Frame | None = None) -> np.ndarray:
        width, height = self.shape.width, self.shape.height
        least = (width, height) if frame is None else frame.least(width, height)
        try:
            decoded = simplejpeg.decode_jpeg(
                self._content,
                "GRAY" if self.shape.channels == GREY else "RGB",
                min_width=min(width, FINER * least[0]),
                min_height=min(height, FINER * least[1]),
            )
        except ValueError as error:
            raise BadImageError(reason_of(error)) from error
        return np.asarray(decoded)


class _Pillow(Picture):
    """Whatever Pillow reads."""

    def __init__(self, content: bytes) -> None:
        try:
            self._image = Image.open(io.BytesIO(content), formats=SAFE_FORMATS)
            refuse_bomb(*self._image.size)
            self.shape = Shape(*_upright_size(self._image), *_native(self._image))
        except Exception as error:
            raise BadImageError(reason_of(error)) from error

    def pixels(self, frame: Frame | None = None) -> np.ndarray:
        image = self._image
        if frame is not None and image.format == "JPEG":
            least = frame.least(self.shape.width, self.shape.height)
            least = least if (self.shape.width, self.shape.height) == image.size else least[::-1]
            image.draft(None, (FINER * least[0], FINER * least[1]))
        try:
            image.load()
            return _shown(_upright(image))
        except BadImageError:
            raise
        except Exception as error:
            raise BadImageError(reason_of(error)) from error


def _is_plain_jpeg(content: bytes) -> bool:
    """Whether a JPEG says nothing about orientation and colour, so that it can be decoded without ceremony."""
    if not content.startswith(b"\xff\xd8\xff"):
        return False
    head = content[: content.find(START_OF_SCAN)]
    return not any(mark in head for mark in SPECIAL_JPEG)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    if image.format == "TIFF":  # Pillow has turned this size already
        return image.size
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    except OSError:  # of a part of a file, which does not show whether it is turned
        raise
    except Exception:  # what is broken says nothing
        turned = False
    return (image.height, image.width) if turned else image.size


def _upright(image: Image.Image) -> Image.Image:
    """A decoded image, turned as EXIF says, unless what EXIF says is broken."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _native(image: Image.Image) -> tuple[int, Dtype]:
    """(channels, dtype) that an opened image will have."""
    if image.mode == "F":
        return GREY, "float32"
    if image.mode.startswith("I"):
        return GREY, "uint16"
    if image.has_transparency_data:
        return RGBA, "uint8"
    return (GREY if image.mode in ("1", "L") else RGB), "uint8"


def _shown(image: Image.Image) -> np.ndarray:
    """The pixels of an opened image, (H, W, C)."""
    channels, dtype = _native(image)
    if dtype != "uint8":
        return as_pixels(np.asarray(image)[:, :, None])
    mode = {GREY: "L", RGB: "RGB", RGBA: "RGBA"}[channels]
    return np.asarray(in_srgb(image, mode)).reshape(image.height, image.width, channels)
