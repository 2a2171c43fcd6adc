"""Image decoder: from the content of a file to upright pixels in sRGB with their original bit depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sfumato.data.sources import jpeg
from sfumato.data.sources.entry import BadImageError, Content
from sfumato.data.sources.heif import Heif, is_heif
from sfumato.data.sources.high_bit_depth import DeepPicture, deep_decoder
from sfumato.data.sources.jpeg import PlainJpeg
from sfumato.data.sources.jxl import JpegXl, is_jxl
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.picture import ImageInfo, Picture, failure_reason
from sfumato.data.sources.pillow import PillowPicture, open_in_pillow, pixel_limit
from sfumato.data.sources.pixel_arrays import as_pixels, channels_last, kept_dtype
from sfumato.data.sources.resizing import RGBA, Frame
from sfumato.data.sources.tiff import Tiff, is_pillow_sufficient, tiff_image
from sfumato.data.sources.unsupported import unsupported_reason

__all__ = ["ImageInfo", "Picture", "decode_pixels", "failure_reason", "open_image", "read_info"]

PREMATURE = "premature end"
"""Message of libjpeg-turbo for a truncated JPEG; Pillow would fill the missing pixels with grey."""


def open_image(content: Content, options: ReadOptions = DEFAULT_OPTIONS) -> Picture:
    """Opens an image; reads only its header if the format allows it.

    Args:
        content: Content of a file, or an array.
        options: Interpretation of channels and pages without metadata.

    Raises:
        BadImageError: It is not an image, it is too large, or its pages can be images or channels.
    """
    if isinstance(content, np.ndarray):
        return _Array(content, options)
    try:
        return _picture(content, options)
    except Exception as error:  # broken files raise many types of exceptions
        raise BadImageError(unsupported_reason(content) or failure_reason(error)) from error


def read_info(content: Content, options: ReadOptions = DEFAULT_OPTIONS) -> ImageInfo:
    """Properties of an image from its header; see `open_image`."""
    return open_image(content, options).info


def decode_pixels(content: Content, frame: Frame | None = None, options: ReadOptions = DEFAULT_OPTIONS) -> np.ndarray:
    """Decodes an image; see `open_image` and `Picture.pixels`."""
    return open_image(content, options).pixels(frame)


def _picture(content: bytes, options: ReadOptions) -> Picture:
    """Opens an image with the reader of its format, or else with Pillow."""
    if content.startswith(jpeg.MAGIC):
        return _jpeg(content, options)
    if is_jxl(content):
        return JpegXl(content, options)
    if is_heif(content):
        return Heif(content, options)
    image = tiff_image(content, options)
    if image is None:
        return _by_pillow(content, options)
    if not is_pillow_sufficient(image):
        return Tiff(image, options, len(content))
    picture = _by_pillow(image.extracted(content) if image.page.index else content, options)
    picture.info = replace(picture.info, frames=image.frames)
    picture.nodata = image.nodata
    return picture


def _jpeg(content: bytes, options: ReadOptions) -> Picture:
    header = jpeg.frame_header(content)
    if header is not None and header.bits > 8:
        return jpeg.DeepJpeg(content, header)
    if jpeg.is_plain(content):
        try:
            return _Jpeg(content)
        except ValueError:  # libjpeg-turbo warns; Pillow continues
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
    """A plain JPEG; falls back to Pillow if libjpeg-turbo warns, unless the file is truncated."""

    def _decoded(self, frame: Frame | None) -> np.ndarray:
        try:
            return super()._decoded(frame)
        except ValueError as error:
            if PREMATURE in str(error).lower():
                raise BadImageError("it is truncated") from error
            return _by_pillow(self.content, DEFAULT_OPTIONS).pixels(frame)


class _Array(Picture):
    """An array of pixels."""

    def __init__(self, array: np.ndarray, options: ReadOptions) -> None:
        self._array = channels_last(array)
        height, width, channels = self._array.shape
        opacity = channels == RGBA and options.channels == "rgba"
        self.info = ImageInfo(width, height, channels, kept_dtype(array.dtype), opacity)

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        return as_pixels(self._array)
