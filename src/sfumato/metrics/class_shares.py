"""Which classes samples are asked to be of, so that they have them as often as the images do."""

from __future__ import annotations

import torch

from sfumato.data import ImageSet

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, without their whole parts, fill [0, 1) evenly, however many they are."""


def classes_as_in(images: ImageSet, count: int) -> list[str]:
    """A class for each of `count` samples, in the proportions of the images; that of sample i is the same in any count.

    Distances compare whole sets, so that equally many samples of rare and frequent classes would be far from the images
    however good each sample is.

    Args:
        images: With or without classes; those of no class are left out.
        count: From 0.

    Returns:
        Names; none where there are no classes.
    """
    if not images.label_names or images.labels is None:
        return []
    known = images.labels[images.labels >= 0].sort().values
    if not len(known):
        return []
    places = (torch.arange(count, dtype=torch.float64) * GOLDEN).frac() * len(known)
    return [images.label_names[index] for index in known[places.long()].tolist()]
