"""Noise schedules in continuous time: EDM, rectified flow, custom schedules, and shifted schedules.

Papers: EDM (arXiv 2206.00364), rectified flow (2209.03003), SD3 (2403.03206), simple diffusion (2301.11093).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sfumato.diffusion.schedules.base import Schedule
from sfumato.errors import ConfigError
from sfumato.utils.shapes import Times


@dataclass(frozen=True)
class VarianceExploding(Schedule):
    """EDM's variance-exploding schedule: alpha = 1, sigma(t) = sigma_max t^rho.

    Equal steps in t are EDM's sampling steps (eq. 5).

    Args:
        sigma_max: sigma at t = 1.
        sigma_min: sigma at the `earliest` time.
        rho: exponent.

    Raises:
        ConfigError: the numbers do not satisfy 0 < sigma_min < sigma_max and 0.1 <= rho <= 100.
    """

    sigma_max: float = 80.0
    sigma_min: float = 0.002
    rho: float = 7.0

    def __post_init__(self) -> None:
        if not (0 < self.sigma_min < self.sigma_max < math.inf and 0.1 <= self.rho <= 100):
            raise ConfigError(
                f"sigma from {self.sigma_min} to {self.sigma_max} with rho {self.rho} is not a noise schedule",
                "Choose 0 < sigma_min < sigma_max and rho from 0.1 to 100; EDM's are 0.002, 80 and 7.",
            )

    def logsnr(self, t: Times) -> Times:
        """-2 log sigma."""
        return -2 * (math.log(self.sigma_max) + self.rho * t.log())

    def amplitudes(self, logsnr: Times) -> tuple[Times, Times]:
        """(1, exp(-logsnr / 2))."""
        return torch.ones_like(logsnr), torch.exp(-logsnr / 2)

    def sigma(self, t: Times) -> Times:
        """sigma_max t^rho."""
        return self.sigma_max * t**self.rho

    def time_at(self, logsnr: Times) -> Times:
        """(sigma / sigma_max)^(1 / rho), at most 1."""
        return torch.exp((-logsnr / 2 - math.log(self.sigma_max)) / self.rho).clamp(max=1)

    @property
    def earliest(self) -> float:
        """The time at which sigma is sigma_min."""
        return float((self.sigma_min / self.sigma_max) ** (1 / self.rho))


@dataclass(frozen=True)
class Flow(Schedule):
    """Rectified flow: alpha = 1 - t, sigma = t."""

    def logsnr(self, t: Times) -> Times:
        """2 log((1 - t) / t)."""
        return 2 * (torch.log1p(-t) - t.log())

    def amplitudes(self, logsnr: Times) -> tuple[Times, Times]:
        """(1 - t, t) at the time of the log-SNR."""
        return (logsnr / 2).sigmoid(), (-logsnr / 2).sigmoid()

    def alpha(self, t: Times) -> Times:
        """1 - t."""
        return 1 - t

    def sigma(self, t: Times) -> Times:
        """t."""
        return t

    def time_at(self, logsnr: Times) -> Times:
        """1 / (1 + exp(logsnr / 2))."""
        return (-logsnr / 2).sigmoid()


@dataclass(frozen=True)
class Custom(Schedule):
    """A variance-preserving schedule from a function of the log-SNR.

    The log-SNR at t = 0 is infinite; the function is not evaluated there.

    >>> import math
    >>> half = torch.tensor(0.5, dtype=torch.float64)
    >>> cosine = Custom(lambda t: -2 * torch.log(torch.tan(math.pi / 2 * t)))  # VDM++, simple diffusion
    >>> cosine.alpha(half), cosine.time_at(cosine.logsnr(half))
    (tensor(0.7071, dtype=torch.float64), tensor(0.5000, dtype=torch.float64))

    Args:
        function: maps a float64 tensor of times in (0, 1] to log-SNRs of the same shape, which decrease with t;
            differentiable.

    Raises:
        ConfigError: `function` is not callable, does not return a tensor of the shape of the times, or its log-SNRs do
            not decrease with t.
    """

    function: Callable[[Times], Times]

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ConfigError(
                f"the function of a custom schedule {problem}",
                "Give a function of torch operations from a tensor of times to decreasing log-SNRs of the same shape.",
            )

    def _problem(self) -> str | None:
        """Description of the error of the function; None for a valid function."""
        if not callable(self.function):
            return f"is {self.function!r}, which is not callable"
        t = torch.linspace(0.01, 1, 100, dtype=torch.float64)
        logsnr = self.function(t)
        if not isinstance(logsnr, torch.Tensor):
            return f"returned a {type(logsnr).__name__} instead of a tensor"
        if logsnr.shape != t.shape:
            return f"returned the shape {tuple(logsnr.shape)} for times of the shape {tuple(t.shape)}"
        return None if bool((logsnr.diff() < 0).all()) else "returned log-SNRs that do not decrease"

    def logsnr(self, t: Times) -> Times:
        """Result of the function; infinite at t = 0."""
        clean = t == 0
        inside = self.function(torch.where(clean, 0.5, t))
        return torch.where(clean, math.inf, inside)


@dataclass(frozen=True)
class Shifted(Schedule):
    """A schedule whose log-SNR is shifted by -2 log(factor).

    Larger images need more noise, since noise averages out over neighboring pixels. Simple diffusion uses
    factor = side / 64 (section 3.1), SD3 the square root of the ratio of the pixel counts (eq. 23; for `Flow`,
    t' = f t / (1 + (f - 1) t)).

    Args:
        base: schedule to shift.
        factor: above 1 for more noise, below 1 for less.

    Raises:
        ConfigError: a factor that is not positive and finite.
    """

    base: Schedule
    factor: float

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise ConfigError(
                f"the shift {self.factor} of the schedule is out of range", "Choose a number above 0; 1 is no shift."
            )

    @property
    def timesteps(self) -> int | None:  # type: ignore[override]  # a plain attribute in the base class
        """Those of the base schedule."""
        return self.base.timesteps

    @property
    def earliest(self) -> float:
        """That of the base schedule."""
        return self.base.earliest

    def logsnr(self, t: Times) -> Times:
        """That of the base schedule minus 2 log(factor)."""
        return self.base.logsnr(t) - 2 * math.log(self.factor)

    def amplitudes(self, logsnr: Times) -> tuple[Times, Times]:
        """Those of the base schedule."""
        return self.base.amplitudes(logsnr)

    def time_at(self, logsnr: Times) -> Times:
        """The time at which the base schedule has this log-SNR plus 2 log(factor)."""
        return self.base.time_at(logsnr + 2 * math.log(self.factor))

    def network_time(self, t: Times) -> Times:
        """That of the base schedule."""
        return self.base.network_time(t)
