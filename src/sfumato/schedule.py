"""How signal turns into noise: x_t = alpha(t) x_0 + sigma(t) noise, t from 0 (clean) to 1 (noise).

Papers: DDPM (arXiv 2006.11239) for the discrete schedule, VDM (arXiv 2107.00630, appendix A) for the two-time
formulas in log-SNR, which hold for every Gaussian diffusion and lose no precision near t = 0.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.errors import ConfigError
from sfumato.gaussian import Gaussian
from sfumato.shapes import Images, Times, over


class Schedule(ABC):
    """Signal and noise amplitudes over time. All of it is computed in float64 from float64 times.

    Attributes:
        timesteps: the number T of discrete steps that the schedule is made of.
    """

    timesteps: int

    @abstractmethod
    def alpha(self, t: Times) -> Times:
        """Amplitude of the signal at t."""

    @abstractmethod
    def sigma(self, t: Times) -> Times:
        """Amplitude (standard deviation) of the noise at t; 0 at t = 0."""

    @abstractmethod
    def time_at(self, logsnr: Times) -> Times:
        """The time at which the log-SNR has the given value: the inverse of `logsnr`."""

    @abstractmethod
    def network_time(self, t: Times) -> Times:
        """What a network is told about t."""

    def logsnr(self, t: Times) -> Times:
        """Log signal-to-noise ratio 2 log(alpha / sigma); infinite at t = 0."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def marginal(self, x_0: Images, t: Times) -> Gaussian:
        """q(x_t | x_0) = N(alpha_t x_0, sigma_t^2). DDPM eq. 4; formula 7 of the article."""
        return Gaussian(over(self.alpha(t), x_0) * x_0, over(self.sigma(t) ** 2, x_0))

    def transition(self, x_s: Images, s: Times, t: Times) -> Gaussian:
        """q(x_t | x_s) for s < t: formula 1 of the article over any stride. VDM eq. 23.

        Its variance is sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2 = sigma_t^2 (1 - SNR_t / SNR_s).
        """
        mean = over(self.alpha(t) / self.alpha(s), x_s) * x_s
        return Gaussian(mean, over(self.sigma(t) ** 2 * self._snr_lost(s, t), x_s))

    def posterior(self, x_t: Images, x_0: Images, t: Times, s: Times) -> Gaussian:
        """q(x_s | x_t, x_0) for s < t, over any stride. VDM eq. 25; formula 9 of the article where s = t - 1/T.

        mean = alpha_t sigma_s^2 / (alpha_s sigma_t^2) x_t + alpha_s (1 - SNR_t / SNR_s) x_0
        variance = sigma_s^2 (1 - SNR_t / SNR_s)
        """
        lost = self._snr_lost(s, t)
        from_noisy = self.alpha(t) * self.sigma(s) ** 2 / (self.alpha(s) * self.sigma(t) ** 2)
        from_clean = self.alpha(s) * lost
        mean = over(from_noisy, x_t) * x_t + over(from_clean, x_t) * x_0
        return Gaussian(mean, over(self.sigma(s) ** 2 * lost, x_t))

    def _snr_lost(self, s: Times, t: Times) -> Times:
        """1 - SNR_t / SNR_s: the share of the signal-to-noise ratio that is lost from s to t."""
        return -torch.expm1(self.logsnr(t) - self.logsnr(s))


@dataclass(frozen=True)
class LinearBeta(Schedule):
    """DDPM's schedule: T steps whose beta rises linearly, alpha_t^2 = prod(1 - beta). Formula 2 of the article.

    Step i of T ends at time i / T; i = 0 is clean data. The betas are those of T = 1000 and are rescaled by 1000 / T
    for any other T, so that x_T is noise whatever T. Between two steps, log alpha is linear in t.

    Args:
        timesteps: T, the number of steps.
        beta_start: beta of the first step at T = 1000.
        beta_end: beta of the last step at T = 1000.

    Raises:
        ConfigError: T below 1, betas out of order, or a rescaled beta of 1 or more.
    """

    timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ConfigError(
                f"betas from {self.beta_start} to {self.beta_end} are not a noise schedule",
                "Choose 0 < beta-start <= beta-end < 1; the paper's are 0.0001 and 0.02.",
            )
        least = int(1000 * self.beta_end) + 1
        if self.timesteps < least:
            raise ConfigError(
                f"{self.timesteps} timesteps are too few: the last step would add more noise than a step can",
                f"Choose at least {least} timesteps for beta-end {self.beta_end} (the paper has 1000).",
            )

    @cached_property
    def betas(self) -> Float64[Tensor, " {self.timesteps}"]:
        """beta_1 ... beta_T, the variance of the noise that each step adds."""
        scale = 1000 / self.timesteps
        return torch.linspace(scale * self.beta_start, scale * self.beta_end, self.timesteps, dtype=torch.float64)

    @cached_property
    def log_alpha_bar(self) -> Float64[Tensor, " {self.timesteps}+1"]:
        """Log of abar_i = prod_{j <= i} (1 - beta_j) for i = 0 ... T: 0 at i = 0."""
        return torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-self.betas).cumsum(0)])

    @property
    def alpha_bar(self) -> Float64[Tensor, " {self.timesteps}+1"]:
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
        right = torch.searchsorted(-table, -log_alpha_bar).clamp(1, self.timesteps)
        share = (log_alpha_bar - table[right - 1]) / (table[right] - table[right - 1])
        return (right - 1 + share.clamp(0, 1)) / self.timesteps

    def network_time(self, t: Times) -> Times:
        """The zero-based index of the step that ends at t, 0 ... T - 1, as DDPM's networks are told."""
        return t * self.timesteps - 1

    def _log_alpha_bar_at(self, t: Times) -> Times:
        position = t * self.timesteps
        table = self.log_alpha_bar.to(t.device)
        left = position.floor().clamp(0, self.timesteps - 1).long()
        return torch.lerp(table[left], table[left + 1], position - left)
