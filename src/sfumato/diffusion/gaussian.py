"""Gaussian random variables: scaling, addition and product (docs/learn/en/gaussians.md)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians N(mean, variance), one per element; the variance is broadcast against the mean."""

    mean: Tensor
    variance: Tensor

    def log_density(self, x: Tensor) -> Tensor:
        """Log probability density at x, log(1 / sqrt(2 pi v) exp(-(x - m)^2 / (2 v))), elementwise."""
        return -((x - self.mean).square() / self.variance + self.variance.log() + math.log(2 * math.pi)) / 2

    def scaled(self, factor: float | Tensor) -> "Gaussian":
        """Distribution of `factor` X: N(factor m, factor^2 v)."""
        return Gaussian(factor * self.mean, factor**2 * self.variance)

    def plus(self, other: "Gaussian") -> "Gaussian":
        """Distribution of X + Y for independent X and Y: the means and the variances are added."""
        return Gaussian(self.mean + other.mean, self.variance + other.variance)

    def times(self, other: "Gaussian") -> "Gaussian":
        """Normalized product of the two densities: precisions are added, means are weighted by precision."""
        total = self.variance + other.variance
        mean = (self.mean * other.variance + other.mean * self.variance) / total
        return Gaussian(mean, self.variance * other.variance / total)

    def sample(self, noise: Tensor) -> Tensor:
        """A sample from standard normal noise: m + sqrt(v) noise."""
        return self.mean + torch.sqrt(self.variance) * noise
