"""Which images of a set are the same picture: pixel by pixel, or nearly so (another encoding, size or brightness)."""

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.data import ImageSet

HASH_SIDE = 8
"""A perceptual hash has this many bits squared."""

THUMB = 32
"""The side that images are compared at."""

MOST_BITS = 10
"""Of 64, that may differ between the hashes of nearly equal images; they are compared by their pixels then."""

MOST_DIFFERENCE = 0.05
"""Root mean square difference of nearly equal thumbnails, in a range of 1."""

CLEAREST = 0.3
"""The same, as a share of the contrast of the thumbnails: flat images are not all alike."""

PIECE = 1024

MOST_COMPARED = 1 << 22
"""Pairs of hashes in memory at a time."""

Groups = list[list[int]]
"""Places in a set, those of the same picture together, the largest groups first."""


def same_pixels(images: ImageSet) -> Groups:
    """Groups of images whose pixels are equal."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for place, row in enumerate(images.rows):
        groups[images.digests[row].tobytes()].append(place)
    return _largest_first(groups.values())


def nearly_same(images: ImageSet, on_images: Callable[[int], None] = lambda _: None) -> Groups:
    """Groups of images that look the same, equal ones included.

    Two images belong together if their perceptual hashes (the signs of the lowest frequencies of a cosine transform)
    differ in few bits, and their thumbnails little. Every pair is looked at.

    Args:
        images: of any size.
        on_images: told how many more images have been compared with all others.
    """
    thumbs = thumbnails(images)
    hashes = perceptual_hashes(thumbs)
    groups = np.arange(len(hashes))
    length = max(1, MOST_COMPARED // len(hashes))
    for start in range(0, len(hashes), length):
        part = hashes[start : start + length]
        is_near = np.bitwise_count(part[:, None] ^ hashes[None]) <= MOST_BITS
        for place, row in enumerate(is_near, start):
            _join(groups, thumbs, place, np.flatnonzero(row))
        on_images(len(part))
    return _places(groups)


def _join(groups: np.ndarray, thumbs: Tensor, place: int, near: np.ndarray) -> None:
    """Puts those of the images `near` that look like the one at `place` into its group, if they are in another."""
    later = near[(near > place) & (groups[near] != groups[place])]
    for some in torch.from_numpy(later).split(PIECE):
        alike = some[_look_alike(thumbs[place], thumbs[some])].numpy()
        groups[np.isin(groups, groups[alike])] = groups[place]


def _places(groups: np.ndarray) -> Groups:
    places: dict[int, list[int]] = defaultdict(list)
    for place, group in enumerate(groups.tolist()):
        places[group].append(place)
    return _largest_first(places.values())


def thumbnails(images: ImageSet) -> Tensor:
    """The images in grey, at 32x32 pixels: float32 in [0, 1], (N, 1024)."""
    parts = []
    for places in torch.arange(len(images)).split(PIECE):
        grey = images.select(places).floats()[:, :3].mean(1, keepdim=True)
        parts.append(F.interpolate(grey, (THUMB, THUMB), mode="bilinear", antialias=True, align_corners=False))
    return (torch.cat(parts).flatten(1) + 1) / 2


def perceptual_hashes(thumbs: Tensor) -> np.ndarray:
    """64 bits for each thumbnail (N, 1024): which of its lowest frequencies are above their median; uint64, (N,)."""
    basis = _cosines()
    frequencies = torch.einsum("ui,nij,vj->nuv", basis, thumbs.reshape(-1, THUMB, THUMB), basis).flatten(1)
    bits = frequencies > frequencies[:, 1:].median(dim=1, keepdim=True).values
    packed: np.ndarray = np.packbits(bits.numpy(), axis=1).view(">u8")[:, 0].astype(np.uint64)
    return packed


def _cosines() -> Tensor:
    """The first rows of the discrete cosine transform (DCT-II), (8, 32)."""
    frequency, place = torch.arange(HASH_SIDE)[:, None], torch.arange(THUMB)[None]
    return torch.cos(torch.pi * frequency * (2 * place + 1) / (2 * THUMB))


def _look_alike(thumb: Tensor, others: Tensor) -> Tensor:
    """Whether each of the other thumbnails (n, 1024) differs little from one (1024,), brightness apart; bool, (n,)."""
    one, others = thumb - thumb.mean(), others - others.mean(1, keepdim=True)
    difference = (one - others).square().mean(1).sqrt()
    contrast = torch.minimum(one.square().mean(), others.square().mean(1)).sqrt()
    return (difference <= MOST_DIFFERENCE) & (difference <= CLEAREST * contrast + 1e-6)


def _largest_first(groups: Iterable[list[int]]) -> Groups:
    return sorted((group for group in groups if len(group) > 1), key=lambda group: (-len(group), group))
