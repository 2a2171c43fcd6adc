"""Schedules in continuous time: EDM's exploding variance, the straight flow, one's own, and a shift of any.

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
    """EDM's schedule: the signal keeps its amplitude, alpha = 1, and sigma(t) = sigma_max t^rho.

    Time is warped as EDM's sampling steps are (eq. 5), so that equal strides in t suit the eye.

    Args:
        sigma_max: sigma at t = 1.
        sigma_min: the least sigma above 0 that is worth a visit.
        rho: the warp.

    Raises:
        ConfigError: unless 0 < sigma_min < sigma_max and 0.1 <= rho <= 100.
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
        """Where sigma is sigma_min."""
        return float((self.sigma_min / self.sigma_max) ** (1 / self.rho))


@dataclass(frozen=True)
class Flow(Schedule):
    """The straight line from data to noise of rectified flow: alpha = 1 - t, sigma = t."""

    def logsnr(self, t: Times) -> Times:
        """2 log((1 - t) / t)."""
        return 2 * (torch.log1p(-t) - t.log())

    def amplitudes(self, logsnr: Times) -> tuple[Times, Times]:
        """The point of the line."""
        return (logsnr / 2).sigmoid(), (-logsnr / 2).sigmoid()

    def alpha(self, t: Times) -> Times:
        """1 - t."""
        return 1 - t

    def sigma(self, t: Times) -> Times:
        """The time itself."""
        return t

    def time_at(self, logsnr: Times) -> Times:
        """1 / (1 + exp(logsnr / 2))."""
        return (-logsnr / 2).sigmoid()


@dataclass(frozen=True)
class Custom(Schedule):
    """One's own schedule, variance preserving, from one function.

    At t = 0 it is clean, whatever the function says there.

    >>> import math
    >>> half = torch.tensor(0.5, dtype=torch.float64)
    >>> cosine = Custom(lambda t: -2 * torch.log(torch.tan(math.pi / 2 * t)))  # VDM++, simple diffusion
    >>> cosine.alpha(half), cosine.time_at(cosine.logsnr(half))
    (tensor(0.7071, dtype=torch.float64), tensor(0.5000, dtype=torch.float64))

    Args:
        function: t of any shape in (0, 1], float64 -> the log-SNR there, which falls with t; differentiable.

    Raises:
        ConfigError: what the function gives is no such log-SNR.
    """

    function: Callable[[Times], Times]

    def __post_init__(self) -> None:
        t = torch.linspace(0.01, 1, 100, dtype=torch.float64)
        logsnr = self.function(t) if callable(self.function) else None
        if not (isinstance(logsnr, torch.Tensor) and logsnr.shape == t.shape and bool((logsnr.diff() < 0).all())):
            raise ConfigError(
                "a schedule was made of something that is no falling log-SNR",
                "Give a function from a tensor of times to a tensor of as many log-SNRs, made of torch's functions.",
            )

    def logsnr(self, t: Times) -> Times:
        """The function, and infinity at t = 0."""
        clean = t == 0
        inside = self.function(torch.where(clean, 0.5, t))
        return torch.where(clean, math.inf, inside)


@dataclass(frozen=True)
class Shifted(Schedule):
    """Another schedule with more noise at every time: the log-SNR is lower by 2 log(factor), on the same path.

    Larger images need it, since noise averages out over neighbouring pixels: simple diffusion has factor = side / 64
    (section 3.1), SD3 the square root of the ratio of the pixel counts (eq. 23; on `Flow`, t' = f t / (1 + (f - 1) t)).

    Args:
        base: the schedule to shift.
        factor: above 1 for more noise, below 1 for less.

    Raises:
        ConfigError: a factor that is not positive.
    """

    base: Schedule
    factor: float

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise ConfigError(
                f"a schedule cannot be shifted by {self.factor}", "Choose a number above 0; 1 is no shift."
            )

    @property
    def timesteps(self) -> int | None:  # type: ignore[override]  # a plain attribute in the base class
        """Those of the base."""
        return self.base.timesteps

    @property
    def earliest(self) -> float:
        """That of the base."""
        return self.base.earliest

    def logsnr(self, t: Times) -> Times:
        """Lower than the base's by 2 log(factor)."""
        return self.base.logsnr(t) - 2 * math.log(self.factor)

    def amplitudes(self, logsnr: Times) -> tuple[Times, Times]:
        """The path of the base."""
        return self.base.amplitudes(logsnr)

    def time_at(self, logsnr: Times) -> Times:
        """When the base has a log-SNR higher by 2 log(factor)."""
        return self.base.time_at(logsnr + 2 * math.log(self.factor))

    def network_time(self, t: Times) -> Times:
        """As for the base."""
        return self.base.network_time(t)
