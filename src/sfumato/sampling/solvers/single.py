"""Single-step solvers: DDPM (ancestral), DDIM, Euler and Heun."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.gaussian import Gaussian
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import SamplingError
from sfumato.sampling.solvers.base import NoiseSource, Solver, SolverState, Step, noise_in
from sfumato.utils.shapes import Images, Times, over


@dataclass(frozen=True)
class DDPM(Solver):
    """DDPM's ancestral sampler: x_s ~ q(x_s | x_t, x0_hat). DDPM, Algorithm 2, eq. 6, 7 and 11.

    With fewer steps than timesteps the posterior is that between t and s. The step to t = 0 adds no noise.

    Args:
        variance: "small", that of the posterior (beta_tilde), exact for data at one point; "large", that of the forward
            process (beta), exact for standard normal data (DDPM, section 3.2).

    Raises:
        SamplingError: an unknown variance.
    """

    default_steps: ClassVar[int] = 1000
    default_grid: ClassVar[str] = "uniform"  # with 1000 steps, all timesteps of DDPM
    variance: Literal["small", "large"] = "small"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large"):
            raise SamplingError(f"the variance {self.variance!r} is unknown", "Choose small or large.")

    @property
    def deterministic(self) -> bool:
        """False."""
        return False

    def step(
        self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource, past: Sequence[SolverState]
    ) -> Step:
        """mean + sqrt(variance) z, and the mean alone at s = 0."""
        x0_hat: Images = denoiser(x_t, t)
        now = SolverState(t, x_t, x0_hat)
        posterior = denoiser.schedule.posterior(x_t, x0_hat, t, s)
        if s == 0:
            return Step(now, posterior.mean)
        if self.variance == "large":
            posterior = Gaussian(posterior.mean, denoiser.schedule.transition(x_t, s, t).variance)
        return Step(now, posterior.sample(noise()))


@dataclass(frozen=True)
class DDIM(Solver):
    """DDIM (arXiv 2010.02502), eq. 12 and 16: keeps part of the estimated noise and replaces the rest by new noise.

    Args:
        eta: 0 is deterministic; 1 is `DDPM("small")`.

    Raises:
        SamplingError: eta outside [0, 1].
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        check_eta(self.eta)

    @property
    def deterministic(self) -> bool:
        """True for eta 0."""
        return self.eta == 0

    def step(
        self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource, past: Sequence[SolverState]
    ) -> Step:
        """alpha_s x0_hat + sqrt(sigma_s^2 - v) noise_hat + sqrt(v) z, with v = eta^2 sigma_s^2 (1 - SNR_t / SNR_s)."""
        schedule = denoiser.schedule
        x0_hat: Images = denoiser(x_t, t)
        noise_hat = noise_in(x_t, x0_hat, schedule.alpha(t), schedule.sigma(t))
        renewed = self.eta**2 * schedule.snr_lost(s, t) if self.eta else torch.zeros_like(t)
        sigma = schedule.sigma(s)
        x_s = over(schedule.alpha(s), x_t) * x0_hat + over(sigma * (1 - renewed).sqrt(), x_t) * noise_hat
        if renewed > 0 and s > 0:
            x_s = x_s + over(sigma * renewed.sqrt(), x_t) * noise()
        return Step(SolverState(t, x_t, x0_hat), x_s)


@dataclass(frozen=True)
class Euler(Solver):
    """Euler's method for the probability-flow ODE, dx = x0_hat d(alpha) + noise_hat d(sigma), with EDM's churn.

    Without churn it is DDIM. Churn adds noise before each step, which corrects previous errors: EDM (arXiv 2206.00364),
    Algorithm 2. Noise levels are sigma / alpha.

    Args:
        churn: relative increase of the noise level before each step, S_churn / N of the paper; 0 is none.
        churn_from: lowest noise level with churn, S_tmin.
        churn_to: highest noise level with churn, S_tmax.
        churn_noise: scale of the added noise, S_noise.

    Raises:
        SamplingError: a churn outside [0, sqrt(2) - 1], an empty range, or an invalid scale of the noise.
    """

    churn: float = 0.0
    churn_from: float = 0.0
    churn_to: float = math.inf
    churn_noise: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.churn <= math.sqrt(2) - 1:
            raise SamplingError(
                f"churn {self.churn} is out of range", "Choose 0 to 0.4142 (S_churn of EDM divided by the steps)."
            )
        if not (0 <= self.churn_from < self.churn_to and 0 <= self.churn_noise < math.inf):
            raise SamplingError(
                f"churn from {self.churn_from} to {self.churn_to} with noise {self.churn_noise} is out of range",
                "Choose 0 <= churn_from < churn_to, and a finite churn_noise of about 1.",
            )

    @property
    def deterministic(self) -> bool:
        """True without churn."""
        return self.churn == 0

    def step(
        self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource, past: Sequence[SolverState]
    ) -> Step:
        """Increases the noise level by the churn, then steps to s."""
        x, noisier = self._churned(denoiser.schedule, x_t, t, noise)
        x0_hat: Images = denoiser(x, noisier)
        now = SolverState(noisier, x, x0_hat)
        return Step(now, self._move(denoiser, now, s))

    def _churned(self, schedule: Schedule, x_t: Images, t: Times, noise: NoiseSource) -> tuple[Images, Times]:
        """x_t with more noise, and its new time, at most 1; unchanged at t = 1."""
        level = torch.exp(-schedule.logsnr(t) / 2)
        if not (self.churn and t < 1 and self.churn_from <= level <= self.churn_to):
            return x_t, t
        noisier = schedule.time_at(schedule.logsnr(t) - 2 * math.log1p(self.churn))
        risen = schedule.transition(x_t, t, noisier)
        return risen.mean + self.churn_noise * risen.variance.sqrt() * noise(), noisier

    def _move(self, denoiser: Denoiser, now: SolverState, s: Times) -> Images:
        """A step along the slope at `now`."""
        return _along(denoiser.schedule, now, s, now.x0_hat, _noise_hat(denoiser.schedule, now))


@dataclass(frozen=True)
class Heun(Euler):
    """Heun's method: the mean of the slopes at both ends, second order, two evaluations per step.

    EDM (arXiv 2206.00364), Algorithm 2, for any schedule. The step to t = 0 is Euler's. Arguments and errors are those
    of `Euler`.
    """

    default_steps: ClassVar[int] = 10  # 19 NFE

    def _move(self, denoiser: Denoiser, now: SolverState, s: Times) -> Images:
        """Euler's step, an evaluation at its end, and the step with the mean of both estimates."""
        schedule, x_s = denoiser.schedule, super()._move(denoiser, now, s)
        if s == 0:
            return x_s
        then = SolverState(s, x_s, denoiser(x_s, s))
        x0_hat = (now.x0_hat + then.x0_hat) / 2
        return _along(schedule, now, s, x0_hat, (_noise_hat(schedule, now) + _noise_hat(schedule, then)) / 2)


def _noise_hat(schedule: Schedule, now: SolverState) -> Images:
    return noise_in(now.x_t, now.x0_hat, schedule.alpha(now.t), schedule.sigma(now.t))


def _along(schedule: Schedule, now: SolverState, s: Times, x0_hat: Images, noise_hat: Images) -> Images:
    """x + (alpha_s - alpha_t) x0_hat + (sigma_s - sigma_t) noise_hat."""
    of_data = schedule.alpha(s) - schedule.alpha(now.t)
    of_noise = schedule.sigma(s) - schedule.sigma(now.t)
    return now.x_t + over(of_data, now.x_t) * x0_hat + over(of_noise, now.x_t) * noise_hat


def check_eta(eta: float) -> None:
    """Raises `SamplingError` unless eta is in [0, 1]."""
    if not 0 <= eta <= 1:
        raise SamplingError(f"eta {eta} is out of range", "Choose 0 (deterministic) to 1 (as much noise as DDPM).")
