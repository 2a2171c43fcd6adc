"""A set of images of one shape, with what is known of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch

from sfumato.data.cache.digest import digest_of
from sfumato.data.cache.pixels import ArrayPixels, Pixels
from sfumato.data.cache.values import DEFAULT_RANGES
from sfumato.data.conditions import Column
from sfumato.data.sources import Notice
from sfumato.data.sources.frame import RGBA
from sfumato.errors import ConfigError, DataError
from sfumato.utils.depth import EIGHT_BITS, Depth

MOST_HELD_OUT = 1024


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one shape, in memory or on disk.

    Attributes:
        pixels: Where the images are, perhaps among others.
        rows: Which of `pixels` belong to this set, in its order; int64, (N,).
        depth: How their pixels are written.
        labels: int64, (N,), indices into `label_names`, -1 where an image has none; or float32, (N, K), rows of
            `columns`, NaN where a value is not known; None when the images are unlabelled.
        label_names: The names of the classes.
        columns: The columns of the rows, instead of classes.
        notices: What was decided: what was skipped, converted, not used.
        digests: A hash of each of `pixels`; uint8, (rows, 16).
        others: The images of the other splits of the same source, by "validation" and "test".
    """

    pixels: Pixels
    rows: np.ndarray
    depth: Depth
    labels: torch.Tensor | None
    label_names: tuple[str, ...]
    columns: tuple[Column, ...]
    notices: tuple[Notice, ...]
    digests: np.ndarray
    others: Mapping[str, ImageSet] = field(default_factory=dict)

    @staticmethod
    def of(
        images: torch.Tensor,
        labels: torch.Tensor | None = None,
        label_names: tuple[str, ...] = (),
        columns: tuple[Column, ...] = (),
        depth: Depth = EIGHT_BITS,
    ) -> ImageSet:
        """Images that are in memory.

        Args:
            images: uint8, uint16 or float32, (N, C, H, W).
            labels: int64 (N,), float32 (N, K), or None.
            label_names: The names of the classes.
            columns: The columns of the rows, instead of classes.
            depth: How the pixels are written.
        """
        array = np.ascontiguousarray(images.numpy())
        digests = np.stack([digest_of(image) for image in array])
        return ImageSet(ArrayPixels(array), np.arange(len(array)), depth, labels, label_names, columns, (), digests)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @property
    def images(self) -> torch.Tensor:
        """All of the images, read into memory: uint8, uint16 or float32, (N, C, H, W)."""
        return torch.from_numpy(self.pixels.take(self.rows))

    def floats(self) -> torch.Tensor:
        """All of the images, read into memory: float32 in [-1, 1], (N, C, H, W)."""
        return self.depth.to_float(self.images)

    def viewable(self) -> torch.Tensor:
        """The images as a person can see them: as `floats`, of four channels without opacity the first three."""
        return self.depth.viewable(self.floats())

    def select(self, indices: torch.Tensor) -> ImageSet:
        """The images at `indices` (int64, (M,)), in that order, with their labels; nothing is read."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, rows=self.rows[indices.numpy()], labels=labels, others={})

    def fingerprint(self) -> str:
        """A SHA-256 of shape, depth, names, columns, pixels and labels: 64 hexadecimal digits, the same everywhere.

        Images for validation are part of it. It is taken from the images' digests, so that no pixel is read.
        """
        columns = [asdict(column) for column in self.columns]
        header: list[object] = [len(self), *self.image_shape, self.depth.dtype, self.label_names, columns]
        header.append(self.labels is not None)
        is_plain = self.image_shape[0] == RGBA and not self.depth.opacity
        if self.depth.range not in DEFAULT_RANGES[self.depth.dtype] or is_plain:
            header.append(asdict(self.depth))
        if "validation" in self.others:
            header.append(self.others["validation"].fingerprint())
        digest = hashlib.sha256(json.dumps(header).encode())
        digest.update(np.ascontiguousarray(self.digests[self.rows]).data)
        if self.labels is not None:
            digest.update(self.labels.numpy().astype("<f4" if self.columns else "<i8").data)
        return digest.hexdigest()


def first(images: ImageSet, count: int) -> ImageSet:
    """The first images, or all if there are fewer."""
    return images.select(torch.arange(min(count, len(images))))


def split(images: ImageSet, holdout: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Divide images into those to train on and those held out, which are those for validation where there are any.

    Others are divided at random, whatever their labels.

    Args:
        images: At least 2.
        holdout: The fraction to hold out, between 0 and 1. The count is rounded, but at least 1 image and at most 1024
            are held out, and at least 1 is left for training.
        seed: From 0; the same seed divides the same images the same way.

    Returns:
        The images to train on, and those held out.

    Raises:
        ConfigError: `holdout` is no fraction.
        DataError: There are fewer than 2 images.
    """
    if not 0 < holdout < 1:
        raise ConfigError(
            f"The fraction to hold out is {holdout}, but must lie between 0 and 1", "Choose one such as 0.1."
        )
    if "validation" in images.others:
        return replace(images, others={}), images.others["validation"]
    count = len(images)
    if count < 2:
        raise DataError(f"{count} image(s) cannot be divided into two sets", "Give at least 2 images.")
    held_out = min(max(round(holdout * count), 1), MOST_HELD_OUT, count - 1)
    order = torch.from_numpy(np.random.Generator(np.random.Philox(seed)).permutation(count))
    return images.select(order[held_out:]), images.select(order[:held_out])
