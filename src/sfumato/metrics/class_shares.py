"""Class labels for samples, in the class proportions of a set of images."""

import torch

from sfumato.data import ImageSet

GOLDEN = (5**0.5 - 1) / 2
"""The fractional parts of its multiples are evenly distributed in [0, 1), for any number of multiples."""


def classes_as_in(images: ImageSet, count: int) -> list[str]:
    """Class names for samples, in the class proportions of the images.

    Distances compare whole sets: with equal numbers of rare and frequent classes, even perfect samples would be far
    from the images. The class of sample i does not depend on `count`.

    Args:
        images: Images with or without labels. Unlabelled images are ignored.
        count: Number of samples.

    Returns:
        One class name per sample; empty if the images have no classes.
    """
    if not images.label_names or images.labels is None:
        return []
    known = images.labels[images.labels >= 0].sort().values
    if not len(known):
        return []
    places = (torch.arange(count, dtype=torch.float64) * GOLDEN).frac() * len(known)
    return [images.label_names[index] for index in known[places.long()].tolist()]
