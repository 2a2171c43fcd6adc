"""Time grids: the timesteps of a sampler, from noise to data.

A time grid has one timestep more than steps. It decreases strictly, starts at t = 1 (except `Leading`) and ends at
t = 0.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.diffusion.schedules import Schedule
from sfumato.errors import SamplingError
from sfumato.utils.registry import Registry

Timesteps = Float64[Tensor, " points"]

MAX_STEPS = 10**6
"""Maximum number of sampling steps."""

MIN_LOGSNR = -2 * math.log(160)
"""Minimum log-SNR of time grids by noise level, for schedules with almost no signal at t = 1.

The noise level is twice EDM's highest (arXiv 2206.00364, table 1); above, all estimates are the mean of the data.
"""


class TimeGrid(ABC):
    """Base class of time grids."""

    def __call__(self, schedule: Schedule, steps: int) -> Timesteps:
        """The timesteps (steps + 1,), decreasing to 0.

        Raises:
            SamplingError: a number of steps out of range; timesteps that do not decrease; for a `Discrete` grid, more
                steps than the schedule has timesteps, or a schedule with continuous time.
        """
        if not 1 <= steps <= MAX_STEPS:
            raise SamplingError(f"the number of sampling steps is {steps}", f"Choose 1 to {MAX_STEPS:,}.")
        timesteps = torch.cat([self.noisy_times(schedule, steps), torch.zeros(1, dtype=torch.float64)])
        if not (timesteps.diff() < 0).all():
            raise SamplingError(
                f"the time grid {self} does not decrease with {steps} steps on this schedule",
                f"Use fewer steps, or choose among: {', '.join(TIME_GRIDS)}.",
            )
        return timesteps

    @abstractmethod
    def noisy_times(self, schedule: Schedule, steps: int) -> Timesteps:
        """All timesteps but the last."""


@dataclass(frozen=True)
class Uniform(TimeGrid):
    """Equal steps in t; the last timestep above 0 is at least the schedule's earliest time.

    >>> from sfumato.diffusion.schedules import Flow
    >>> Uniform()(Flow(), 4)
    tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)
    """

    def noisy_times(self, schedule: Schedule, steps: int) -> Timesteps:
        """1, 1 - 1/N, ..., 1/N, or to the earliest time if it is larger."""
        last = max(1 / steps, schedule.earliest)
        return torch.linspace(1, last, steps, dtype=torch.float64)


class Discrete(TimeGrid):
    """Time grids of timesteps of a discrete schedule."""

    def noisy_times(self, schedule: Schedule, steps: int) -> Timesteps:
        """The chosen timesteps divided by T."""
        if schedule.timesteps is None:
            valid = [name for name, grid in TIME_GRIDS.items() if not isinstance(grid, Discrete)]
            raise SamplingError(
                f"the time grid {type(self).__name__.lower()} needs a schedule with timesteps",
                f"Choose among: {', '.join(valid)}.",
            )
        if steps > schedule.timesteps:
            raise SamplingError(
                f"the number of sampling steps is {steps}, but the schedule has {schedule.timesteps} timesteps",
                f"Choose 1 to {schedule.timesteps} steps.",
            )
        return self.chosen_timesteps(schedule.timesteps, steps) / schedule.timesteps

    @abstractmethod
    def chosen_timesteps(self, timesteps: int, steps: int) -> Timesteps:
        """Decreasing integers from T to 1."""


@dataclass(frozen=True)
class Trailing(Discrete):
    """Nearly equal steps over the timesteps, counted from T. Lin et al. (arXiv 2305.08891), table 2."""

    def chosen_timesteps(self, timesteps: int, steps: int) -> Timesteps:
        """T, T - T/N, ..., rounded."""
        return torch.linspace(timesteps, 0, steps + 1, dtype=torch.float64)[:-1].round()


@dataclass(frozen=True)
class Leading(Discrete):
    """Equal steps over the timesteps, counted from 1: the grid of DDIM, which does not contain T."""

    def chosen_timesteps(self, timesteps: int, steps: int) -> Timesteps:
        """1 + (N - 1) T // N, ..., 1 + T // N, 1."""
        return 1 + (timesteps // steps) * torch.arange(steps - 1, -1, -1, dtype=torch.float64)


@dataclass(frozen=True)
class Linspace(Discrete):
    """Nearly equal steps over the timesteps from T to 1, both included."""

    def chosen_timesteps(self, timesteps: int, steps: int) -> Timesteps:
        """T, ..., 1, rounded; only T for one step."""
        return torch.linspace(timesteps, 1, steps, dtype=torch.float64).round()


class ByNoiseLevel(TimeGrid):
    """Time grids by noise level sigma / alpha, from that at t = 1 to that at the earliest time."""

    def noisy_times(self, schedule: Schedule, steps: int) -> Timesteps:
        """t = 1, and the times of the noise levels."""
        first, last = torch.tensor([1, schedule.earliest], dtype=torch.float64)
        share = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
        logsnr = self.logsnrs(schedule.logsnr(first).clamp(min=MIN_LOGSNR), schedule.logsnr(last), share)
        timesteps = schedule.time_at(logsnr)
        timesteps[0] = 1
        return timesteps

    @abstractmethod
    def logsnrs(self, first: Tensor, last: Tensor, share: Timesteps) -> Timesteps:
        """Log-SNRs for each share in [0, 1] of the interval from `first` to `last`."""


@dataclass(frozen=True)
class Karras(ByNoiseLevel):
    """EDM's time grid: equal steps in (sigma / alpha)^(1 / rho). arXiv 2206.00364, eq. 5.

    Args:
        rho: exponent; higher for smaller steps near the data.

    Raises:
        SamplingError: a rho out of range.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.rho <= 100:
            raise SamplingError(f"rho {self.rho} is out of range", "Choose 0.1 to 100; EDM uses 7.")

    def logsnrs(self, first: Tensor, last: Tensor, share: Timesteps) -> Timesteps:
        """-2 log sigma, with linear sigma^(1 / rho)."""
        start, end = (-first / 2 / self.rho).exp(), (-last / 2 / self.rho).exp()
        return -2 * self.rho * torch.lerp(start, end, share).log()


@dataclass(frozen=True)
class LogSNR(ByNoiseLevel):
    """Equal steps in the log-SNR, as in DPM-Solver (arXiv 2206.00927)."""

    def logsnrs(self, first: Tensor, last: Tensor, share: Timesteps) -> Timesteps:
        """Linear interpolation."""
        return torch.lerp(first, last, share)


TIME_GRIDS: Registry[TimeGrid] = Registry(
    "time grid",
    SamplingError,
    {
        "uniform": Uniform(),
        "trailing": Trailing(),
        "leading": Leading(),
        "linspace": Linspace(),
        "karras": Karras(),
        "logsnr": LogSNR(),
    },
)
