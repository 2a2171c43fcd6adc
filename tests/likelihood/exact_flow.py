"""Data whose probability-flow ODE is solved in closed form, so that a solver's error is known to rounding.

Of a Gaussian, x_t = alpha m + sqrt(alpha^2 v + sigma^2) z with a z that stays. Of any law of one pixel, the flow keeps
the order of the points, and so their quantiles: x_t is the quantile u of the law of x_t, with a u that stays.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import Schedule

QUANTILES = torch.linspace(0.05, 0.95, 10, dtype=torch.float64).reshape(-1, 1, 1, 1)
"""The points that are followed, one image of one pixel each."""


class ExactFlow(ABC):
    """The law of one pixel, its denoiser, and where its points are at any time."""

    @abstractmethod
    def denoiser(self, schedule: Schedule) -> Denoiser:
        """E[x_0 | x_t]."""

    @abstractmethod
    def at(self, schedule: Schedule, t: Tensor) -> Tensor:
        """x_t of the points of `QUANTILES`, (10, 1, 1, 1)."""


@dataclass(frozen=True)
class GaussianFlow(ExactFlow):
    """N(mean, variance)."""

    mean: float = 0.4
    variance: float = 0.25

    def denoiser(self, schedule: Schedule) -> Denoiser:
        """Affine in x_t."""
        return analytic.gaussian(schedule, torch.full((1, 1, 1), self.mean, dtype=torch.float64), self.variance)

    def at(self, schedule: Schedule, t: Tensor) -> Tensor:
        """alpha m + sqrt(alpha^2 v + sigma^2) z."""
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        spread = (alpha**2 * self.variance + sigma**2).sqrt()
        return alpha * self.mean + spread * torch.special.ndtri(QUANTILES)


@dataclass(frozen=True)
class MixtureFlow(ExactFlow):
    """0.4 N(-0.8, 0.3) + 0.6 N(0.6, 0.15)."""

    weights = (0.4, 0.6)
    means = (-0.8, 0.6)
    variances = (0.3, 0.15)

    def denoiser(self, schedule: Schedule) -> Denoiser:
        """Not affine in x_t."""
        means, variances, weights = (
            torch.tensor(numbers, dtype=torch.float64) for numbers in (self.means, self.variances, self.weights)
        )
        return analytic.Mixture(schedule, means.reshape(2, 1, 1, 1), variances, weights)

    def at(self, schedule: Schedule, t: Tensor) -> Tensor:
        """The quantiles, by bisection."""
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        low, high = torch.full_like(QUANTILES, -1000), torch.full_like(QUANTILES, 1000)
        for _ in range(64):
            middle = (low + high) / 2
            below = torch.zeros_like(middle)
            for weight, mean, variance in zip(self.weights, self.means, self.variances, strict=True):
                below += weight * torch.special.ndtr((middle - alpha * mean) / (alpha**2 * variance + sigma**2).sqrt())
            low, high = torch.where(below < QUANTILES, middle, low), torch.where(below < QUANTILES, high, middle)
        return high
