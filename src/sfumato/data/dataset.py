"""A set of images of one shape with their labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch

from sfumato.data.cache.image_arrays import Pixels, digest_of
from sfumato.data.cache.pixel_statistics import DEFAULT_RANGES
from sfumato.data.conditions import Column
from sfumato.data.sources import Notice
from sfumato.data.sources.resizing import RGBA
from sfumato.errors import ConfigError, DataError
from sfumato.utils.depth import EIGHT_BITS, Depth

MOST_HELD_OUT = 1024


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one shape, in memory or on disk, with their labels.

    Attributes:
        pixels: Storage of the images; it may hold further images.
        rows: Indices into `pixels` of the images of this set, in order; int64, (N,).
        depth: Dtype and value range of the pixels.
        labels: int64, (N,), indices into `label_names`, -1 for images without a label; or float32, (N, K), rows of
            `columns`, NaN for unknown values; None if the images have no labels.
        label_names: Names of the classes.
        columns: Columns of the rows; empty for classes.
        notices: Notices about skipped and converted images and other decisions.
        digests: Hash of each image of `pixels`; uint8, (rows, 16).
        others: Images of the other splits of the source, with the keys "validation" and "test".
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
        """Creates a set from images in memory.

        Args:
            images: uint8, uint16 or float32, (N, C, H, W).
            labels: int64 (N,), float32 (N, K), or None.
            label_names: Names of the classes.
            columns: Columns of the rows; empty for classes.
            depth: Dtype and value range of the pixels.
        """
        array = np.ascontiguousarray(images.numpy())
        digests = np.stack([digest_of(image) for image in array])
        return ImageSet(Pixels(array), np.arange(len(array)), depth, labels, label_names, columns, (), digests)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of each image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @property
    def images(self) -> torch.Tensor:
        """All images, read into memory: uint8, uint16 or float32, (N, C, H, W)."""
        return torch.from_numpy(self.pixels.take(self.rows))

    def floats(self) -> torch.Tensor:
        """All images, read into memory: float32 in [-1, 1], (N, C, H, W)."""
        return self.depth.to_float(self.images)

    def viewable(self) -> torch.Tensor:
        """All images for display: as `floats`, but only the first three of four channels without opacity."""
        return self.depth.viewable(self.floats())

    def select(self, indices: torch.Tensor) -> ImageSet:
        """Selects images by index (int64, (M,)), with their labels; reads no pixels."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, rows=self.rows[indices.numpy()], labels=labels, others={})

    def without_labels(self) -> ImageSet:
        """The same images, without labels and conditions, in all splits."""
        others = {name: images.without_labels() for name, images in self.others.items()}
        return replace(self, labels=None, label_names=(), columns=(), others=others)

    def fingerprint(self) -> str:
        """SHA-256 of shape, depth, names, columns, pixels and labels: 64 hexadecimal digits, the same on every machine.

        It includes the validation images. It uses the digests of the images and reads no pixels.
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
    """The first `count` images, or all if there are fewer."""
    return images.select(torch.arange(min(count, len(images))))


def split(images: ImageSet, holdout: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Splits images into a training set and a validation set.

    Uses the validation images of the source if it has any. Otherwise splits at random, independent of the labels.

    Args:
        images: At least 2 images.
        holdout: Fraction of validation images, between 0 and 1. The count is rounded and limited to 1 to 1024, and at
            least 1 training image remains.
        seed: From 0; the same seed gives the same split.

    Returns:
        The training images and the validation images.

    Raises:
        ConfigError: `holdout` is not between 0 and 1.
        DataError: There are fewer than 2 images.
    """
    if not 0 < holdout < 1:
        raise ConfigError(
            f"The fraction of validation images is {holdout}, but must lie between 0 and 1", "Choose one such as 0.1."
        )
    if "validation" in images.others:
        return replace(images, others={}), images.others["validation"]
    count = len(images)
    if count < 2:
        raise DataError(f"{count} image(s) cannot be split into two sets", "Give at least 2 images.")
    held_out = min(max(round(holdout * count), 1), MOST_HELD_OUT, count - 1)
    order = torch.from_numpy(np.random.Generator(np.random.Philox(seed)).permutation(count))
    return images.select(order[held_out:]), images.select(order[:held_out])
