"""Perceptual hashes of images, and the search for pairs of similar hashes by multi-index hashing.

If two hashes differ in at most 10 bits, they differ in at most 2 bits in one of their four bands of 16 bits. The search
sorts the hashes by each band and compares only hashes whose bands differ in at most 2 bits (Norouzi, Punjani and Fleet
2012, "Fast search in Hamming space with multi-index hashing").
"""

from collections.abc import Iterator
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.data import ImageSet

THUMBNAIL_SIDE = 32
"""Height and width of a thumbnail."""

HASH_SIDE = 8
"""Square root of the number of bits of a perceptual hash."""

MOST_PIXELS = 1 << 22
"""Pixel values that are read at a time, unless a single image has more."""

HASH_BANDS = 4
BAND_VALUES = 1 << 16

MOST_QUERIES = 4096
"""Hashes that are searched for at a time."""

MOST_CANDIDATES = 1 << 18
"""Pairs that are kept in memory at a time, unless a single hash has more."""


def thumbnails(images: ImageSet) -> Tensor:
    """Grey thumbnails of 32x32 pixels: float32 in [0, 1], (N, 1024), for N of at least 1."""
    size = max(1, MOST_PIXELS // prod(images.image_shape))
    small = []
    for places in torch.arange(len(images)).split(size):
        grey = images.select(places).floats()[:, :3].mean(1, keepdim=True)
        small.append(
            F.interpolate(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), mode="bilinear", antialias=True, align_corners=False)
        )
    return (torch.cat(small).flatten(1) + 1) / 2


def perceptual_hashes(thumbs: Tensor) -> np.ndarray:
    """Hash of each thumbnail (N, 1024): 1 for low frequencies above their median, else 0; uint64, (N,)."""
    frequency, place = torch.arange(HASH_SIDE)[:, None], torch.arange(THUMBNAIL_SIDE)[None]
    basis = torch.cos(torch.pi * frequency * (2 * place + 1) / (2 * THUMBNAIL_SIDE))  # of the DCT-II
    frequencies = torch.einsum(
        "ui,nij,vj->nuv", basis, thumbs.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE), basis
    ).flatten(1)
    bits = frequencies > frequencies[:, 1:].median(dim=1, keepdim=True).values
    packed: np.ndarray = np.packbits(bits.numpy(), axis=1).view(">u8")[:, 0].astype(np.uint64)
    return packed


def near_pairs(hashes: np.ndarray, most_bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of hashes that differ in at most `most_bits` bits, each once, in parts.

    Args:
        hashes: uint64, (N,).
        most_bits: from 0 to 63.

    Yields:
        Indices of the first and the second hashes of the pairs, int64, (n,) each.
    """
    values = np.arange(BAND_VALUES, dtype=np.uint16)
    masks = values[np.bitwise_count(values) <= most_bits // HASH_BANDS]
    bands = hashes.view(np.uint16).reshape(-1, HASH_BANDS)
    for band in range(HASH_BANDS):
        keys = bands[:, band]
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(BAND_VALUES + 1))
        for queries in _parts(order, keys, starts, masks):
            one, other = _candidates(queries, keys, order, starts, masks)
            differences = hashes[one] ^ hashes[other]
            is_near = np.bitwise_count(differences) <= most_bits
            one, other, differences = one[is_near], other[is_near], differences[is_near]
            before = (
                np.bitwise_count(differences.view(np.uint16).reshape(-1, HASH_BANDS)[:, :band])
                <= most_bits // HASH_BANDS
            )
            is_new = ~before.any(1)
            yield one[is_new], other[is_new]


def _parts(order: np.ndarray, keys: np.ndarray, starts: np.ndarray, masks: np.ndarray) -> Iterator[np.ndarray]:
    """Hashes in the order of their keys, in blocks with at most `MOST_CANDIDATES` candidates."""
    counts, values = np.diff(starts), np.arange(BAND_VALUES)
    candidates = sum(counts[values ^ mask] for mask in masks.astype(np.int64))
    ends = np.cumsum(candidates[keys[order]])
    start = 0
    while start < len(order):
        done = ends[start - 1] if start else 0
        end = int(np.searchsorted(ends, done + MOST_CANDIDATES, side="right"))
        end = min(max(end, start + 1), start + MOST_QUERIES)
        yield order[start:end]
        start = end


def _candidates(
    queries: np.ndarray, keys: np.ndarray, order: np.ndarray, starts: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of each query with the hashes of similar key, each pair once."""
    own = keys[queries, None]
    near = (own ^ masks).astype(np.int64)
    first = starts[near]
    counts = np.where(near >= own, starts[near + 1] - first, 0).ravel()
    ends = np.cumsum(counts)
    one = np.repeat(np.repeat(queries, len(masks)), counts)
    other = order[np.arange(ends[-1]) + np.repeat(first.ravel() - ends + counts, counts)]
    is_other = (keys[other] != keys[one]) | (other > one)
    return one[is_other], other[is_other]
