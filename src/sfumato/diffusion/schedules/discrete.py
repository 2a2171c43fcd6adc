"""Discrete noise schedules of T timesteps, each of which adds noise of variance beta: DDPM and variants.

Papers: DDPM (arXiv 2006.11239), latent diffusion (2112.10752), improved DDPM (2102.09672), the sigmoid of Jabri et al.
(2212.11972), and the zero terminal SNR of Lin et al. (2305.08891).
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.diffusion.schedules.base import Schedule
from sfumato.errors import ConfigError
from sfumato.utils.shapes import Times

Betas = Float64[Tensor, " steps"]

MOST_BETA = 0.999
"""Maximum of betas computed from alpha_bar, which ends near 0 (improved DDPM)."""


class BetaSchedule(Schedule):
    """T timesteps with variances beta_1 ... beta_T; alpha_t^2 = abar_t = prod(1 - beta). DDPM, section 2.

    Timestep i is at time i / T; i = 0 is clean data. Between two timesteps, log alpha is linear in t.
    """

    timesteps: int

    @property
    @abstractmethod
    def betas(self) -> Betas:
        """beta_1 ... beta_T, the variances of the noise added at each timestep."""

    @cached_property
    def log_alpha_bar(self) -> Float64[Tensor, " points"]:
        """log abar_i = log prod_{j <= i} (1 - beta_j) for i = 0 ... T; 0 at i = 0, -inf after a beta of 1."""
        return torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-self.betas).cumsum(0)])

    @property
    def alpha_bar(self) -> Float64[Tensor, " points"]:
        """abar_0 = 1, abar_1, ..., abar_T: share of the signal in the variance."""
        return self.log_alpha_bar.exp()

    def alpha(self, t: Times) -> Times:
        """sqrt(abar) at t."""
        return torch.exp(self._log_alpha_bar_at(t) / 2)

    def sigma(self, t: Times) -> Times:
        """sqrt(1 - abar) at t, also precise for abar close to 1."""
        return torch.sqrt(-torch.expm1(self._log_alpha_bar_at(t)))

    def logsnr(self, t: Times) -> Times:
        """log(abar / (1 - abar)) at t."""
        log_alpha_bar = self._log_alpha_bar_at(t)
        return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))

    @cached_property
    def _tables(self) -> dict[torch.device, Float64[Tensor, " points"]]:
        return {}

    def _table(self, device: torch.device) -> Float64[Tensor, " points"]:
        """`log_alpha_bar` on a device; copied only once, since a CUDA graph cannot contain the copy."""
        if device not in self._tables:
            self._tables[device] = self.log_alpha_bar.to(device)
        return self._tables[device]

    def time_at(self, logsnr: Times) -> Times:
        """Time of a log-SNR, clamped to [0, 1]."""
        log_alpha_bar = torch.nn.functional.logsigmoid(logsnr)
        table = self._table(logsnr.device)
        index = torch.searchsorted(-table, -log_alpha_bar).clamp(1, self.timesteps)
        left, right = table[index - 1], table[index]
        share = torch.where(
            right.isinf(), -torch.expm1((log_alpha_bar - left) / 2), (log_alpha_bar - left) / (right - left)
        )
        return (index - 1 + share.clamp(0, 1)) / self.timesteps

    def network_time(self, t: Times) -> Times:
        """Zero-based index of the timestep, 0 ... T - 1, as in DDPM's code."""
        return t * self.timesteps - 1

    def _log_alpha_bar_at(self, t: Times) -> Times:
        """Linear interpolation between timesteps; of alpha instead if the right timestep has zero SNR."""
        position = t * self.timesteps
        table = self._table(t.device)
        index = position.floor().clamp(0, self.timesteps - 1).long()
        left, right, share = table[index], table[index + 1], position - index
        is_zero_snr = right.isinf()
        between = torch.lerp(left, torch.where(is_zero_snr, left, right), share)
        fading = 2 * torch.log1p(-torch.where(is_zero_snr, share, 0))  # finite elsewhere, so that gradients are finite
        return torch.where(is_zero_snr, left + fading, between)


@dataclass(frozen=True)
class LinearBeta(BetaSchedule):
    """DDPM's schedule: beta increases linearly.

    For other T than 1000 the betas are rescaled by 1000 / T, so that x_T is noise for any T.

    Args:
        timesteps: number of timesteps T.
        beta_start: beta of the first timestep for T = 1000.
        beta_end: beta of the last timestep for T = 1000.

    Raises:
        ConfigError: betas that are not increasing, or T so small that a rescaled beta would reach 1.
    """

    timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self) -> None:
        _check_betas(self.timesteps, self.beta_start, self.beta_end)

    @cached_property
    def betas(self) -> Betas:
        """Linear from beta_start to beta_end, rescaled."""
        scale = 1000 / self.timesteps
        return torch.linspace(scale * self.beta_start, scale * self.beta_end, self.timesteps, dtype=torch.float64)


@dataclass(frozen=True)
class ScaledLinearBeta(BetaSchedule):
    """Latent diffusion's schedule: the square root of beta increases linearly. Rescaled for other T like `LinearBeta`.

    Args:
        timesteps: number of timesteps T.
        beta_start: beta of the first timestep for T = 1000.
        beta_end: beta of the last timestep for T = 1000.

    Raises:
        ConfigError: betas that are not increasing, or T so small that a rescaled beta would reach 1.
    """

    timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012

    def __post_init__(self) -> None:
        _check_betas(self.timesteps, self.beta_start, self.beta_end)

    @cached_property
    def betas(self) -> Betas:
        """Squares of linearly spaced numbers, rescaled."""
        first, last = math.sqrt(self.beta_start), math.sqrt(self.beta_end)
        return torch.linspace(first, last, self.timesteps, dtype=torch.float64) ** 2 * (1000 / self.timesteps)


@dataclass(frozen=True)
class Cosine(BetaSchedule):
    """Improved DDPM's schedule, eq. 17: abar_t = f(t) / f(0), f(t) = cos^2(pi/2 (t + offset) / (1 + offset)).

    Args:
        timesteps: number of timesteps T.
        offset: s of the paper, which increases the first betas.

    Raises:
        ConfigError: fewer than 1 timestep, or an offset outside [0, 1).
    """

    timesteps: int = 1000
    offset: float = 0.008

    def __post_init__(self) -> None:
        _check_timesteps(self.timesteps)
        if not 0 <= self.offset < 1:
            raise ConfigError(
                f"the offset {self.offset} of the cosine schedule is out of range", "Choose 0 or more, below 1."
            )

    @cached_property
    def betas(self) -> Betas:
        """1 - abar_i / abar_{i-1}, at most 0.999."""
        t = torch.linspace(0, 1, self.timesteps + 1, dtype=torch.float64)
        return _betas_of(torch.cos((t + self.offset) / (1 + self.offset) * math.pi / 2) ** 2)


@dataclass(frozen=True)
class Sigmoid(BetaSchedule):
    """Sigmoid schedule of Jabri et al.: abar is a sigmoid between `start` and `end`, rescaled to go from 1 to 0.

    Args:
        timesteps: number of timesteps T.
        start: first argument of the sigmoid.
        end: last argument of the sigmoid.
        temperature: tau of the paper, by which the argument is divided.

    Raises:
        ConfigError: fewer than 1 timestep, or a range that is empty or too wide.
    """

    timesteps: int = 1000
    start: float = -3.0
    end: float = 3.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_timesteps(self.timesteps)
        tau = self.temperature
        if not (tau > 0 and -30 * tau <= self.start <= self.end - 1e-3 * tau and self.end <= 30 * tau):
            raise ConfigError(
                f"a sigmoid from {self.start} to {self.end} at temperature {self.temperature} is not a noise schedule",
                "Choose start < end within 30 temperatures of 0, the temperature above 0; the paper's are -3, 3 and 1.",
            )

    @cached_property
    def betas(self) -> Betas:
        """1 - abar_i / abar_{i-1}, at most 0.999."""
        t = torch.linspace(0, 1, self.timesteps + 1, dtype=torch.float64)
        falling = torch.sigmoid(-(self.start + t * (self.end - self.start)) / self.temperature)
        return _betas_of(falling - falling[-1])


@dataclass(frozen=True)
class ZeroTerminal(BetaSchedule):
    """A schedule rescaled to zero SNR at the last timestep. Lin et al., Algorithm 1.

    sqrt(abar) is shifted and scaled to end at 0, with the first timestep unchanged. Not for networks that predict the
    noise, which does not determine the image at zero SNR.

    Args:
        base: schedule to rescale.

    Raises:
        ConfigError: a schedule with one timestep.
    """

    base: BetaSchedule

    def __post_init__(self) -> None:
        if self.base.timesteps < 2:
            raise ConfigError(
                "zero terminal SNR was requested for a schedule with 1 timestep", "Choose at least 2 timesteps."
            )

    @property
    def timesteps(self) -> int:  # type: ignore[override]  # a plain attribute in the base class
        """Number of timesteps T."""
        return self.base.timesteps

    @cached_property
    def betas(self) -> Betas:
        """1 - abar_i / abar_{i-1}; 1 at the last timestep."""
        alpha = (self.base.log_alpha_bar[1:] / 2).exp()
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        return 1 - (alpha / torch.cat([torch.ones(1, dtype=torch.float64), alpha[:-1]])) ** 2


def _betas_of(alpha_bar: Float64[Tensor, " points"]) -> Betas:
    """1 - abar_i / abar_{i-1}, at most 0.999; abar may have any scale. Improved DDPM, section 3.2."""
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=MOST_BETA)


def _check_timesteps(timesteps: int) -> None:
    if timesteps < 1:
        raise ConfigError(f"the number of timesteps is {timesteps}", "Choose at least 1; DDPM has 1000.")


def _check_betas(timesteps: int, beta_start: float, beta_end: float) -> None:
    if not 0 < beta_start <= beta_end < 1:
        raise ConfigError(
            f"betas from {beta_start} to {beta_end} are not a noise schedule",
            "Choose 0 < beta_start <= beta_end < 1; DDPM's are 0.0001 and 0.02.",
        )
    least = int(1000 * beta_end) + 1
    if timesteps < least:
        raise ConfigError(
            f"{timesteps} timesteps are too few: the last beta would be 1 or more",
            f"Choose at least {least} timesteps for beta_end {beta_end} (DDPM has 1000).",
        )
