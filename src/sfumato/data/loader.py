"""Batches for training, on the device before they are asked for."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import psutil
import torch

from sfumato.data.dataset import ImageSet
from sfumato.data.epochs import batch_indices

LARGEST_SHARE = 0.25
"""Of the free memory, that a resident data set may take; the rest is the network's."""

PIECE = 4096
"""Images moved to the device at a time."""


class Batch(NamedTuple):
    """Images to train on.

    Attributes:
        images: float32 in [-1, 1], (n, C, H, W), on the device.
        labels: (n,) or (n, k), on the device; None when the images are unlabelled.
    """

    images: torch.Tensor
    labels: torch.Tensor | None


class Loader(ABC):
    """The endless stream of shuffled epochs, a batch at a time. A batch depends on the seed and its place alone.

    Args:
        images: The images to learn.
        seed: Of the order.
        device: Where batches are wanted.

    Attributes:
        seconds: Spent waiting for batches.
    """

    def __init__(self, images: ImageSet, seed: int, device: torch.device) -> None:
        self.images = images
        self.seed = seed
        self.device = device
        self.seconds = 0.0

    def batch(self, start: int, count: int) -> Batch:
        """The images at the positions from `start` on."""
        begun = time.perf_counter()
        batch = self._batch(start, count)
        self.seconds += time.perf_counter() - begun
        return batch

    @abstractmethod
    def _batch(self, start: int, count: int) -> Batch:
        """The batch."""

    def _order(self, start: int, count: int) -> torch.Tensor:
        return batch_indices(len(self.images), self.seed, start, count)


class HostLoader(Loader):
    """All of the images are in memory, and the device is the processor: a batch is one gather, by NumPy (faster)."""

    def __init__(self, images: ImageSet, seed: int, device: torch.device) -> None:
        super().__init__(images, seed, device)
        self._pixels = images.images.numpy()

    def _batch(self, start: int, count: int) -> Batch:
        indices = self._order(start, count)
        labels = None if self.images.labels is None else self.images.labels[indices]
        floats = self.images.depth.to_float_array(self._pixels[indices.numpy()])
        return Batch(torch.from_numpy(floats), labels)


class DeviceLoader(Loader):
    """All of the images are in the device's memory, and a batch is one gather there."""

    def __init__(self, images: ImageSet, seed: int, device: torch.device) -> None:
        super().__init__(images, seed, device)
        self._labels = None if images.labels is None else images.labels.to(device)
        self._pixels = _on_device(images, device)

    def _batch(self, start: int, count: int) -> Batch:
        indices = self._order(start, count).to(self.device, non_blocking=True)
        labels = None if self._labels is None else self._labels[indices]
        return Batch(self.images.depth.to_float(_unsigned(self._pixels[indices])), labels)


class StreamingLoader(Loader):
    """Images come from the store while the device computes: the next batch is read in the background."""

    def __init__(self, images: ImageSet, seed: int, device: torch.device) -> None:
        super().__init__(images, seed, device)
        self._reader = ThreadPoolExecutor(1, "sfumato-feed")
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
    """A feed of images in memory if they take at most a quarter of what is free there, else of streamed ones."""
    size = len(images) * images.pixels.bytes_an_image
    if size > LARGEST_SHARE * free_memory(device):
        return StreamingLoader(images, seed, device)
    return HostLoader(images, seed, device) if device.type == "cpu" else DeviceLoader(images, seed, device)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on the device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return int(psutil.virtual_memory().available)


def _on_device(images: ImageSet, device: torch.device) -> torch.Tensor:
    """The pixels of the set, piece by piece."""
    dtype = _signed(images.select(torch.arange(1)).images).dtype
    pixels = torch.empty((len(images), *images.image_shape), dtype=dtype, device=device)
    for rows in torch.arange(len(images)).split(PIECE):
        pixels[rows[0] : rows[-1] + 1] = _signed(images.select(rows).images)
    return pixels


def _signed(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels as they travel: 16 bits as signed ones, for not every device knows the others."""
    return pixels.view(torch.int16) if pixels.dtype == torch.uint16 else pixels


def _unsigned(pixels: torch.Tensor) -> torch.Tensor:
    """The numbers that pixels stood for before they travelled."""
    return pixels.to(torch.int32) & 0xFFFF if pixels.dtype == torch.int16 else pixels
