"""Time grids: the times at which a sampler stops on its way from noise to data, which is t = 0.

A grid has one stop more than steps. It falls strictly, begins at t = 1 (all but `Leading`) and ends at t = 0, so that
no step is wasted and no noise is left over.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.diffusion.schedules import Schedule
from sfumato.errors import SamplingError
from sfumato.utils.registry import parse_part

Timesteps = Float64[Tensor, " stops"]

MOST_STEPS = 10**6
"""As many as a discrete schedule may have."""

LEAST_LOGSNR = -2 * math.log(160)
"""Where grids that are laid out by noise level take a schedule to begin that has hardly any signal at t = 1.

That is twice EDM's highest noise level (arXiv 2206.00364, table 1): above it all estimates are the mean of the data.
"""


class TimeGrid(ABC):
    """Chooses the stops."""

    def __call__(self, schedule: Schedule, steps: int) -> Timesteps:
        """The stops of a number of steps, falling, the last one 0.

        Raises:
            SamplingError: fewer than 1 step; stops that would not fall; of a `Discrete` grid, more steps than the
                schedule has, or a schedule without.
        """
        if not 1 <= steps <= MOST_STEPS:
            raise SamplingError(f"{steps} sampling steps were asked", f"Choose at least 1, and at most {MOST_STEPS:,}.")
        timesteps = torch.cat([self.noisy_times(schedule, steps), torch.zeros(1, dtype=torch.float64)])
        if not (timesteps.diff() < 0).all():
            raise SamplingError(
                f"the grid {self} does not fall from noise to data in {steps} steps on this schedule",
                f"Take fewer steps, or choose among: {', '.join(TIME_GRIDS)}.",
            )
        return timesteps

    @abstractmethod
    def noisy_times(self, schedule: Schedule, steps: int) -> Timesteps:
        """All stops but the last."""


@dataclass(frozen=True)
class Uniform(TimeGrid):
    """Equal strides in t, but for the last one where it would begin below the schedule's earliest time.

    >>> from sfumato.diffusion.schedules import Flow
    >>> Uniform()(Flow(), 4)
    tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)
    """

    def noisy_times(self, schedule: Schedule, steps: int) -> Timesteps:
        """1, 1 - 1/N, ..., 1/N, or down to the earliest time if that is later."""
        last = max(1 / steps, schedule.earliest)
        return torch.linspace(1, last, steps, dtype=torch.float64)


class Discrete(TimeGrid):
    """Grids that stop only at steps of a discrete schedule."""

    def noisy_times(self, schedule: Schedule, steps: int) -> Timesteps:
        """The chosen steps over T."""
        if schedule.timesteps is None:
            free = [name for name, grid in TIME_GRIDS.items() if not isinstance(grid, Discrete)]
            raise SamplingError(
                f"the grid {type(self).__name__.lower()} stops at the steps of a schedule, and time is continuous here",
                f"Choose among: {', '.join(free)}.",
            )
        if steps > schedule.timesteps:
            raise SamplingError(
                f"{steps} sampling steps were asked of a schedule with {schedule.timesteps}",
                f"Choose 1 to {schedule.timesteps} steps.",
            )
        return self.chosen_timesteps(schedule.timesteps, steps) / schedule.timesteps

    @abstractmethod
    def chosen_timesteps(self, timesteps: int, steps: int) -> Timesteps:
        """Whole numbers from 1 to T, falling."""


@dataclass(frozen=True)
class Trailing(Discrete):
    """Nearly equal strides over the steps, counted from T. Lin et al. (arXiv 2305.08891), table 2."""

    def chosen_timesteps(self, timesteps: int, steps: int) -> Timesteps:
        """T, T - T/N, ..., rounded."""
        return torch.linspace(timesteps, 0, steps + 1, dtype=torch.float64)[:-1].round()


@dataclass(frozen=True)
class Leading(Discrete):
    """Equal strides over the steps, counted from the first: DDIM's own grid, which never sees x_T."""

    def chosen_timesteps(self, timesteps: int, steps: int) -> Timesteps:
        """1 + (N - 1) T // N, ..., 1 + T // N, 1."""
        return 1 + (timesteps // steps) * torch.arange(steps - 1, -1, -1, dtype=torch.float64)


@dataclass(frozen=True)
class Linspace(Discrete):
    """Nearly equal strides over the steps from T to the first, both included."""

    def chosen_timesteps(self, timesteps: int, steps: int) -> Timesteps:
        """T, ..., 1, rounded; T alone for one step."""
        return torch.linspace(timesteps, 1, steps, dtype=torch.float64).round()


class ByNoiseLevel(TimeGrid):
    """Grids laid out over the noise levels sigma / alpha, from that of t = 1 to that of the earliest time."""

    def noisy_times(self, schedule: Schedule, steps: int) -> Timesteps:
        """t = 1, and the times of the levels."""
        first, last = torch.tensor([1, schedule.earliest], dtype=torch.float64)
        share = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
        logsnr = self.logsnrs(schedule.logsnr(first).clamp(min=LEAST_LOGSNR), schedule.logsnr(last), share)
        timesteps = schedule.time_at(logsnr)
        timesteps[0] = 1
        return timesteps

    @abstractmethod
    def logsnrs(self, first: Tensor, last: Tensor, share: Timesteps) -> Timesteps:
        """The log-SNR after each share, 0 to 1, of the way from the first to the last."""


@dataclass(frozen=True)
class Karras(ByNoiseLevel):
    """EDM's grid: equal strides in the noise level to the power 1 / rho. arXiv 2206.00364, eq. 5.

    Args:
        rho: higher for shorter strides near the data.

    Raises:
        SamplingError: a rho out of range.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.rho <= 100:
            raise SamplingError(f"a Karras grid has no rho {self.rho}", "Choose 0.1 to 100; the paper's is 7.")

    def logsnrs(self, first: Tensor, last: Tensor, share: Timesteps) -> Timesteps:
        """-2 log sigma, with sigma^(1/rho) on a line."""
        start, end = (-first / 2 / self.rho).exp(), (-last / 2 / self.rho).exp()
        return -2 * self.rho * torch.lerp(start, end, share).log()


@dataclass(frozen=True)
class LogSNR(ByNoiseLevel):
    """Equal strides in the log-SNR, as DPM-Solver has them. arXiv 2206.00927."""

    def logsnrs(self, first: Tensor, last: Tensor, share: Timesteps) -> Timesteps:
        """A line."""
        return torch.lerp(first, last, share)


TIME_GRIDS: dict[str, TimeGrid] = {
    "uniform": Uniform(),
    "trailing": Trailing(),
    "leading": Leading(),
    "linspace": Linspace(),
    "karras": Karras(),
    "logsnr": LogSNR(),
}


def grid_for(name: str) -> TimeGrid:
    """The grid of a name in `TIME_GRIDS`, possibly with settings.

    >>> grid_for("karras:rho=5")
    Karras(rho=5.0)

    Raises:
        SamplingError: an unknown name or setting; lists what is possible.
    """
    return parse_part(TIME_GRIDS, name, "grid", SamplingError)
