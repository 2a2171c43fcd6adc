"""Images of 256 levels, level k at k / 127.5 - 1, and densities over the real line that must answer for them."""

import math

import torch
from torch import Tensor
from torch.special import log_ndtr, ndtr

from sfumato.errors import DataError
from sfumato.utils.shapes import Images

LAST_LEVEL = 255
HALF_BIN = 1 / 255
"""Each level answers for the numbers that are this near to it."""
BITS_OF_BIN = math.log2(1 / (2 * HALF_BIN))
"""What a density in bits per dimension gains when it is multiplied by the width of a bin: log2(127.5)."""
TOLERANCE = 1e-3
"""How far a pixel may be from a level, in levels."""


def check_depth(images: Images) -> None:
    """Raises `DataError` unless every pixel is one of the 256 levels in [-1, 1]."""
    level = _level(images)
    off = (level - level.round().clamp(0, LAST_LEVEL)).abs()
    if not bool((off < TOLERANCE).all()):
        raise DataError(
            f"a pixel of {images.flatten()[off.argmax()].item():.6g} is none of the 256 levels of 8-bit images",
            "Give images in [-1, 1] as `depth.EIGHT_BITS` makes them; for real-valued data there is `log_density`.",
        )


def log_probability(images: Images, mean: Images, deviation: float) -> Images:
    """Log of the mass that N(mean, deviation^2) has in the bin of each pixel's level. DDPM eq. 13.

    The bins of the first and the last level are open, so the masses of the 256 levels add up to 1.

    Args:
        images: of 256 levels, (n, C, H, W) float64.
        mean: (n, C, H, W) float64.
        deviation: standard deviation, above 0.
    """
    level = _level(images).round()
    low = torch.where(level == 0, -math.inf, (images - HALF_BIN - mean) / deviation)
    high = torch.where(level == LAST_LEVEL, math.inf, (images + HALF_BIN - mean) / deviation)
    # Phi(high) - Phi(low) = Phi(-low) - Phi(-high): of the two, the one in the left tail keeps its digits.
    mirrored = images > mean
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    log_high: Images = log_ndtr(high)
    return log_high + torch.log(-torch.expm1(log_ndtr(low) - log_high))


def dequantized(images: Images, noise: Images) -> Images:
    """Each pixel moved to a place in its bin, all places being equally likely. Theis et al. (arXiv 1511.01844).

    Args:
        images: of 256 levels, (n, C, H, W).
        noise: standard normal, which picks the places, (n, C, H, W).
    """
    place: Tensor = 2 * ndtr(noise) - 1
    return images + HALF_BIN * place.to(images.dtype)


def _level(images: Images) -> Images:
    return (images + 1) * (LAST_LEVEL / 2)
