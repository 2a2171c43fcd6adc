"""Which images of a set are the same picture: pixel by pixel, or nearly so (another encoding, size or brightness)."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

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
    pairs = []
    for start in range(0, len(hashes), PIECE):
        part = hashes[start : start + PIECE]
        distance = np.bitwise_count(part[:, None] ^ hashes[None, start:])
        first, second = np.nonzero(distance <= MOST_BITS)
        later = second > first
        pairs.append(np.stack([first[later], second[later]], axis=1) + start)
        on_images(len(part))
    candidates = torch.from_numpy(np.concatenate(pairs))
    alike = [_look_alike(thumbs, some) for some in candidates.split(PIECE)]
    return _joined(candidates[torch.cat(alike)].tolist() if alike else [])


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


def _look_alike(thumbs: Tensor, pairs: Tensor) -> Tensor:
    """Whether each pair (n, 2) of thumbnails differs little, brightness apart; bool, (n,)."""
    one, other = (thumbs[pairs[:, side]] for side in (0, 1))
    one, other = (each - each.mean(1, keepdim=True) for each in (one, other))
    difference = (one - other).square().mean(1).sqrt()
    contrast = torch.minimum(one.square().mean(1), other.square().mean(1)).sqrt()
    return (difference <= MOST_DIFFERENCE) & (difference <= CLEAREST * contrast + 1e-6)


def _joined(pairs: Iterable[Sequence[int]]) -> Groups:
    """Pairs that share an image, as groups."""
    leader: dict[int, int] = {}

    def lead(place: int) -> int:
        while leader.setdefault(place, place) != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    for first, second in pairs:
        leader[lead(second)] = lead(first)
    groups: dict[int, list[int]] = defaultdict(list)
    for place in sorted(leader):
        groups[lead(place)].append(place)
    return _largest_first(groups.values())


def _largest_first(groups: Iterable[list[int]]) -> Groups:
    return sorted((group for group in groups if len(group) > 1), key=lambda group: (-len(group), group))
