"""Random numbers as a function of the position in the stream of images, independent of batches and devices."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

WORDS_A_STEP = 4
"""64-bit words per step of the Philox counter."""

BITS = 52
"""Random bits per number; they leave room in a float64 for the offset of 1/2 that excludes 0 and 1."""


class Purpose(IntEnum):
    """Use of random numbers; each use has an independent stream. The values must not change, for reproducibility."""

    FLIP = 1
    TRANSLATION = 2
    NONLEAKING = 3
    SHAPES = 4


def uniform(seed: int, purpose: Purpose, start: int, count: int, width: int) -> Float64[Tensor, "{count} {width}"]:
    """Uniform random numbers in (0, 1) for positions of the endless stream of epochs.

    Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) computes them from a key and a counter.
    The key is the seed. The counter is the position, with the purpose in its highest word, which the order of the
    epochs and the noise of samples do not use.

    Args:
        seed: 0 to 2**64 - 1.
        purpose: use of the numbers.
        start: first position, from 0: number of images seen before.
        count: number of positions.
        width: numbers per position.

    Returns:
        A row for each position, independent of `start` and `count`; on the CPU.
    """
    steps = -(-width // WORDS_A_STEP)
    counter = (int(purpose) << 192) + start * steps
    words = np.random.Philox(key=np.array([seed, 0], dtype=np.uint64), counter=counter).random_raw(
        count * steps * WORDS_A_STEP
    )
    fractions = ((words >> np.uint64(64 - BITS)) + 0.5) * 2.0**-BITS
    return torch.from_numpy(fractions.reshape(count, steps * WORDS_A_STEP)[:, :width].copy())
