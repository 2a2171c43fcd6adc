"""Kernel distance (KID): unbiased squared maximum mean discrepancy between two sets of features."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sfumato.errors import TooFewImagesError
from sfumato.metrics.moments import check_widths

BLOCK = 1000
"""Maximum number of images per block."""

FEWEST_BLOCKS = 10
"""Minimum number of blocks. Small sets have smaller blocks, since a standard error needs several estimates."""

SMALLEST_BLOCK = 10
"""Minimum number of images per block."""


class KernelDistance(NamedTuple):
    """Kernel distance, the mean of unbiased estimates. It can be negative.

    Attributes:
        distance: Squared maximum mean discrepancy.
        error: Standard error of the distance.
        blocks: Number of estimates.
        block: Number of images of each set per estimate.
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
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3.

    With Inception features this is the KID of Binkowski et al. (arXiv 1801.01401, section 4). Both sets are shuffled
    and divided into equal numbers of blocks of at most 1,000 images; each pair of blocks gives one estimate. The
    blocks do not overlap, so that the estimates are independent and the standard error of their mean is correct; with
    the overlapping subsets of the paper it would be too small. Surplus images of the larger set are not used.

    Args:
        one: Features, in any order.
        other: Features of the same width, on the same device.
        seed: Random seed of the order.
        on_blocks: Called with the number of blocks completed since the last call.

    Raises:
        TooFewImagesError: A set has fewer than 100 images.
        DataError: The features differ in width.
    """
    fewest = min(len(one), len(other))
    if fewest < FEWEST_BLOCKS * SMALLEST_BLOCK:
        raise TooFewImagesError(
            f"{fewest} images are too few for a kernel distance",
            f"Give at least {FEWEST_BLOCKS * SMALLEST_BLOCK} of each set.",
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
    """U-statistic of the squared discrepancy (Gretton et al., JMLR 13, 2012, eq. 3).

    Args:
        x: Features of at least 2 images.
        y: Features of at least 2 images.
    """
    within = [(kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)) for kernel in (_of(x, x), _of(y, y))]
    return float(within[0] + within[1] - 2 * _of(x, y).mean())


def _of(x: Float64[Tensor, "m d"], y: Float64[Tensor, "n d"]) -> Float64[Tensor, "m n"]:
    """Kernel of each pair."""
    return (x @ y.T / x.shape[1] + 1).pow(3)
