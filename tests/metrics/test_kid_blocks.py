"""Division of images into blocks for the kernel distance, and the error computed from the blocks."""

from collections.abc import Iterator
from statistics import mean, stdev

import pytest
import torch
from torch import Tensor

from metrics.gaussians import draws
from sfumato.metrics import kid
from sfumato.metrics.kid import kernel_distance


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[int]]]:
    """Indices of the images of each pair of blocks; the only feature of an image is its index."""
    seen: list[tuple[list[int], list[int]]] = []

    def numbered(x: Tensor, y: Tensor) -> float:
        seen.append(((x[:, 0].long() - FIRST).tolist(), (y[:, 0].long() - FIRST).tolist()))
        return 0.0

    monkeypatch.setattr(kid, "discrepancy", numbered)
    return seen


FIRST = 4096
"""Added to an index, so that rounding changes the feature."""

INDICES = FIRST + torch.arange(250.0)[:, None]


def test_blocks_are_in_random_order_separately_for_each_set(blocks: list[tuple[list[int], list[int]]]) -> None:
    kernel_distance(INDICES[:200], INDICES[:200])
    one, other = ([index for pair in blocks for index in pair[side]] for side in (0, 1))
    assert sorted(one) == sorted(other) == list(range(200))
    for order, unlike in ((one, range(200)), (other, range(200)), (one, other)):
        assert sum(a == b for a, b in zip(order, unlike, strict=True)) < 10  # one is expected
    for x, y in blocks:
        assert max(x) - min(x) > 40
        assert max(y) - min(y) > 40


def test_unused_images_are_chosen_at_random(blocks: list[tuple[list[int], list[int]]]) -> None:
    """50 of the 250 images of the larger set are not used."""
    for seed in range(20):
        kernel_distance(INDICES[:200], INDICES, seed=seed)
    used = torch.bincount(torch.tensor([index for _, y in blocks for index in y]), minlength=250)
    assert used.min() > 0
    assert used[200:].float().mean().item() == pytest.approx(16, abs=1.5)


def test_blocks_depend_on_the_seed_only(blocks: list[tuple[list[int], list[int]]]) -> None:
    for seed in (0, 0, 1):
        kernel_distance(INDICES, INDICES, seed=seed)
    once, again, other = blocks[:10], blocks[10:20], blocks[20:]
    assert once == again
    assert sum(a == b for one, two in zip(once, other, strict=True) for a, b in zip(one[0], two[0], strict=True)) < 12


def test_the_order_of_images_does_not_bias_the_distance() -> None:
    """Features are sorted in one set and reversed in the other, so that consecutive blocks would differ."""
    x, y = draws(400, 1, 0).sort(0).values, draws(400, 1, 1).sort(0, descending=True).values
    found = kernel_distance(x, y)
    assert abs(found.distance) < 4 * found.error
    assert found.error < 1


def test_distance_and_error_are_block_mean_and_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    estimates = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0, 5.0, 3.5]
    each: Iterator[float] = iter(estimates)
    monkeypatch.setattr(kid, "discrepancy", lambda *_: next(each))
    found = kernel_distance(INDICES[:100], INDICES[:100])
    assert found == (pytest.approx(mean(estimates)), pytest.approx(stdev(estimates) / 10**0.5), 10, 10)
