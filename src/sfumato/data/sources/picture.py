"""Base class of opened images, and the reasons of decoding errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from sfumato.data.sources.pixel_arrays import Dtype
from sfumato.data.sources.resizing import Frame
from sfumato.errors import BadImageError

NEEDS_IMAGECODECS = 'decoding it needs the package imagecodecs: pip install "sfumato[imagecodecs]"'


@dataclass(frozen=True)
class ImageInfo:
    """Properties of a decoded image.

    Attributes:
        width: Width in pixels, after the orientation is applied.
        height: Height in pixels, after the orientation is applied.
        channels: 1 for grey, 3 for RGB; arrays and TIFF files may have other numbers.
        dtype: "uint8", "uint16" or "float32".
        opacity: Whether the last of four channels is opacity.
    """

    width: int
    height: int
    channels: int
    dtype: Dtype
    opacity: bool = False


class Picture(ABC):
    """An opened image; its pixels are decoded on request.

    Attributes:
        info: Properties of the decoded image.
        nodata: Value of pixels without data that the file declares; None if it declares none.
    """

    info: ImageInfo
    nodata: float | None = None

    def pixels(self, frame: Frame | None = None) -> np.ndarray:
        """Decodes the image.

        Args:
            frame: Target size; large JPEG files are decoded at a reduced size if it suffices.

        Returns:
            (H, W, C) uint8, uint16 or float32; floats may be NaN or infinite.

        Raises:
            BadImageError: It is truncated, damaged, or too large for the free memory.
        """
        try:
            return self._decoded(frame)
        except Exception as error:
            raise BadImageError(failure_reason(error)) from error

    @abstractmethod
    def _decoded(self, frame: Frame | None) -> np.ndarray:
        """Decodes the image; may raise any exception."""


def failure_reason(error: Exception) -> str:
    """Reason why an image could not be read, as the end of a sentence.

    Decoders raise many types of exceptions for broken files: OSError, SyntaxError, struct.error and others.
    """
    match error:
        case BadImageError():
            return str(error)
        case Image.DecompressionBombError():
            return "it has more pixels than fit in the memory that is free, or than a file of its size can hold"
        case ImportError():
            return NEEDS_IMAGECODECS
        case UnidentifiedImageError():
            return "it is not an image that can be read"
        case OSError(strerror=str(reason)):
            return reason.lower()
        case MemoryError():
            return "it does not fit into memory"
        case OSError() if "truncated" in str(error).lower():
            return "it is truncated"
        case _ if "requires the 'imagecodecs' package" in str(error):  # an error of tifffile
            return NEEDS_IMAGECODECS
        case _:
            return f"it is damaged ({' '.join(str(error).split())[:80] or type(error).__name__})"
