"""From the content of one entry to pixels as a viewer would show them: upright, in sRGB, at the depth they have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sfumato.data.sources import jpeg
from sfumato.data.sources.deep import DeepPicture, deep_decoder
from sfumato.data.sources.entry import BadImageError, Content
from sfumato.data.sources.frame import RGBA, Frame
from sfumato.data.sources.heif import Heif, is_heif
from sfumato.data.sources.jpeg import PlainJpeg
from sfumato.data.sources.jxl import JpegXl, is_jxl
from sfumato.data.sources.kinds import kind_of
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.picture import Picture, Shape, reason_of
from sfumato.data.sources.pillow import PillowPicture, open_in_pillow, pixel_limit
from sfumato.data.sources.pixels import arranged, as_pixels, kept_dtype
from sfumato.data.sources.tiff import Tiff, is_pillows, tiff_image

__all__ = ["Picture", "Shape", "opened", "pixels_of", "reason_of", "shape_of"]

PREMATURE = "premature end"
"""What libjpeg-turbo says of a JPEG whose pixels are too few; Pillow would fill the rest with grey."""


def opened(content: Content, options: ReadOptions = DEFAULT_OPTIONS) -> Picture:
    """Opens an image, looking no further than its header where the format allows it.

    Args:
        content: Of a file, or an array.
        options: What its channels and pages are, where the file does not say it.

    Raises:
        BadImageError: There is none, or one that is too large, or it has pages that may be images or channels.
    """
    if isinstance(content, np.ndarray):
        return _Array(content, options)
    try:
        return _picture(content, options)
    except Exception as error:  # decoders meet broken data with whatever their code runs into
        raise BadImageError(kind_of(content) or reason_of(error)) from error


def shape_of(content: Content, options: ReadOptions = DEFAULT_OPTIONS) -> Shape:
    """The shape of an image, from its header alone; see `opened`."""
    return opened(content, options).shape


def pixels_of(content: Content, frame: Frame | None = None, options: ReadOptions = DEFAULT_OPTIONS) -> np.ndarray:
    """The pixels of an image; see `opened` and `Picture.pixels`."""
    return opened(content, options).pixels(frame)


def _picture(content: bytes, options: ReadOptions) -> Picture:
    """The picture by the reader of its format; Pillow's is the last."""
    if content.startswith(jpeg.MAGIC):
        return _jpeg(content, options)
    if is_jxl(content):
        return JpegXl(content, options)
    if is_heif(content):
        return Heif(content, options)
    image = tiff_image(content, options)
    if image is None:
        return _by_pillow(content, options)
    if not is_pillows(image):
        return Tiff(image, options, len(content))
    picture = _by_pillow(image.alone(content) if image.page.index else content, options)
    picture.shape = replace(picture.shape, frames=image.frames)
    picture.nodata = image.nodata
    return picture


def _jpeg(content: bytes, options: ReadOptions) -> Picture:
    header = jpeg.frame_header(content)
    if header is not None and header.bits > 8:
        return jpeg.DeepJpeg(content, header)
    if jpeg.is_plain(content):
        try:
            return _Jpeg(content)
        except ValueError:  # where libjpeg-turbo warns, Pillow goes on
            pass
    return _by_pillow(content, options)


def _by_pillow(content: bytes, options: ReadOptions) -> Picture:
    with pixel_limit(content):
        image = open_in_pillow(content)
        decoder = deep_decoder(image, content)
        if decoder is not None:
            return DeepPicture(content, image, decoder, options)
        return PillowPicture(content, image, options)


class _Jpeg(PlainJpeg):
    """A plain JPEG, which Pillow decodes where libjpeg-turbo warns of anything but too few pixels."""

    def _decoded(self, frame: Frame | None) -> np.ndarray:
        try:
            return super()._decoded(frame)
        except ValueError as error:
            if PREMATURE in str(error).lower():
                raise BadImageError("it is only a part of an image") from error
            return _by_pillow(self.content, DEFAULT_OPTIONS).pixels(frame)


class _Array(Picture):
    """Pixels that need no decoding."""

    def __init__(self, array: np.ndarray, options: ReadOptions) -> None:
        self._array = arranged(array)
        height, width, channels = self._array.shape
        opacity = channels == RGBA and options.channels == "rgba"
        self.shape = Shape(width, height, channels, kept_dtype(array.dtype), opacity)

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        return as_pixels(self._array)
