"""Images in memory, and the two ways their pixels are written: as bytes and as numbers around zero."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from sfumato.conditions import Column
from sfumato.errors import ConfigError, DataError

MOST_HELD_OUT = 1024


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Decoded images in memory.

    Attributes:
        images: uint8, (N, C, H, W), with 1 (grey), 3 (RGB) or 4 (RGBA) channels.
        labels: int64, (N,), indices into `label_names`, -1 where an image has none; or float32, (N, K), rows of
            `columns`, NaN where a value is not known; None when the images are unlabelled.
        label_names: The names of the classes.
        notices: Sentences a person should read: what was skipped, converted, not used.
        columns: The columns of the rows, instead of classes.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    label_names: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def select(self, indices: torch.Tensor) -> ImageSet:
        """The images at `indices` (int64, (M,)), in that order, with their labels."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, images=self.images[indices], labels=labels)

    def fingerprint(self) -> str:
        """A SHA-256 of shape, names, columns, pixels and labels: 64 hexadecimal digits, the same in every process."""
        labelled = self.labels is not None
        header = json.dumps(
            [list(self.images.shape), list(self.label_names), labelled, *(asdict(column) for column in self.columns)]
        )
        digest = hashlib.sha256(header.encode())
        digest.update(self.images.contiguous().numpy().data)
        if self.labels is not None:
            digest.update(self.labels.numpy().astype("<f4" if self.columns else "<i8").data)
        return digest.hexdigest()


def split(images: ImageSet, holdout: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Divide images at random, whatever their labels, into those to train on and those held out.

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
    count = len(images)
    if count < 2:
        raise DataError(f"{count} image(s) cannot be divided into two sets", "Give at least 2 images.")
    held_out = min(max(round(holdout * count), 1), MOST_HELD_OUT, count - 1)
    order = torch.from_numpy(np.random.Generator(np.random.Philox(seed)).permutation(count))
    return images.select(order[held_out:]), images.select(order[:held_out])


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Turn bytes (uint8, any shape, 0..255) into float32 in [-1, 1].

    >>> to_float(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """
    return images.to(torch.float32) / 127.5 - 1


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Turn floats (any shape, clamped to [-1, 1]) into the nearest bytes (uint8, 0..255).

    >>> to_uint8(torch.tensor([-7.0, 0.003, 1.0]))
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
