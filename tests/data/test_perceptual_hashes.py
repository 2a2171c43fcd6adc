"""The search for similar hashes finds the same pairs as comparing all, each once."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.data import perceptual_hashes as room
from sfumato.data.perceptual_hashes import near_pairs

random = np.random.default_rng(0)


def flipped(hashes: np.ndarray, bits: int) -> np.ndarray:
    """Flips random bits of each hash."""
    masks = [sum(1 << bit for bit in random.permutation(64)[:bits].tolist()) for _ in hashes]
    return hashes ^ np.array(masks, np.uint64)


BASE = random.integers(0, 1 << 63, 150, dtype=np.uint64) * 2 + random.integers(0, 2, 150, dtype=np.uint64)
LOW = random.integers(0, 1 << 12, 200, dtype=np.uint64)

COPIES = np.concatenate([flipped(BASE, bits) for bits in range(13)])

SETS = {
    "random, with copies that differ in 1 to 12 bits": COPIES,
    "all in few values of each band": LOW * np.uint64(0x0001_0001_0001_0001),
    "equal": np.repeat(BASE[:20], 20),
    "one": BASE[:1],
}


@pytest.mark.parametrize("most_bits", [0, 3, 10, 15])
@pytest.mark.parametrize("hashes", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize("most_pairs", [50, 1 << 20])
def test_every_similar_pair_is_found_once(
    hashes: np.ndarray, most_bits: int, most_pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_CANDIDATES", most_pairs)
    parts = list(near_pairs(hashes, most_bits))
    found = [tuple(sorted(pair)) for one, other in parts for pair in zip(one.tolist(), other.tolist(), strict=True)]
    is_near = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= most_bits
    expected = np.argwhere(np.triu(is_near, 1))
    assert sorted(found) == [(one, other) for one, other in expected.tolist()]


def test_few_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    exact = room._candidates

    def counted(*arguments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal compared
        found = exact(*arguments)
        compared += len(found[0])
        return found

    monkeypatch.setattr(room, "_candidates", counted)
    hashes = np.random.default_rng(1).integers(0, 1 << 63, 5000, dtype=np.uint64)
    assert sum(len(one) for one, _ in near_pairs(hashes, 10)) == 0
    assert compared < 0.02 * 5000**2 / 2
