"""Noise schedule, parametrization and solver of a model. Exported by sfumato; needs PyTorch and diffusers.

x_t = alpha(t) x_0 + sigma(t) noise, with t from 0 (clean) to 1 (noise). All times and coefficients are float64 scalars.
"""

import math
from pathlib import Path
from typing import ClassVar

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

BISECTIONS = 64
"""Number of bisections of [0, 1] to reach the resolution of float64."""

MIN_LOGSNR = -2 * math.log(160)
"""Minimum log-SNR of the time grids by noise level."""


class SfumatoSchedule(SchedulerMixin, ConfigMixin):
    """A noise schedule and what the network predicts.

    Args:
        kind: "betas" (DDPM and variants), "edm" (alpha = 1, sigma = sigma_max t^rho) or "flow" (alpha = 1 - t,
            sigma = t).
        parametrization: prediction of the network: "noise", "data", "velocity", "flow" (noise - x_0) or "edm".
        betas: variances of the noise added at each timestep, for "betas".
        sigma_min, sigma_max, rho: constants of "edm".
        shift: shifts the log-SNR by -2 log(shift); 1 is none.
    """

    code: ClassVar[str] = Path(__file__).read_text(encoding="utf-8")

    @register_to_config
    def __init__(
        self,
        kind: str,
        parametrization: str,
        betas: list[float] | None = None,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        shift: float = 1.0,
    ) -> None:
        precise = torch.tensor([0.0, *(betas or [])], dtype=torch.float64)
        self.log_alpha_bar = torch.log1p(-precise).cumsum(0)

    def logsnr(self, t: Tensor) -> Tensor:
        """Log signal-to-noise ratio 2 log(alpha / sigma)."""
        shift = 2 * math.log(self.config.shift)
        if self.config.kind == "flow":
            return 2 * (torch.log1p(-t) - t.log()) - shift
        if self.config.kind == "edm":
            return -2 * (math.log(self.config.sigma_max) + self.config.rho * t.log()) - shift
        log_alpha_bar = self.log_alpha_bar_at(t)
        return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar)) - shift

    def log_alpha_bar_at(self, t: Tensor) -> Tensor:
        """Linear interpolation between timesteps; of alpha instead if the right timestep has zero SNR."""
        timesteps = len(self.log_alpha_bar) - 1
        position = float(t) * timesteps
        index = min(max(math.floor(position), 0), timesteps - 1)
        left, right, share = self.log_alpha_bar[index], self.log_alpha_bar[index + 1], position - index
        if right.isinf():
            return left + 2 * torch.log1p(-torch.tensor(share, dtype=torch.float64))
        return torch.lerp(left, right, share)

    def amplitudes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at t."""
        logsnr = self.logsnr(t)
        if self.config.kind == "flow":
            return (logsnr / 2).sigmoid(), (-logsnr / 2).sigmoid()
        if self.config.kind == "edm":
            return torch.ones_like(logsnr), torch.exp(-logsnr / 2)
        return logsnr.sigmoid().sqrt(), (-logsnr).sigmoid().sqrt()

    def time_at(self, logsnr: Tensor) -> Tensor:
        """Time of a log-SNR, clamped to [0, 1]."""
        low, high = torch.zeros_like(logsnr), torch.ones_like(logsnr)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.logsnr(middle) > logsnr else (low, middle)
        return high

    def preconditioning(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in and c_noise: x0_hat = c_skip x_t + c_out F(c_in x_t, c_noise)."""
        alpha, sigma = self.amplitudes(t)
        length = (alpha**2 + sigma**2).sqrt()
        time = t * (len(self.log_alpha_bar) - 1) - 1 if self.config.kind == "betas" else 1000 * t
        match self.config.parametrization:
            case "noise":
                return 1 / alpha, -sigma / alpha, 1 / length, time
            case "data":
                return torch.zeros_like(t), torch.ones_like(t), 1 / length, time
            case "velocity":
                return alpha / length**2, -sigma / length, 1 / length, time
            case "flow":
                return 1 / (alpha + sigma), -sigma / (alpha + sigma), 1 / (alpha + sigma), time
            case "edm":
                power = (alpha * 0.5) ** 2 + sigma**2  # 0.5 is the standard deviation of the data
                time = -self.logsnr(t).clamp(-40, 40) / 8
                return alpha * 0.25 / power, sigma * 0.5 / power.sqrt(), power.rsqrt(), time
        raise ValueError(f"the parametrization {self.config.parametrization!r} is unknown")

    def time_grid(self, steps: int, spacing: str) -> list[Tensor]:
        """Decreasing times from 1 to 0, one more than steps.

        Args:
            steps: number of sampling steps.
            spacing: "uniform" in time, "logsnr" in log-SNR, or "karras" in (sigma / alpha)^(1/7).
        """
        if steps < 1:
            raise ValueError(f"num_inference_steps is {steps}; choose at least 1")
        one = torch.ones((), dtype=torch.float64)
        earliest, zero = torch.full_like(one, self.earliest()), torch.zeros_like(one)
        if spacing == "uniform":
            return [*torch.linspace(1, max(1 / steps, float(earliest)), steps, dtype=torch.float64), zero]
        first, last = self.logsnr(one).clamp(min=MIN_LOGSNR), self.logsnr(earliest)
        shares = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
        if spacing == "logsnr":
            levels = torch.lerp(first, last, shares)
        elif spacing == "karras":
            levels = -14 * torch.lerp((-first / 14).exp(), (-last / 14).exp(), shares).log()
        else:
            raise ValueError(f"the spacing {spacing!r} is unknown; choose uniform, logsnr or karras")
        return [one, *(self.time_at(level) for level in levels[1:]), zero]

    def earliest(self) -> float:
        """Smallest time above 0 of the time grids."""
        if self.config.kind == "edm":
            return float((self.config.sigma_min / self.config.sigma_max) ** (1 / self.config.rho))
        return 1 / (len(self.log_alpha_bar) - 1) if self.config.kind == "betas" else 0.001

    def step(
        self,
        x_t: Tensor,
        x0_hat: Tensor,
        t: Tensor,
        s: Tensor,
        before: tuple[Tensor, Tensor] | None,
        eta: float,
        noise: Tensor | None,
    ) -> Tensor:
        """x_s from x_t by DPM-Solver++(2M) (arXiv 2211.01095, Algorithm 2), or by its SDE.

        Args:
            x_t: noisy images at the time t.
            x0_hat: estimate of the clean images at t.
            t: time of `x_t`.
            s: time of the result, below t.
            before: time and estimate of the previous step.
            eta: 0 for the ODE, 1 for the SDE, or a share of the noise in between.
            noise: standard normal noise, for eta above 0.
        """
        if s == 0:
            return x0_hat
        half, half_s = self.logsnr(t) / 2, self.logsnr(s) / 2
        h = half_s - half
        alpha_s, sigma_s = self.amplitudes(s)
        gain = alpha_s * -torch.expm1(-(1 + eta) * h)
        kept = sigma_s / self.amplitudes(t)[1] * (torch.exp(-eta * h) if eta else 1)
        x_s = kept.to(x_t.dtype) * x_t + gain.to(x_t.dtype) * x0_hat
        if before is not None:  # the slope is 0 if the SNR was
            slope = (x0_hat - before[1]) / (half - self.logsnr(before[0]) / 2).to(x_t.dtype)
            x_s = x_s + (gain * h / 2).to(x_t.dtype) * slope
        if noise is not None:
            x_s = x_s + (sigma_s * (-torch.expm1(-2 * eta * h)).sqrt()).to(x_t.dtype) * noise
        return x_s
