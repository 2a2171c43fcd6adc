"""Random numbers as a function of seed, purpose and position."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.data import Purpose, epoch_order, uniform
from sfumato.data.rng import WORDS_A_STEP

MANY = 100_000
NOISE = 4 / MANY**0.5
"""Four standard errors of a mean of numbers of unit variance."""


def standard(draws: Tensor) -> Tensor:
    """Standardises uniform numbers to mean 0 and variance 1."""
    return (draws - 0.5) * 12**0.5


@pytest.mark.parametrize("width", [1, 2, 4, 5, 12])
@pytest.mark.parametrize("start", [0, 13, 2**40, 2**63])
def test_numbers_of_a_position_do_not_depend_on_batches_or_order(start: int, width: int) -> None:
    whole = uniform(7, Purpose.FLIP, start, 60, width)
    for cut in (1, 7, 59):
        starts = range(0, 60, cut)
        parts = {s: uniform(7, Purpose.FLIP, start + s, min(cut, 60 - s), width) for s in reversed(starts)}
        assert torch.equal(torch.cat([parts[s] for s in starts]), whole)


@pytest.mark.parametrize("purpose", Purpose)
def test_the_numbers_are_uniform_between_0_and_1(purpose: Purpose) -> None:
    draws = uniform(3, purpose, 0, MANY, 3)
    assert (draws > 0).all()
    assert (draws < 1).all()
    for column in draws.unbind(1):
        z = standard(column)
        assert z.mean().abs() < NOISE
        assert (z.square().mean() - 1).abs() < NOISE  # the variance of z^2 is 0.8
        shares = torch.histc(column.float(), bins=10, min=0, max=1) / MANY
        assert (shares - 0.1).abs().max() < 0.3 * NOISE


def test_numbers_of_same_and_adjacent_positions_are_uncorrelated() -> None:
    z = standard(uniform(0, Purpose.NONLEAKING, 0, MANY + 1, 5))
    pairs = [(z[:-1, i], z[:-1, j]) for i, j in combinations(range(5), 2)]
    pairs += [(z[:-1, i], z[1:, j]) for i in range(5) for j in range(5)]
    for one, other in pairs:
        assert (one * other).mean().abs() < NOISE
        assert (one != other).all()


def test_streams_of_purposes_and_seeds_are_uncorrelated() -> None:
    streams = [uniform(seed, purpose, 0, MANY, 1)[:, 0] for seed in (0, 1, 2**64 - 1) for purpose in Purpose]
    for one, other in combinations(streams, 2):
        assert (one != other).all()
        assert (standard(one) * standard(other)).mean().abs() < NOISE


def test_the_order_of_an_epoch_is_independent_of_the_numbers() -> None:
    """If they used the same random words, the ranks of the numbers would equal the order of the epoch."""
    for epoch in range(4):
        order = epoch_order(1000, 5, epoch)
        for purpose in Purpose:
            draws = uniform(5, purpose, 0, 1000 // WORDS_A_STEP, WORDS_A_STEP).flatten().numpy()
            assert (np.argsort(draws, kind="stable") == order).mean() < 0.05


def test_the_numbers_are_reproducible() -> None:
    expected = [[0.9303936186982881, 0.6483429017362498], [0.36942347190020464, 0.8238346052444167]]
    assert uniform(7, Purpose.TRANSLATION, 1000, 2, 2).tolist() == expected


def test_extreme_random_words_give_numbers_between_0_and_1(monkeypatch: pytest.MonkeyPatch) -> None:
    class Extreme:
        """A generator with the smallest and the largest words."""

        def __init__(self, key: np.ndarray, counter: int) -> None:
            del key, counter

        def random_raw(self, count: int) -> np.ndarray:
            """Words with all bits 0 or 1."""
            return np.resize(np.array([0, 2**64 - 1], dtype=np.uint64), count)

    monkeypatch.setattr(np.random, "Philox", Extreme)
    lowest, highest = uniform(0, Purpose.FLIP, 0, 1, 2)[0].tolist()
    assert 0 < lowest < 1e-15
    assert 1 - 1e-15 < highest < 1
    assert torch.special.ndtri(torch.tensor([lowest, highest], dtype=torch.float64)).isfinite().all()
