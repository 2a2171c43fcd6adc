"""Densities of the training times.

The effective weight of a noise level is the product of the time density and the loss weight: the loss is not corrected
for the density, as in EDM (arXiv 2206.00364, section 5). Weights per unit of t (elbo, sigmoid) match their papers for
uniform times.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.diffusion.schedules import Schedule
from sfumato.errors import ConfigError
from sfumato.utils.registry import Registry
from sfumato.utils.shapes import Times

Shares = Float64[Tensor, " n"]
"""Numbers in [0, 1] that a density maps to times."""


def independent(count: int) -> Shares:
    """Independent uniform numbers in [0, 1). Uses torch's CPU generator."""
    return torch.rand(count, dtype=torch.float64)


def stratified(count: int) -> Shares:
    """Stratified uniform numbers: one in each of `count` equal intervals of [0, 1], in random order.

    Lowers the variance of the loss of a batch, like the low-discrepancy sampler of VDM (arXiv 2107.00630). Uses torch's
    CPU generator.
    """
    return (torch.randperm(count) + torch.rand(count, dtype=torch.float64)) / count


class TimeDensity(ABC):
    """A density of times, given by its quantile function, which maps uniform numbers to times."""

    def __call__(self, schedule: Schedule, u: Shares) -> Times:
        """Times (n,) for uniform numbers u (n,), clamped to [schedule.earliest, 1]."""
        return self.quantile(schedule, u).clamp(schedule.earliest, 1)

    @abstractmethod
    def quantile(self, schedule: Schedule, u: Shares) -> Times:
        """Quantile function: times (n,) for uniform numbers u (n,), before clamping."""


def check_quantiles(density: TimeDensity, schedule: Schedule) -> None:
    """Raises `ConfigError` if a density, such as one from outside the package, gives times outside [0, 1]."""
    u = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    times = density.quantile(schedule, u)
    valid = (times >= 0) & (times <= 1)
    if not valid.all():
        raise ConfigError(
            f"the time density {density} gives the time {times[~valid][0]:g}", "Its quantiles must be in [0, 1]."
        )


@dataclass(frozen=True)
class UniformTimes(TimeDensity):
    """Uniform over the timesteps of a discrete schedule, as in DDPM, or over continuous time."""

    def quantile(self, schedule: Schedule, u: Shares) -> Times:
        """ceil(u T) / T for T timesteps; otherwise linear from `earliest` to 1."""
        if schedule.timesteps is not None:
            return (u * schedule.timesteps).ceil() / schedule.timesteps
        return schedule.earliest + (1 - schedule.earliest) * u


@dataclass(frozen=True)
class LogNormalTimes(TimeDensity):
    """The logarithm of the noise level sigma / alpha is normally distributed. EDM, table 1.

    Args:
        mean: mean of log(sigma / alpha).
        std: standard deviation of log(sigma / alpha).

    Raises:
        ConfigError: a value that is not finite, or a standard deviation that is not positive.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def quantile(self, schedule: Schedule, u: Shares) -> Times:
        """The time with log-SNR -2 (mean + std z), with z the normal quantile of u."""
        return schedule.time_at(-2 * (self.mean + self.std * torch.special.ndtri(u)))


@dataclass(frozen=True)
class LogitNormalTimes(TimeDensity):
    """The logit of t is normally distributed, so that middle times are frequent. SD3 (arXiv 2403.03206), section 3.1.

    For the schedule `Flow` the logit of t is log(sigma / alpha).

    Args:
        mean: mean of log(t / (1 - t)); above 0 for more noise.
        std: standard deviation of log(t / (1 - t)).

    Raises:
        ConfigError: a value that is not finite, or a standard deviation that is not positive.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def quantile(self, schedule: Schedule, u: Shares) -> Times:
        """sigmoid(mean + std z), with z the normal quantile of u."""
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))


def _check_normal(mean: float, std: float) -> None:
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise ConfigError(
            f"mean {mean} and std {std} of the times are out of range",
            "Choose finite numbers, std above 0.",
        )


TIME_DENSITIES: Registry[TimeDensity] = Registry(
    "time density",
    ConfigError,
    {
        "uniform": UniformTimes(),
        "log-normal": LogNormalTimes(),
        "logit-normal": LogitNormalTimes(),
    },
)
