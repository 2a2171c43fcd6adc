"""What is judged: samples, the images they should resemble, and those they have never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from sfumato.data import ImageSet, split
from sfumato.data.sources import Notice
from sfumato.errors import DataError
from sfumato.evaluation.ranges import read_as
from sfumato.training.config import DataConfig

HELD_OUT = DataConfig.validation_share
"""Of images whose model is not known, the share that is held out: as many as a run holds out, so that both agree."""

MOST_NAMED = 5
"""Classes that a notice names."""


@dataclass(frozen=True)
class Subject:
    """Samples beside real images.

    Attributes:
        name: Of what is judged.
        samples: Made by a model.
        train: Real images, which it may have learned from.
        held_out: Real images that it has not, as the yardstick.
        notices: Sentences a person should read: what was skipped or converted.
    """

    name: str
    samples: ImageSet
    train: ImageSet
    held_out: ImageSet
    notices: tuple[str, ...] = ()


def reference(
    data: ImageSet, validation_share: float = HELD_OUT, seed: int = 0
) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """Real images that a model may have learned from, those to compare with, and sentences on which these are.

    Test images are compared with where there are any, else images for validation, else images held out at random.

    Args:
        data: As `read_images` gives it.
        validation_share: The share that is held out if there are neither test nor validation images.
        seed: Of the division.
    """
    train, held_out = split(data, validation_share, seed)
    if "test" not in data.others:
        return train, held_out, ()
    test = data.others["test"]
    return train, test, (f"The held-out real images are the {len(test):,} of the test split.",)


def subject_of_images(name: str, samples: ImageSet, data: ImageSet, notices: tuple[str, ...]) -> Subject:
    """Images that anyone's model made, beside real images, in whose range of values they are read.

    Raises:
        DataError: They differ from the data in size or channels.
    """
    if samples.image_shape != data.image_shape:
        one, other = (_spoken(images) for images in (samples, data))
        raise DataError(
            f"{name} has images of {one}, and the data of {other}",
            "Bring both to one size with --size, and to the same channels.",
        )
    samples, in_range = read_as(data.depth, samples, name)
    train, held_out, splits = reference(data)
    unknown = _unknown_classes(name, samples, data)
    every = (*_without_range(samples.notices), *in_range, *notices, *splits, *unknown)
    return Subject(name, with_classes_of(data, samples), train, held_out, every)


def _without_range(notices: Sequence[Notice]) -> list[str]:
    """The notices on samples but for that on their own range, which does not count."""
    return [str(notice) for notice in notices if notice.topic != "range"]


def _unknown_classes(name: str, samples: ImageSet, data: ImageSet) -> tuple[str, ...]:
    """A sentence if samples are of classes that the data, which has classes, does not know."""
    unknown = [each for each in samples.label_names if each not in data.label_names]
    if not unknown or not data.label_names:
        return ()
    named = ", ".join(unknown[:MOST_NAMED]) + (" ..." if len(unknown) > MOST_NAMED else "")
    return (
        f"The data knows no {named}, which are classes of {name}: so coverage is not told by class, and a classifier's "
        "classes are taken in their order. Name them as the data does (label_names in the .npz, or folders).",
    )


def with_classes_of(data: ImageSet, samples: ImageSet) -> ImageSet:
    """The samples, their classes numbered as those of the data; as they are, if it does not know all their names."""
    names = samples.label_names
    if samples.labels is None or not names or not set(names) <= set(data.label_names):
        return samples
    places = torch.tensor([data.label_names.index(name) for name in names])
    labels = torch.where(samples.labels < 0, samples.labels, places[samples.labels.clamp(min=0)])
    return replace(samples, labels=labels, label_names=data.label_names)


def some_of(total: int, count: int) -> Int64[Tensor, " some"]:
    """The places of `count` images that stand for all, or of all if there are fewer; always the same, in their order.

    Files are often sorted by class, so the first of them stand for nothing.
    """
    order = np.random.Generator(np.random.Philox(0)).permutation(total)
    return torch.from_numpy(order[:count]).sort().values


def _spoken(images: ImageSet) -> str:
    channels, height, width = images.image_shape
    return f"{width}x{height} pixels and {channels} channels"
