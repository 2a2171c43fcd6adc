"""Distributions and 8-bit levels for the tests of both likelihoods."""

import math

import torch
from torch import Tensor
from torch.distributions import Normal

from sfumato.diffusion import analytic
from sfumato.diffusion.schedules import LinearBeta, Schedule

LINEAR = LinearBeta()
VARIANCE = 0.04
LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1


def at(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def eight_bit(x: Tensor) -> Tensor:
    """The nearest of the 256 levels."""
    return ((x + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1


def bits(nats: Tensor, dimensions: int) -> Tensor:
    return nats / (dimensions * math.log(2))


def blur(schedule: Schedule) -> float:
    """The variance of the noise that the density's path leaves in the data."""
    return math.exp(-schedule.logsnr(at(schedule.earliest)).item())


def smooth_mixture(schedule: Schedule) -> analytic.Mixture:
    means = 0.5 * randn(3, 2, 2, 3)
    return analytic.Mixture(schedule, means, torch.tensor([0.1, 0.02, 0.3]), torch.tensor([1.0, 2.0, 3.0]))


def discretised(law: Normal, levels: Tensor) -> Tensor:
    """-log2 of the mass of each level, the outer bins being open."""
    upper = torch.where(levels > 0.999, 1.0, law.cdf(levels + 1 / 255))
    lower = torch.where(levels < -0.999, 0.0, law.cdf(levels - 1 / 255))
    return -(upper - lower).log2()
