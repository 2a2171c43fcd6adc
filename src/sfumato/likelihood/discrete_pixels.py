"""Discrete pixels with 256 levels, level k at k / 127.5 - 1: probabilities and dequantization."""

import math

import torch
from torch import Tensor
from torch.special import log_ndtr, ndtr

from sfumato.errors import DataError
from sfumato.utils.shapes import Images

LAST_LEVEL = 255
HALF_BIN = 1 / 255
"""Half of the distance between two levels."""
BITS_OF_BIN = math.log2(1 / (2 * HALF_BIN))
"""-log2 of the width of a bin, log2(127.5)."""
TOLERANCE = 1e-3
"""Maximum distance of a pixel from a level, in levels."""


def check_depth(images: Images) -> None:
    """Raises `DataError` unless every pixel is one of the 256 levels in [-1, 1]."""
    level = _level(images)
    off = (level - level.round().clamp(0, LAST_LEVEL)).abs()
    if not bool((off < TOLERANCE).all()):
        raise DataError(
            f"the pixel value {images.flatten()[off.argmax()].item():.6g} is not one of the 256 levels of 8-bit images",
            "Give 8-bit images scaled to [-1, 1]; for real-valued data use `log_density`.",
        )


def log_probability(images: Images, mean: Images, deviation: float) -> Images:
    """Log probability of each pixel's level under N(mean, deviation^2). DDPM eq. 13.

    The bins of the first and the last level are unbounded, so that the probabilities of the 256 levels sum to 1.

    Args:
        images: (n, C, H, W) float64, with 256 levels.
        mean: (n, C, H, W) float64.
        deviation: standard deviation, above 0.
    """
    level = _level(images).round()
    low = torch.where(level == 0, -math.inf, (images - HALF_BIN - mean) / deviation)
    high = torch.where(level == LAST_LEVEL, math.inf, (images + HALF_BIN - mean) / deviation)
    # Phi(high) - Phi(low) = Phi(-low) - Phi(-high): the one in the left tail is precise.
    mirrored = images > mean
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    log_high: Images = log_ndtr(high)
    return log_high + torch.log(-torch.expm1(log_ndtr(low) - log_high))


def dequantized(images: Images, noise: Images) -> Images:
    """Adds uniform noise of the width of a bin (dequantization). Theis et al. (arXiv 1511.01844).

    Args:
        images: (n, C, H, W), with 256 levels.
        noise: (n, C, H, W) standard normal, which is mapped to uniform noise.
    """
    place: Tensor = 2 * ndtr(noise) - 1
    return images + HALF_BIN * place.to(images.dtype)


def _level(images: Images) -> Images:
    return (images + 1) * (LAST_LEVEL / 2)
