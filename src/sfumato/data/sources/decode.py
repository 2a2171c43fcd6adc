"""Image decoder: from the content of a file to upright pixels in sRGB with their original bit depth."""

from __future__ import annotations

import numpy as np
import simplejpeg

from sfumato.data.sources import jpeg
from sfumato.data.sources.entry import Content
from sfumato.data.sources.heif import Heif, is_heif
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.picture import ImageInfo, Picture, failure_reason
from sfumato.data.sources.pillow import DeepPng, PillowPicture, is_deep_png, open_in_pillow, pixel_limit
from sfumato.data.sources.pixel_arrays import as_pixels, channels_last, kept_dtype
from sfumato.data.sources.resizing import GREY, RGB, RGBA, Frame
from sfumato.data.sources.tiff import open_tiff
from sfumato.data.sources.unsupported import unsupported_reason
from sfumato.errors import BadImageError

__all__ = ["ImageInfo", "Picture", "failure_reason", "open_image"]

PREMATURE = "premature end"
"""Message of libjpeg-turbo for a truncated JPEG; Pillow would fill the missing pixels with grey."""


def open_image(content: Content, options: ReadOptions = DEFAULT_OPTIONS) -> Picture:
    """Opens an image; reads only its header if the format allows it.

    Args:
        content: Content of a file, an array, or an opened image.
        options: Interpretation of channels and pages without metadata.

    Raises:
        BadImageError: It is not an image, it is too large, or its pages can be images or channels.
    """
    if isinstance(content, Picture):
        return content
    if isinstance(content, np.ndarray):
        return _Array(content, options)
    try:
        return _picture(content, options)
    except Exception as error:  # broken files raise many types of exceptions
        raise BadImageError(unsupported_reason(content) or failure_reason(error)) from error


def _picture(content: bytes, options: ReadOptions) -> Picture:
    """Opens an image with the reader of its format, or else with Pillow."""
    if content.startswith(jpeg.MAGIC) and jpeg.is_plain(content):
        try:
            return _PlainJpeg(content)
        except ValueError:  # libjpeg-turbo warns; Pillow continues
            return _by_pillow(content, options)
    if is_heif(content):
        return Heif(content, options)
    return open_tiff(content, options) or _by_pillow(content, options)


def _by_pillow(content: bytes, options: ReadOptions) -> Picture:
    with pixel_limit(content):
        image = open_in_pillow(content)
        kind = DeepPng if is_deep_png(image, content) else PillowPicture
        return kind(content, image, options)


class _PlainJpeg(Picture):
    """A JPEG without orientation and colour profile; falls back to Pillow if libjpeg-turbo warns.

    Raises:
        ValueError: libjpeg-turbo warns about the header.
    """

    def __init__(self, content: bytes) -> None:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        self._content = content
        self.info = ImageInfo(width, height, GREY if colours == "Gray" else RGB, "uint8")

    def _decoded(self, frame: Frame | None) -> np.ndarray:
        size = self.info.width, self.info.height
        least = size if frame is None else frame.least(*size)
        jpeg.check_jpeg_memory(self._content, *size, least)
        try:
            return np.asarray(
                simplejpeg.decode_jpeg(
                    self._content,
                    "GRAY" if self.info.channels == GREY else "RGB",
                    min_width=min(size[0], jpeg.FINER * least[0]),
                    min_height=min(size[1], jpeg.FINER * least[1]),
                )
            )
        except ValueError as error:
            if PREMATURE in str(error).lower():
                raise BadImageError("it is truncated") from error
            return _by_pillow(self._content, DEFAULT_OPTIONS).pixels(frame)


class _Array(Picture):
    """An array of pixels."""

    def __init__(self, array: np.ndarray, options: ReadOptions) -> None:
        self._array = channels_last(array)
        height, width, channels = self._array.shape
        opacity = channels == RGBA and options.channels == "rgba"
        self.info = ImageInfo(width, height, channels, kept_dtype(array.dtype), opacity)

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        return as_pixels(self._array)
