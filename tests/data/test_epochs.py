"""Order of the training images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfumato.data import batch_indices, epoch_order


@pytest.mark.parametrize("epoch", [0, 1, 1000])
def test_an_epoch_contains_each_image_once(epoch: int) -> None:
    assert sorted(epoch_order(17, 3, epoch)) == list(range(17))


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_the_order_is_reproducible() -> None:
    assert epoch_order(10, 7, 2).tolist() == [6, 7, 8, 4, 0, 1, 5, 3, 9, 2]


def test_the_cached_order_cannot_be_modified() -> None:
    with pytest.raises(ValueError, match="read-only"):
        epoch_order(10, 0, 0)[0] = 5
    before = epoch_order(10, 0, 0).copy()
    batch_indices(10, 0, start=0, batch=10).zero_()
    assert np.array_equal(epoch_order(10, 0, 0), before)


def test_the_stream_concatenates_the_epochs() -> None:
    epochs = np.concatenate([epoch_order(7, 5, epoch) for epoch in range(3)])
    assert batch_indices(7, 5, start=0, batch=21).tolist() == epochs.tolist()


@pytest.mark.parametrize("batch", [1, 3, 7, 8, 25])
def test_the_stream_does_not_depend_on_the_batch_size(batch: int) -> None:
    whole = batch_indices(7, 5, start=0, batch=50)
    slices = [batch_indices(7, 5, start, batch) for start in range(0, 50, batch)]
    assert all(len(part) == batch for part in slices)
    assert torch.equal(torch.cat(slices)[:50], whole)


def test_indices_are_int64() -> None:
    assert batch_indices(3, 0, start=0, batch=2).dtype == torch.int64


def test_a_single_image_is_repeated() -> None:
    assert batch_indices(1, 0, start=10, batch=3).tolist() == [0, 0, 0]
