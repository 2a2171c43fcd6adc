"""Random numbers that belong to a place in the stream of images, whichever batch, worker or device asks for them."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

WORDS = 4
"""Numbers of 64 bits that a step of Philox's counter gives."""

BITS = 52
"""As many as leave room, in a float64, for the half that keeps a draw off 0 and off 1."""


class Purpose(IntEnum):
    """What numbers are drawn for: each purpose has its own. The values are part of every run, and stay."""

    FLIP = 1
    TRANSLATION = 2
    NONLEAKING = 3


def uniform(seed: int, purpose: Purpose, start: int, count: int, width: int) -> Float64[Tensor, "{count} {width}"]:
    """Numbers between 0 and 1, both excluded, for positions of the endless stream of epochs.

    Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) makes them from a key and a counter
    alone. The key is the seed; the counter is the position, with the purpose in its highest word, which neither the
    order of the epochs nor the noise of samples ever reaches.

    Args:
        seed: 0 to 2**64 - 1.
        purpose: what they are for.
        start: the first position, from 0: how many images were seen before.
        count: positions.
        width: numbers a position.

    Returns:
        A row for each position, the same whatever `start` and `count` it is asked with; on the CPU.
    """
    steps = -(-width // WORDS)
    counter = (int(purpose) << 192) + start * steps
    words = np.random.Philox(key=np.array([seed, 0], dtype=np.uint64), counter=counter).random_raw(
        count * steps * WORDS
    )
    fractions = ((words >> np.uint64(64 - BITS)) + 0.5) * 2.0**-BITS
    return torch.from_numpy(fractions.reshape(count, steps * WORDS)[:, :width].copy())
