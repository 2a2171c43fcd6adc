"""Schedules of T steps, each of which adds noise of variance beta: DDPM and its kin.

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
"""The cap of improved DDPM on betas that are made from alpha_bar, which ends near 0."""


class BetaSchedule(Schedule):
    """T steps with the variances beta_1 ... beta_T; alpha_t^2 = abar_t = prod(1 - beta). Formula 2 of the article.

    Step i of T ends at time i / T; i = 0 is clean data. Between two steps, log alpha is linear in t.
    """

    timesteps: int

    @property
    @abstractmethod
    def betas(self) -> Betas:
        """beta_1 ... beta_T, the variance of the noise that each step adds."""

    @cached_property
    def log_alpha_bar(self) -> Float64[Tensor, " stops"]:
        """Log of abar_i = prod_{j <= i} (1 - beta_j) for i = 0 ... T: 0 at i = 0, -inf after a beta of 1."""
        return torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-self.betas).cumsum(0)])

    @property
    def alpha_bar(self) -> Float64[Tensor, " stops"]:
        """abar_0 = 1, abar_1, ..., abar_T: the share of the variance that is still signal."""
        return self.log_alpha_bar.exp()

    def alpha(self, t: Times) -> Times:
        """sqrt(abar) at t."""
        return torch.exp(self._log_alpha_bar_at(t) / 2)

    def sigma(self, t: Times) -> Times:
        """sqrt(1 - abar) at t, precise where abar is close to 1."""
        return torch.sqrt(-torch.expm1(self._log_alpha_bar_at(t)))

    def logsnr(self, t: Times) -> Times:
        """log(abar / (1 - abar)) at t."""
        log_alpha_bar = self._log_alpha_bar_at(t)
        return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))

    def time_at(self, logsnr: Times) -> Times:
        """The time of a log-SNR; log-SNRs beyond the schedule's ends give its ends."""
        log_alpha_bar = torch.nn.functional.logsigmoid(logsnr)
        table = self.log_alpha_bar.to(logsnr.device)
        index = torch.searchsorted(-table, -log_alpha_bar).clamp(1, self.timesteps)
        left, right = table[index - 1], table[index]
        share = torch.where(
            right.isinf(), -torch.expm1((log_alpha_bar - left) / 2), (log_alpha_bar - left) / (right - left)
        )
        return (index - 1 + share.clamp(0, 1)) / self.timesteps

    def network_time(self, t: Times) -> Times:
        """The zero-based index of the step that ends at t, 0 ... T - 1, as DDPM's networks are told."""
        return t * self.timesteps - 1

    def _log_alpha_bar_at(self, t: Times) -> Times:
        """Linear between two steps; where the right one has no signal at all, it is alpha that is linear."""
        position = t * self.timesteps
        table = self.log_alpha_bar.to(t.device)
        index = position.floor().clamp(0, self.timesteps - 1).long()
        left, right, share = table[index], table[index + 1], position - index
        silent = right.isinf()
        between = torch.lerp(left, torch.where(silent, left, right), share)
        fading = 2 * torch.log1p(-torch.where(silent, share, 0))  # kept finite elsewhere, for the sake of its slope
        return torch.where(silent, left + fading, between)


@dataclass(frozen=True)
class LinearBeta(BetaSchedule):
    """DDPM's schedule: beta rises linearly.

    The betas are those of T = 1000 and are rescaled by 1000 / T for any other T, so that x_T is noise whatever T.

    Args:
        timesteps: T, the number of steps.
        beta_start: beta of the first step at T = 1000.
        beta_end: beta of the last step at T = 1000.

    Raises:
        ConfigError: betas out of order, or T so small that a rescaled beta would reach 1.
    """

    timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self) -> None:
        _check_betas(self.timesteps, self.beta_start, self.beta_end)

    @cached_property
    def betas(self) -> Betas:
        """Equal steps from the first to the last."""
        scale = 1000 / self.timesteps
        return torch.linspace(scale * self.beta_start, scale * self.beta_end, self.timesteps, dtype=torch.float64)


@dataclass(frozen=True)
class ScaledLinearBeta(BetaSchedule):
    """Latent diffusion's schedule: the square root of beta rises linearly. Rescaled for other T as `LinearBeta` is.

    Args:
        timesteps: T, the number of steps.
        beta_start: beta of the first step at T = 1000.
        beta_end: beta of the last step at T = 1000.

    Raises:
        ConfigError: betas out of order, or T so small that a rescaled beta would reach 1.
    """

    timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012

    def __post_init__(self) -> None:
        _check_betas(self.timesteps, self.beta_start, self.beta_end)

    @cached_property
    def betas(self) -> Betas:
        """The squares of equal steps."""
        first, last = math.sqrt(self.beta_start), math.sqrt(self.beta_end)
        return torch.linspace(first, last, self.timesteps, dtype=torch.float64) ** 2 * (1000 / self.timesteps)


@dataclass(frozen=True)
class Cosine(BetaSchedule):
    """Improved DDPM's schedule, eq. 17: abar_t = f(t) / f(0), f(t) = cos^2(pi/2 (t + offset) / (1 + offset)).

    Args:
        timesteps: T, the number of steps.
        offset: s of the paper, which keeps the first betas from being too small.

    Raises:
        ConfigError: fewer than 1 step, or a negative offset.
    """

    timesteps: int = 1000
    offset: float = 0.008

    def __post_init__(self) -> None:
        _check_timesteps(self.timesteps)
        if not 0 <= self.offset < 1:
            raise ConfigError(f"the cosine schedule has no offset {self.offset}", "Choose 0 or more, below 1.")

    @cached_property
    def betas(self) -> Betas:
        """1 - abar_i / abar_{i-1}, at most 0.999."""
        t = torch.linspace(0, 1, self.timesteps + 1, dtype=torch.float64)
        return _betas_of(torch.cos((t + self.offset) / (1 + self.offset) * math.pi / 2) ** 2)


@dataclass(frozen=True)
class Sigmoid(BetaSchedule):
    """Jabri et al.'s schedule: abar falls like a sigmoid between `start` and `end`, moved to go from 1 to 0.

    Args:
        timesteps: T, the number of steps.
        start: of the sigmoid's argument.
        end: of the sigmoid's argument.
        temperature: tau of the paper, which divides the argument.

    Raises:
        ConfigError: fewer than 1 step, or a sigmoid that does not fall, or only in an instant.
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
    """Another schedule, moved so that its last step leaves no signal. Lin et al., Algorithm 1.

    sqrt(abar) is shifted and scaled to end at 0 with its first step unchanged. A network that predicts the noise cannot
    learn from such a last step; one that predicts the data or the velocity can.

    Args:
        base: the schedule to rescale.

    Raises:
        ConfigError: a schedule of one step, which is both the first and the last.
    """

    base: BetaSchedule

    def __post_init__(self) -> None:
        if self.base.timesteps < 2:
            raise ConfigError("a single step cannot both stay and lose its signal", "Choose at least 2 timesteps.")

    @property
    def timesteps(self) -> int:  # type: ignore[override]  # a plain attribute in the base class
        """T, the number of steps."""
        return self.base.timesteps

    @cached_property
    def betas(self) -> Betas:
        """1 - abar_i / abar_{i-1}; 1 at the last step."""
        alpha = (self.base.log_alpha_bar[1:] / 2).exp()
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        return 1 - (alpha / torch.cat([torch.ones(1, dtype=torch.float64), alpha[:-1]])) ** 2


def _betas_of(alpha_bar: Float64[Tensor, " stops"]) -> Betas:
    """1 - abar_i / abar_{i-1} of an abar of any positive scale, at most 0.999. Improved DDPM, section 3.2."""
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=MOST_BETA)


def _check_timesteps(timesteps: int) -> None:
    if timesteps < 1:
        raise ConfigError(f"{timesteps} timesteps are no schedule", "Choose at least 1; the paper has 1000.")


def _check_betas(timesteps: int, beta_start: float, beta_end: float) -> None:
    if not 0 < beta_start <= beta_end < 1:
        raise ConfigError(
            f"betas from {beta_start} to {beta_end} are not a noise schedule",
            "Choose 0 < beta_start <= beta_end < 1; DDPM's are 0.0001 and 0.02.",
        )
    least = int(1000 * beta_end) + 1
    if timesteps < least:
        raise ConfigError(
            f"{timesteps} timesteps are too few: the last step would add more noise than a step can",
            f"Choose at least {least} timesteps for beta_end {beta_end} (the paper has 1000).",
        )
