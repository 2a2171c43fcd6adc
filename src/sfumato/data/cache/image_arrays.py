"""Arrays of images in memory or in a memory-mapped file."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

import numpy as np

DIGEST_BYTES = 16


class Pixels:
    """Images of one shape in memory.

    Args:
        array: (N, C, H, W), uint8, uint16 or float32.

    Attributes:
        shape: (N, C, H, W).
        dtype: Dtype of the pixels.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        count, channels, height, width = array.shape
        self.shape = (count, channels, height, width)
        self.dtype = array.dtype

    @property
    def bytes_an_image(self) -> int:
        """Size of one image in bytes."""
        return int(np.prod(self.shape[1:])) * self.dtype.itemsize

    def take(self, rows: np.ndarray) -> np.ndarray:
        """A copy of the images at `rows` (int64, (M,)), (M, C, H, W)."""
        taken: np.ndarray = self._array[rows]
        return taken


class MappedPixels(Pixels):
    """Images in a memory-mapped file. Pages are released after each read, so that memory use stays constant.

    Args:
        path: The file, which holds at least N images one after another.
        shape: (N, C, H, W).
        dtype: Dtype of the pixels.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int], dtype: str) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        super().__init__(np.frombuffer(self._map, dtype, int(np.prod(shape))).reshape(shape))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """A copy of the images at `rows`."""
        taken = super().take(rows)
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
        return taken


def digest_of(image: np.ndarray) -> np.ndarray:
    """Hash of the pixels of one image; uint8, (16,)."""
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=DIGEST_BYTES)
    return np.frombuffer(digest.digest(), np.uint8)
