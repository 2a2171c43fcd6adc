"""What an image is, as its header says, and the way to its pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.frame import Frame
from sfumato.data.sources.pixels import Dtype


@dataclass(frozen=True)
class Shape:
    """What an image will be when decoded.

    Attributes:
        width: In pixels, upright.
        height: In pixels, upright.
        channels: 1 grey, 3 RGB; any other number for arrays and TIFFs.
        dtype: "uint8", "uint16" or "float32".
        opacity: Whether the last of four channels is opacity.
        frames: Images in the file, of which this is one; of a part of a file, those that the part shows.
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

    def pixels(self, frame: Frame | None = None) -> np.ndarray:
        """Decode it.

        Args:
            frame: What the pixels will be fitted to; lets large JPEGs be decoded at a fraction of their size.

        Returns:
            (H, W, C) uint8, uint16 or float32; floats may be NaN or infinite.

        Raises:
            BadImageError: It is only a part of an image, damaged, or too large for the memory that is free.
        """
        try:
            return self._decoded(frame)
        except Exception as error:
            raise BadImageError(reason_of(error)) from error

    @abstractmethod
    def _decoded(self, frame: Frame | None) -> np.ndarray:
        """The same, raising whatever the decoder does."""


def reason_of(error: Exception) -> str:
    """Why an image could not be read, as the end of a sentence.

    A decoder meets broken data with whatever its code runs into: OSError, SyntaxError, struct.error and more.
    """
    match error:
        case BadImageError():
            return str(error)
        case Image.DecompressionBombError():
            return "it has more pixels than fit in the memory that is free, or than a file of its size can hold"
        case UnidentifiedImageError():
            return "it is not an image that can be read"
        case OSError(strerror=str(reason)):
            return reason.lower()
        case MemoryError():
            return "it does not fit into memory"
        case OSError() if "truncated" in str(error).lower():
            return "it is only a part of an image"
        case _:
            return f"it is damaged ({' '.join(str(error).split())[:80] or type(error).__name__})"
