"""Pixel formats of files (8 bits, 16 bits, floats) and their conversion to floats in [-1, 1]."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import ConfigError

Dtype = Literal["uint8", "uint16", "float32"]


@dataclass(frozen=True)
class Depth:
    """Pixel format: dtype and range.

    Attributes:
        dtype: Dtype of the pixels.
        low: Pixel value that corresponds to -1. Smaller values are clipped.
        high: Pixel value that corresponds to 1. Larger values are clipped.
        opacity: Whether the last of four channels is opacity.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    dtype: Dtype = "uint8"
    low: float = 0.0
    high: float = 255.0
    opacity: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"the pixel range from {self.low} to {self.high} is empty", "Choose low < high.")

    @property
    def range(self) -> tuple[float, float]:
        """Pixel values that correspond to -1 and 1."""
        return self.low, self.high

    @property
    def is_whole(self) -> bool:
        """Whether the range is the full range of the dtype; for floats, 0 to 1."""
        white = 1 if self.dtype == "float32" else np.iinfo(self.dtype).max
        return self.range == (0, white)

    def viewable(self, images: Tensor) -> Tensor:
        """Images (..., C, H, W) for display: of four channels without opacity the first three."""
        return images[..., :3, :, :] if images.shape[-3] == 4 and not self.opacity else images

    @property
    def _middle(self) -> float:
        return (self.low + self.high) / 2

    @property
    def _half(self) -> float:
        return (self.high - self.low) / 2

    def to_float(self, pixels: Tensor) -> Tensor:
        """Converts pixels of any shape to float32 in [-1, 1].

        >>> EIGHT_BITS.to_float(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([-1.,  1.])
        """
        floats = pixels.to(torch.float32, copy=True).sub_(self._middle).div_(self._half)
        return floats if self.is_whole else floats.clamp_(-1, 1)

    def to_float_array(self, pixels: np.ndarray) -> np.ndarray:
        """The same as `to_float` with NumPy, which uses a single thread: faster for batches on a CPU."""
        floats: np.ndarray = np.subtract(pixels, np.float32(self._middle), dtype=np.float32)
        floats /= np.float32(self._half)
        return floats if self.is_whole else np.clip(floats, -1, 1, out=floats)

    def to_pixels(self, images: Tensor) -> Tensor:
        """Converts floats of any shape, clamped to [-1, 1], to the nearest pixels.

        >>> SIXTEEN_BITS.to_pixels(torch.tensor([-7.0, 1.0]))
        tensor([    0, 65535], dtype=torch.uint16)
        """
        scaled = images.clamp(-1, 1).double() * self._half + self._middle
        dtype: torch.dtype = getattr(torch, self.dtype)
        return scaled.to(dtype) if dtype.is_floating_point else scaled.round().to(dtype)


EIGHT_BITS = Depth()
SIXTEEN_BITS = Depth("uint16", 0.0, 65535.0)
