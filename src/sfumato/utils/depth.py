"""How pixels are written: as 8 or 16 bits or as floats in files, and as numbers in [-1, 1] everywhere else."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import ConfigError

Dtype = Literal["uint8", "uint16", "float32"]


@dataclass(frozen=True)
class Depth:
    """The numbers that pixels are written in.

    Attributes:
        dtype: of the numbers.
        low: the one that -1 stands for. Pixels below it are clipped.
        high: the one that 1 stands for. Pixels above it are clipped.
        opacity: whether the last of four channels is opacity.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    dtype: Dtype = "uint8"
    low: float = 0.0
    high: float = 255.0
    opacity: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"pixels from {self.low} to {self.high} have no range", "Choose low < high.")

    @property
    def range(self) -> tuple[float, float]:
        """The numbers that -1 and 1 stand for."""
        return self.low, self.high

    @property
    def is_whole(self) -> bool:
        """Whether black and white are the least and the greatest integer of the dtype, or 0 and 1 of floats."""
        white = 1 if self.dtype == "float32" else np.iinfo(self.dtype).max
        return self.range == (0, white)

    def viewable(self, images: Tensor) -> Tensor:
        """Images (..., C, H, W) as a person can see them: of four channels without opacity the first three."""
        return images[..., :3, :, :] if images.shape[-3] == 4 and not self.opacity else images

    @property
    def _middle(self) -> float:
        return (self.low + self.high) / 2

    @property
    def _half(self) -> float:
        return (self.high - self.low) / 2

    def to_float(self, pixels: Tensor) -> Tensor:
        """Pixels of any shape as float32 in [-1, 1].

        >>> EIGHT_BITS.to_float(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([-1.,  1.])
        """
        floats = pixels.to(torch.float32, copy=True).sub_(self._middle).div_(self._half)
        return floats if self.is_whole else floats.clamp_(-1, 1)

    def to_float_array(self, pixels: np.ndarray) -> np.ndarray:
        """The same as `to_float`, by NumPy, whose one thread waits for no other: for batches on a processor."""
        floats: np.ndarray = np.subtract(pixels, np.float32(self._middle), dtype=np.float32)
        floats /= np.float32(self._half)
        return floats if self.is_whole else np.clip(floats, -1, 1, out=floats)

    def to_pixels(self, images: Tensor) -> Tensor:
        """Floats of any shape, clamped to [-1, 1], as the nearest pixels.

        >>> SIXTEEN_BITS.to_pixels(torch.tensor([-7.0, 1.0]))
        tensor([    0, 65535], dtype=torch.uint16)
        """
        scaled = images.clamp(-1, 1).double() * self._half + self._middle
        dtype: torch.dtype = getattr(torch, self.dtype)
        return scaled.to(dtype) if dtype.is_floating_point else scaled.round().to(dtype)


EIGHT_BITS = Depth()
SIXTEEN_BITS = Depth("uint16", 0.0, 65535.0)
