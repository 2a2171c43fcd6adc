"""Step rules: from x_t to x_s, s < t, with a denoiser.

A solver sees a denoiser (and through it the schedule), two times and a source of noise; the grid is chosen elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from sfumato.denoiser import Denoiser
from sfumato.errors import SamplingError
from sfumato.gaussian import Gaussian
from sfumato.shapes import Images, Times

NoiseSource = Callable[[], Images]
"""Draws standard normal noise of the batch's shape, fresh at each call."""


class Step(NamedTuple):
    """What a step leaves: the new x_s, and the estimate of x_0 that led to it."""

    x_s: Images
    x0_hat: Images


@runtime_checkable
class Solver(Protocol):
    """One step rule."""

    def step(self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource) -> Step:
        """From x_t at t to x_s at s < t; t and s of shape ()."""


@dataclass(frozen=True)
class Ancestral:
    """DDPM's sampler: draw x_s from q(x_s | x_t, x0_hat). Algorithm 2 of DDPM, formulas 9 to 11 of the article.

    Over a stride the posterior is that of the stride, not of one step. The step that ends at t = 0 adds no noise.

    Args:
        variance: "small" is that of the posterior, beta_tilde, exact when data are a point; "large" is that of the
            forward step, beta, exact when data are standard normal (DDPM section 3.2).
    """

    variance: Literal["small", "large"] = "small"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large"):
            raise SamplingError(f"the variance {self.variance!r} is unknown", "Choose small or large.")

    def step(self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource) -> Step:
        """mean + sqrt(variance) z, and the mean alone at s = 0."""
        x0_hat: Images = denoiser(x_t, t)
        posterior = denoiser.schedule.posterior(x_t, x0_hat, t, s)
        if s == 0:
            return Step(posterior.mean, x0_hat)
        if self.variance == "large":
            posterior = Gaussian(posterior.mean, denoiser.schedule.transition(x_t, s, t).variance)
        return Step(posterior.sample(noise()), x0_hat)
