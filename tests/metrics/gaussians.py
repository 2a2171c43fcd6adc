"""Gaussians, their moments and samples."""

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.metrics.moments import Moments

EXACT = 10**12
"""Number of images without noticeable bias."""


def draws(count: int, width: int, seed: int) -> Tensor:
    """Standard normal float32, (count, width)."""
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def moments(mean: Float64[Tensor, " d"], covariance: Float64[Tensor, "d d"]) -> Moments:
    """Moments of a Gaussian."""
    return Moments(EXACT, mean, covariance * (EXACT - 1))


def standard(width: int) -> Moments:
    """Moments of the standard Gaussian."""
    return moments(torch.zeros(width).double(), torch.eye(width).double())


def rotation(width: int, seed: int) -> Float64[Tensor, "d d"]:
    """A random orthogonal matrix."""
    return torch.linalg.qr(draws(width, width, seed).double()).Q


def covariance(width: int, rank: int, seed: int) -> Float64[Tensor, "d d"]:
    """A random covariance of a rank."""
    factor = draws(width, rank, seed).double()
    return factor @ factor.T
