"""Which images of a set are the same picture: pixel by pixel, or nearly so (another encoding, size or brightness)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.data.hashes import near_pairs
from sfumato.data.thumbnails import perceptual_hashes, thumbnails

MOST_BITS = 10
"""Of 64, that may differ between the hashes of nearly equal images; they are compared by their pixels then."""

MOST_DIFFERENCE = 0.05
"""Root mean square difference of nearly equal thumbnails, in a range of 1."""

CLEAREST = 0.3
"""The same, as a share of the contrast of the thumbnails: flat images are not all alike."""

HASHED = 1024
"""Images hashed at a time."""

PIECE = 256
"""Pairs of thumbnails compared at a time."""

Groups = list[list[int]]
"""Places in a set, those of the same picture together, the largest groups first."""


def same_pixels(images: ImageSet) -> Groups:
    """Groups of images whose pixels are equal."""
    _, labels = np.unique(images.digests[images.rows], axis=0, return_inverse=True)
    return _largest_first(labels.ravel())


def nearly_same(images: ImageSet, on_images: Callable[[int], None] = lambda _: None) -> Groups:
    """Groups of nearly equal images, equal ones included.

    Two images belong together if their perceptual hashes (the signs of the lowest frequencies of a cosine transform)
    differ in few bits, and their thumbnails little. All such pairs are found. Thumbnails are computed again when they
    are compared, so that only hashes stay in memory.

    Args:
        images: of any size.
        on_images: called with the number of images hashed since the last call.
    """
    hashes = np.empty(len(images), np.uint64)
    for places in torch.arange(len(images)).split(HASHED):
        hashes[places.numpy()] = perceptual_hashes(thumbnails(images.select(places)))
        on_images(len(places))
    order = np.argsort(hashes, kind="stable")
    labels = np.empty(len(images), np.int64)
    labels[order] = _joined(images.select(torch.from_numpy(order)), hashes[order])
    return _largest_first(labels)


def _joined(images: ImageSet, hashes: np.ndarray) -> np.ndarray:
    """One place that stands for the group of each image, int64, (N,); the hashes, (N,), are sorted."""
    values, starts, counts = np.unique(hashes, return_index=True, return_counts=True)
    groups = _Groups(images)

    def places_of(some: np.ndarray) -> np.ndarray:
        """The images with these hashes."""
        return np.concatenate([np.arange(starts[value], starts[value] + counts[value]) for value in some])

    for value in np.flatnonzero(counts > 1).tolist():
        groups.join_all(places_of(np.array([value])))
    for one, other in near_pairs(values, MOST_BITS):
        is_single = (counts[one] == 1) & (counts[other] == 1)
        groups.join_pairs(starts[one[is_single]], starts[other[is_single]])
        for value, others in _by_first(one[~is_single], other[~is_single]):
            near = places_of(others)
            for place in places_of(np.array([value])).tolist():
                groups.join(place, near)
    return groups.roots(np.arange(len(images)))


class _Groups:
    """Groups of images, joined as pairs of nearly equal images are found: a union-find structure.

    Args:
        images: in any order; at first each is a group of its own.
    """

    def __init__(self, images: ImageSet) -> None:
        self._images = images
        self._parents = np.arange(len(images))

    def roots(self, places: np.ndarray) -> np.ndarray:
        """One place that stands for the group of each."""
        found: np.ndarray = self._parents[places]
        while (self._parents[found] != found).any():
            found = self._parents[found]
        self._parents[places] = found
        return found

    def join_pairs(self, one: np.ndarray, other: np.ndarray) -> None:
        """Joins the groups of the images of each pair, (n,) and (n,), if they are nearly equal."""
        for start in range(0, len(one), PIECE):
            pairs = np.stack([one[start : start + PIECE], other[start : start + PIECE]])
            pairs = pairs[:, self.roots(pairs[0]) != self.roots(pairs[1])]
            if not pairs.size:
                continue
            for pair in pairs[:, _nearly_equal(self._thumbnails(pairs[0]), self._thumbnails(pairs[1]))].T:
                first, second = self.roots(pair)
                self._parents[first] = second

    def join_all(self, places: np.ndarray) -> None:
        """Joins the groups of all nearly equal images among these."""
        for index, place in enumerate(places.tolist()):
            roots = self.roots(places)
            if (roots == roots[0]).all():
                return
            self.join(place, places[index + 1 :])

    def join(self, place: int, others: np.ndarray) -> None:
        """Joins the group of an image with those of the others that are nearly equal to it."""
        root = self.roots(np.array([place]))[0]
        others = others[self.roots(others) != root]
        for start in range(0, len(others), PIECE):
            some = others[start : start + PIECE]
            equal = some[_nearly_equal(self._thumbnails(np.array([place])), self._thumbnails(some))]
            self._parents[self.roots(equal)] = root

    def _thumbnails(self, places: np.ndarray) -> Tensor:
        return thumbnails(self._images.select(torch.from_numpy(places)))


def _by_first(one: np.ndarray, other: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The second elements of all pairs with the same first element, by that element."""
    order = np.argsort(one, kind="stable")
    firsts, starts = np.unique(one[order], return_index=True)
    return list(zip(firsts.tolist(), np.split(other[order], starts[1:]), strict=False))


def _nearly_equal(ones: Tensor, others: Tensor) -> np.ndarray:
    """Whether thumbnails (n, 1024) differ little from others, or from a single one, brightness apart; bool, (n,)."""
    ones, others = (each - each.mean(1, keepdim=True) for each in (ones, others))
    difference = (ones - others).square().mean(1).sqrt()
    contrast = torch.minimum(ones.square().mean(1), others.square().mean(1)).sqrt()
    equal: np.ndarray = ((difference <= MOST_DIFFERENCE) & (difference <= CLEAREST * contrast + 1e-6)).numpy()
    return equal


def _largest_first(labels: np.ndarray) -> Groups:
    """The places that share a label, (N,), with at least one other, the largest groups first."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    is_group = sizes > 1
    groups = [
        order[start : start + size].tolist() for start, size in zip(starts[is_group], sizes[is_group], strict=True)
    ]
    return sorted(groups, key=lambda group: (-len(group), group))
