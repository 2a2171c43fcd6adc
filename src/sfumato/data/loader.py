"""Loaders: shuffled batches of training images on the device."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import psutil
import torch

from sfumato.data.dataset import ImageSet

KEPT_SHARE = 0.25
"""Largest fraction of the free memory for a data set that is kept in memory."""

COPIED_IMAGES = 4096
"""Images copied to the device at a time."""


class Batch(NamedTuple):
    """A batch of training images.

    Attributes:
        images: float32 in [-1, 1], (n, C, H, W), on the device.
        labels: (n,) or (n, k), on the device; None if the images have no labels.
    """

    images: torch.Tensor
    labels: torch.Tensor | None


class Loader(ABC):
    """Endless stream of shuffled epochs. A batch depends only on the seed and its position.

    Args:
        images: Training images.
        seed: Seed of the order.
        device: Device of the batches.

    Attributes:
        seconds: Time spent waiting for batches.
    """

    def __init__(self, images: ImageSet, seed: int, device: torch.device) -> None:
        self.images = images
        self.seed = seed
        self.device = device
        self.seconds = 0.0

    def batch(self, start: int, count: int) -> Batch:
        """The batch of `count` images from position `start`."""
        begun = time.perf_counter()
        batch = self._batch(start, count)
        self.seconds += time.perf_counter() - begun
        return batch

    @abstractmethod
    def _batch(self, start: int, count: int) -> Batch:
        """Loads the batch."""

    def _order(self, start: int, count: int) -> torch.Tensor:
        return batch_indices(len(self.images), self.seed, start, count)


class HostLoader(Loader):
    """Keeps all images in memory, for training on the CPU; gathers batches with NumPy, which is faster."""

    def __init__(self, images: ImageSet, seed: int, device: torch.device) -> None:
        super().__init__(images, seed, device)
        self._pixels = images.images.numpy()

    def _batch(self, start: int, count: int) -> Batch:
        indices = self._order(start, count)
        labels = None if self.images.labels is None else self.images.labels[indices]
        floats = self.images.depth.to_float_array(self._pixels[indices.numpy()])
        return Batch(torch.from_numpy(floats), labels)


class DeviceLoader(Loader):
    """Keeps all images in the memory of the device and gathers batches there."""

    def __init__(self, images: ImageSet, seed: int, device: torch.device) -> None:
        super().__init__(images, seed, device)
        self._labels = None if images.labels is None else images.labels.to(device)
        dtype = _signed(images.select(torch.arange(1)).images).dtype
        self._pixels = torch.empty((len(images), *images.image_shape), dtype=dtype, device=device)
        for rows in torch.arange(len(images)).split(COPIED_IMAGES):
            self._pixels[rows[0] : rows[-1] + 1] = _signed(images.select(rows).images)

    def _batch(self, start: int, count: int) -> Batch:
        indices = self._order(start, count).to(self.device, non_blocking=True)
        labels = None if self._labels is None else self._labels[indices]
        return Batch(self.images.depth.to_float(_unsigned(self._pixels[indices])), labels)


class StreamingLoader(Loader):
    """Reads images from disk; prefetches the next batch in the background."""

    def __init__(self, images: ImageSet, seed: int, device: torch.device) -> None:
        super().__init__(images, seed, device)
        self._reader = ThreadPoolExecutor(1, "sfumato-loader")
        self._expected: tuple[int, int] | None = None
        self._next: Future[Batch] | None = None

    def _batch(self, start: int, count: int) -> Batch:
        is_expected = self._next is not None and self._expected == (start, count)
        read = self._next.result() if is_expected and self._next is not None else self._read(start, count)
        self._expected = (start + count, count)
        self._next = self._reader.submit(self._read, *self._expected)
        moved = read.images.to(self.device, non_blocking=True)
        labels = None if read.labels is None else read.labels.to(self.device, non_blocking=True)
        return Batch(self.images.depth.to_float(_unsigned(moved)), labels)

    def _read(self, start: int, count: int) -> Batch:
        chosen = self.images.select(self._order(start, count))
        pixels, labels = _signed(chosen.images), chosen.labels
        if self.device.type == "cuda":
            return Batch(pixels.pin_memory(), None if labels is None else labels.pin_memory())
        return Batch(pixels, labels)


def make_loader(images: ImageSet, seed: int, device: torch.device) -> Loader:
    """A loader that keeps the images in memory if they need at most a quarter of the free memory, else streams them."""
    size = len(images) * images.pixels.bytes_an_image
    if size > KEPT_SHARE * free_memory(device):
        return StreamingLoader(images, seed, device)
    return HostLoader(images, seed, device) if device.type == "cpu" else DeviceLoader(images, seed, device)


def free_memory(device: torch.device) -> int:
    """Free memory of the device in bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return int(psutil.virtual_memory().available)


def _signed(pixels: torch.Tensor) -> torch.Tensor:
    """Reinterprets uint16 as int16, which all devices support."""
    return pixels.view(torch.int16) if pixels.dtype == torch.uint16 else pixels


def _unsigned(pixels: torch.Tensor) -> torch.Tensor:
    """Inverse of `_signed`."""
    return pixels.to(torch.int32) & 0xFFFF if pixels.dtype == torch.int16 else pixels


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Order of the images in one epoch.

    It sorts the raw output of the generator, which is the same in all versions of NumPy.

    Args:
        count: Number of images, from 1.
        seed: 0 to 2**64 - 1.
        epoch: 0 to 2**64 - 1.

    Returns:
        A read-only permutation of 0 .. count - 1; int64, (count,).
    """
    generator = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    order = np.argsort(generator.random_raw(count), kind="stable")
    order.setflags(write=False)
    return order


def batch_indices(count: int, seed: int, start: int, batch: int) -> torch.Tensor:
    """Indices of the images at positions `start` to `start + batch` of the endless stream of epochs.

    A batch may span epochs, so that no image is left out, and may be larger than the data set.

    Args:
        count: Number of images, from 1.
        seed: 0 to 2**64 - 1.
        start: First position, from 0.
        batch: Number of positions, from 1.

    Returns:
        Indices of images; int64, (batch,).
    """
    first, skipped = divmod(start, count)
    last = (start + batch - 1) // count
    stream = np.concatenate([epoch_order(count, seed, epoch) for epoch in range(first, last + 1)])
    return torch.from_numpy(stream[skipped : skipped + batch])
