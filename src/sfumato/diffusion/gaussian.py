"""Gaussian random variables and the rules for scaling, adding and multiplying them: the appendix of the derivation."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians N(mean, variance), one for each element; the variance broadcasts against the mean.

    >>> a, b = Gaussian(torch.tensor(1.0), torch.tensor(4.0)), Gaussian(torch.tensor(3.0), torch.tensor(4.0))
    >>> a.plus(b)
    Gaussian(mean=tensor(4.), variance=tensor(8.))
    >>> a.times(b)
    Gaussian(mean=tensor(2.), variance=tensor(2.))
    """

    mean: Tensor
    variance: Tensor

    def log_density(self, x: Tensor) -> Tensor:
        """Log of 1 / sqrt(2 pi v) exp(-(x - m)^2 / (2 v)), element by element."""
        return -((x - self.mean).square() / self.variance + self.variance.log() + math.log(2 * math.pi)) / 2

    def density(self, x: Tensor) -> Tensor:
        """The probability density at x, element by element."""
        return self.log_density(x).exp()

    def scaled(self, factor: float | Tensor) -> "Gaussian":
        """The law of `factor` X: N(factor m, factor^2 v)."""
        return Gaussian(factor * self.mean, factor**2 * self.variance)

    def plus(self, other: "Gaussian") -> "Gaussian":
        """The law of X + Y for independent X and Y: means add, variances add."""
        return Gaussian(self.mean + other.mean, self.variance + other.variance)

    def times(self, other: "Gaussian") -> "Gaussian":
        """The normalised product of the two densities: precisions add, means are weighted by precision."""
        total = self.variance + other.variance
        mean = (self.mean * other.variance + other.mean * self.variance) / total
        return Gaussian(mean, self.variance * other.variance / total)

    def sample(self, noise: Tensor) -> Tensor:
        """The point that standard normal `noise` stands for: m + sqrt(v) noise."""
        return self.mean + torch.sqrt(self.variance) * noise
