"""The kernel distance: the squared maximum mean discrepancy of two sets of features, without bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sfumato.errors import TooFewImagesError
from sfumato.metrics.widths import check_widths

BLOCK = 1000
FEWEST_BLOCKS = 10
"""Small sets are cut into smaller blocks, since the error of a mean is not to be had from a few."""

SMALLEST_BLOCK = 10


class KernelDistance(NamedTuple):
    """The mean of unbiased estimates, which may be below 0.

    Attributes:
        distance: The squared discrepancy.
        error: Its standard error.
        blocks: How many estimates there are.
        block: How many images of either set each is made of.
    """

    distance: float
    error: float
    blocks: int
    block: int


def kernel_distance(
    one: Float[Tensor, "m d"],
    other: Float[Tensor, "n d"],
    seed: int = 0,
    on_blocks: Callable[[int], None] = lambda _: None,
) -> KernelDistance:
    """The squared maximum mean discrepancy under the kernel (x.y / d + 1)^3, estimated without bias.

    With Inception's features this is the KID of Binkowski et al. (arXiv 1801.01401, section 4). Both sets are put in
    random order and cut into as many blocks of one size, at most 1,000; each pair of blocks gives one estimate. No
    image is in two blocks, so that the estimates are independent and the standard error of their mean is honest; the
    paper's overlapping subsets would make it too small. Images beyond as many blocks as the smaller set fills are not
    used.

    Args:
        one: Features, in any order.
        other: Features of the same width, on the same device.
        seed: Of the order.
        on_blocks: Told how many more blocks are done.

    Raises:
        TooFewImagesError: There are fewer than 100 images in a set.
        DataError: The features differ in width.
    """
    fewest = min(len(one), len(other))
    if fewest < FEWEST_BLOCKS * SMALLEST_BLOCK:
        raise TooFewImagesError(
            f"{fewest} images are too few for a kernel distance with an error",
            f"Give at least {FEWEST_BLOCKS * SMALLEST_BLOCK} of each kind.",
        )
    check_widths(one, other)
    block = min(BLOCK, fewest // FEWEST_BLOCKS)
    blocks = fewest // block
    generator = np.random.Generator(np.random.Philox(seed))
    orders = [torch.from_numpy(generator.permutation(len(each)))[: blocks * block] for each in (one, other)]
    estimates = []
    for x, y in zip(*(order.split(block) for order in orders), strict=True):
        estimates.append(discrepancy(one[x.to(one.device)].cpu().double(), other[y.to(other.device)].cpu().double()))
        on_blocks(1)
    error = float(np.std(estimates, ddof=1)) / blocks**0.5
    return KernelDistance(float(np.mean(estimates)), error, blocks, block)


def discrepancy(x: Float64[Tensor, "m d"], y: Float64[Tensor, "n d"]) -> float:
    """The U-statistic of the squared discrepancy (Gretton et al., JMLR 13, 2012, eq. 3): no image meets itself.

    Args:
        x: At least 2 images.
        y: At least 2.
    """
    within = [(kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)) for kernel in (_of(x, x), _of(y, y))]
    return float(within[0] + within[1] - 2 * _of(x, y).mean())


def _of(x: Float64[Tensor, "m d"], y: Float64[Tensor, "n d"]) -> Float64[Tensor, "m n"]:
    """The kernel of every pair."""
    return (x @ y.T / x.shape[1] + 1).pow(3)
