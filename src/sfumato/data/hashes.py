"""Which of many 64-bit hashes differ in few bits: multi-index hashing, which does not compare all pairs.

Two hashes that differ in at most 10 bits differ in at most 2 bits in one of their four bands of 16 bits. So hashes are
sorted by each band, and compared only with those whose band differs in at most 2 bits (Norouzi, Punjani and Fleet
2012, "Fast search in Hamming space with multi-index hashing").
"""

from collections.abc import Iterator

import numpy as np

BANDS = 4
BAND_VALUES = 1 << 16

MOST_QUERIES = 4096
"""Hashes whose neighbours are searched for at a time."""

MOST_PAIRS = 1 << 18
"""Pairs that are held at a time, unless a single hash has more."""


def near_pairs(hashes: np.ndarray, most_bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every pair of hashes that differ in at most `most_bits` bits, once, some at a time.

    Args:
        hashes: uint64, (N,).
        most_bits: from 0 to 63.

    Yields:
        The places of the ones and of the others, int64, (n,) each.
    """
    values = np.arange(BAND_VALUES, dtype=np.uint16)
    masks = values[np.bitwise_count(values) <= most_bits // BANDS]
    bands = hashes.view(np.uint16).reshape(-1, BANDS)
    for band in range(BANDS):
        keys = bands[:, band]
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(BAND_VALUES + 1))
        for queries in _parts(order, keys, starts, masks):
            one, other = _candidates(queries, keys, order, starts, masks)
            differences = hashes[one] ^ hashes[other]
            is_near = np.bitwise_count(differences) <= most_bits
            one, other, differences = one[is_near], other[is_near], differences[is_near]
            before = np.bitwise_count(differences.view(np.uint16).reshape(-1, BANDS)[:, :band]) <= most_bits // BANDS
            is_new = ~before.any(1)
            yield one[is_new], other[is_new]


def _parts(order: np.ndarray, keys: np.ndarray, starts: np.ndarray, masks: np.ndarray) -> Iterator[np.ndarray]:
    """Hashes in the order of their keys, in blocks that yield at most `MOST_PAIRS` candidates."""
    counts, values = np.diff(starts), np.arange(BAND_VALUES)
    candidates = sum(counts[values ^ mask] for mask in masks.astype(np.int64))
    ends = np.cumsum(candidates[keys[order]])
    start = 0
    while start < len(order):
        done = ends[start - 1] if start else 0
        end = int(np.searchsorted(ends, done + MOST_PAIRS, side="right"))
        end = min(max(end, start + 1), start + MOST_QUERIES)
        yield order[start:end]
        start = end


def _candidates(
    queries: np.ndarray, keys: np.ndarray, order: np.ndarray, starts: np.ndarray, masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of each query and the hashes with a key near to its own; of two such hashes one finds the other."""
    own = keys[queries, None]
    near = (own ^ masks).astype(np.int64)
    first = starts[near]
    counts = np.where(near >= own, starts[near + 1] - first, 0).ravel()
    ends = np.cumsum(counts)
    one = np.repeat(np.repeat(queries, len(masks)), counts)
    other = order[np.arange(ends[-1]) + np.repeat(first.ravel() - ends + counts, counts)]
    is_other = (keys[other] != keys[one]) | (other > one)
    return one[is_other], other[is_other]
