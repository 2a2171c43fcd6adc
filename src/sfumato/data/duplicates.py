"""Search for duplicates: images with equal pixels, and near-duplicates (other encoding, size or brightness)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.data.perceptual_hashes import near_pairs, perceptual_hashes, thumbnails

MOST_BITS = 10
"""Largest number of different bits, of 64, between the hashes of near-duplicates; their pixels are compared next."""

MOST_DIFFERENCE = 0.05
"""Largest root mean square difference between the thumbnails of near-duplicates, for values in [0, 1]."""

CLEAREST = 0.3
"""Largest difference as a fraction of the contrast of the thumbnails; it separates images with little contrast."""

HASHED = 1024
"""Images that are hashed at a time."""

COMPARED = 256
"""Pairs of thumbnails that are compared at a time."""

Groups = list[list[int]]
"""Groups of indices of duplicates, the largest groups first."""


def exact_duplicates(images: ImageSet) -> Groups:
    """Groups of images with equal pixels."""
    _, labels = np.unique(images.digests[images.rows], axis=0, return_inverse=True)
    return _largest_first(labels.ravel())


def near_duplicates(images: ImageSet, on_images: Callable[[int], None] = lambda _: None) -> Groups:
    """Groups of near-duplicates, including images with equal pixels.

    Two images are near-duplicates if their perceptual hashes (signs of the lowest DCT frequencies) differ in few bits
    and the difference of their thumbnails is small. The search is exhaustive. Thumbnails are computed again for each
    comparison, so that only the hashes are kept in memory.

    Args:
        images: images of any size.
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
    """Index of the representative of each image's group, int64, (N,); the hashes, (N,), must be sorted."""
    values, starts, counts = np.unique(hashes, return_index=True, return_counts=True)
    groups = _Groups(images)

    def places_of(some: np.ndarray) -> np.ndarray:
        """Indices of the images with these hashes."""
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
    """Union-find structure for groups of near-duplicates.

    Args:
        images: in any order; initially each image is its own group.
    """

    def __init__(self, images: ImageSet) -> None:
        self._images = images
        self._parents = np.arange(len(images))

    def roots(self, places: np.ndarray) -> np.ndarray:
        """Indices of the representatives of the groups."""
        found: np.ndarray = self._parents[places]
        while (self._parents[found] != found).any():
            found = self._parents[found]
        self._parents[places] = found
        return found

    def join_pairs(self, one: np.ndarray, other: np.ndarray) -> None:
        """Joins the groups of the two images of each pair, (n,) and (n,), if they are near-duplicates."""
        for start in range(0, len(one), COMPARED):
            pairs = np.stack([one[start : start + COMPARED], other[start : start + COMPARED]])
            pairs = pairs[:, self.roots(pairs[0]) != self.roots(pairs[1])]
            if not pairs.size:
                continue
            for pair in pairs[:, _nearly_equal(self._thumbnails(pairs[0]), self._thumbnails(pairs[1]))].T:
                first, second = self.roots(pair)
                self._parents[first] = second

    def join_all(self, places: np.ndarray) -> None:
        """Joins the groups of all near-duplicates among these images."""
        for index, place in enumerate(places.tolist()):
            roots = self.roots(places)
            if (roots == roots[0]).all():
                return
            self.join(place, places[index + 1 :])

    def join(self, place: int, others: np.ndarray) -> None:
        """Joins the group of an image with the groups of its near-duplicates among the others."""
        root = self.roots(np.array([place]))[0]
        others = others[self.roots(others) != root]
        for start in range(0, len(others), COMPARED):
            some = others[start : start + COMPARED]
            equal = some[_nearly_equal(self._thumbnails(np.array([place])), self._thumbnails(some))]
            self._parents[self.roots(equal)] = root

    def _thumbnails(self, places: np.ndarray) -> Tensor:
        return thumbnails(self._images.select(torch.from_numpy(places)))


def _by_first(one: np.ndarray, other: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Groups pairs by their first element."""
    order = np.argsort(one, kind="stable")
    firsts, starts = np.unique(one[order], return_index=True)
    return list(zip(firsts.tolist(), np.split(other[order], starts[1:]), strict=False))


def _nearly_equal(ones: Tensor, others: Tensor) -> np.ndarray:
    """Whether thumbnails (n, 1024) are close to others or to a single one, regardless of brightness; bool, (n,)."""
    ones, others = (each - each.mean(1, keepdim=True) for each in (ones, others))
    difference = (ones - others).square().mean(1).sqrt()
    contrast = torch.minimum(ones.square().mean(1), others.square().mean(1)).sqrt()
    equal: np.ndarray = ((difference <= MOST_DIFFERENCE) & (difference <= CLEAREST * contrast + 1e-6)).numpy()
    return equal


def _largest_first(labels: np.ndarray) -> Groups:
    """Groups of indices that share a label, (N,), of at least two, the largest groups first."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    is_group = sizes > 1
    groups = [
        order[start : start + size].tolist() for start, size in zip(starts[is_group], sizes[is_group], strict=True)
    ]
    return sorted(groups, key=lambda group: (-len(group), group))
