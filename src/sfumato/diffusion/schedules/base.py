"""Base class of noise schedules, with the marginal, transition and posterior between any two times.

The formulas in log-SNR are those of VDM (arXiv 2107.00630, appendix A). They hold for every Gaussian diffusion, and are
precise near t = 0.
"""

from abc import ABC, abstractmethod

import torch

from sfumato.diffusion.gaussian import Gaussian
from sfumato.utils.shapes import Images, Times, over

BISECTIONS = 64
"""Number of bisections of [0, 1] to reach the resolution of float64."""


class Schedule(ABC):
    """Base class of noise schedules: x_t = alpha(t) x_0 + sigma(t) noise. Times and results are float64 tensors.

    A subclass that defines only `logsnr` is variance preserving: alpha^2 + sigma^2 = 1.

    Attributes:
        timesteps: number T of timesteps of a discrete schedule, at times i / T; None for continuous time.
    """

    timesteps: int | None = None

    @abstractmethod
    def logsnr(self, t: Times) -> Times:
        """Log signal-to-noise ratio 2 log(alpha / sigma); decreases with t, infinite at t = 0."""

    def amplitudes(self, logsnr: Times) -> tuple[Times, Times]:
        """(alpha, sigma) at a log-SNR."""
        return logsnr.sigmoid().sqrt(), (-logsnr).sigmoid().sqrt()

    def alpha(self, t: Times) -> Times:
        """Signal amplitude at t."""
        return self.amplitudes(self.logsnr(t))[0]

    def sigma(self, t: Times) -> Times:
        """Noise amplitude (standard deviation) at t; 0 at t = 0."""
        return self.amplitudes(self.logsnr(t))[1]

    def time_at(self, logsnr: Times) -> Times:
        """Time of a log-SNR, the inverse of `logsnr`, clamped to [0, 1]."""
        low, high = torch.zeros_like(logsnr), torch.ones_like(logsnr)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            too_clean = self.logsnr(middle) > logsnr
            low, high = torch.where(too_clean, middle, low), torch.where(too_clean, high, middle)
        return high

    def network_time(self, t: Times) -> Times:
        """Time input of the networks at t, on DDPM's scale of 0 to 1000."""
        return 1000 * t

    @property
    def earliest(self) -> float:
        """Smallest time above 0 for training and sampling: the first timestep, or 0.001 for continuous time."""
        return 1 / (self.timesteps or 1000)

    def nearest_step(self, t: Times) -> Times:
        """The timestep nearest to t, except 0. For continuous time: t, at least `earliest`."""
        moved = t if self.timesteps is None else (t * self.timesteps).round() / self.timesteps
        return moved.clamp(min=self.earliest)

    def logsnr_slope(self, t: Times) -> Times:
        """Derivative of the log-SNR with respect to t, which is negative."""
        with torch.enable_grad():
            variable = t.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.logsnr(variable).sum(), variable)
        return slope

    def marginal(self, x_0: Images, t: Times) -> Gaussian:
        """q(x_t | x_0) = N(alpha_t x_0, sigma_t^2). DDPM eq. 4."""
        return Gaussian(over(self.alpha(t), x_0) * x_0, over(self.sigma(t) ** 2, x_0))

    def transition(self, x_s: Images, s: Times, t: Times) -> Gaussian:
        """q(x_t | x_s) for s < t. VDM eq. 20 to 22; DDPM eq. 2 for adjacent timesteps.

        The variance is sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2 = sigma_t^2 (1 - SNR_t / SNR_s).
        """
        mean = over(self.alpha(t) / self.alpha(s), x_s) * x_s
        return Gaussian(mean, over(self.sigma(t) ** 2 * self.snr_lost(s, t), x_s))

    def posterior(self, x_t: Images, x_0: Images, t: Times, s: Times) -> Gaussian:
        """q(x_s | x_t, x_0) for s < t. VDM eq. 23 to 25; DDPM eq. 6 and 7 for adjacent timesteps.

        mean = alpha_t sigma_s^2 / (alpha_s sigma_t^2) x_t + alpha_s (1 - SNR_t / SNR_s) x_0
        variance = sigma_s^2 (1 - SNR_t / SNR_s)
        """
        lost = self.snr_lost(s, t)
        from_noisy = self.alpha(t) * self.sigma(s) ** 2 / (self.alpha(s) * self.sigma(t) ** 2)
        from_clean = self.alpha(s) * lost
        mean = over(from_noisy, x_t) * x_t + over(from_clean, x_t) * x_0
        return Gaussian(mean, over(self.sigma(s) ** 2 * lost, x_t))

    def snr_lost(self, s: Times, t: Times) -> Times:
        """1 - SNR_t / SNR_s: share of the signal-to-noise ratio lost from s to t."""
        return -torch.expm1(self.logsnr(t) - self.logsnr(s))
