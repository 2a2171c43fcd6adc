"""The order in which images are seen: a pure function of the seed and the position, so that a run resumes exactly."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of one epoch.

    Sorting the raw stream of the generator, which numpy keeps the same in all its versions, makes the order last.

    Args:
        count: The number of images, from 1.
        seed: 0 to 2**64 - 1.
        epoch: 0 to 2**64 - 1.

    Returns:
        A read-only permutation of 0 .. count - 1; int64, (count,).
    """
    generator = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    order = np.argsort(generator.random_raw(count), kind="stable")
    order.setflags(write=False)
    return order


def batch_indices(count: int, seed: int, start: int, batch: int) -> torch.Tensor:
    """The images at positions `start` to `start + batch` of the endless stream of epochs.

    A batch may span epochs, so no image is left out, and may be larger than the data set.

    Args:
        count: The number of images, from 1.
        seed: 0 to 2**64 - 1.
        start: The first position, from 0.
        batch: The number of positions, from 1.

    Returns:
        Indices of images; int64, (batch,).
    """
    first, skipped = divmod(start, count)
    last = (start + batch - 1) // count
    stream = np.concatenate([epoch_order(count, seed, epoch) for epoch in range(first, last + 1)])
    return torch.from_numpy(stream[skipped : skipped + batch])
