"""Base class of solvers: a step rule from x_t to x_s, s < t.

A step uses a denoiser with its schedule, two times, a source of noise and the previous states. The time grid is chosen
separately.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from sfumato.diffusion.denoiser import Denoiser
from sfumato.utils.shapes import Images, Times, over

NoiseSource = Callable[[], Images]
"""Returns new standard normal noise with the shape of the batch at each call."""


class SolverState(NamedTuple):
    """State at a timestep: time (), noisy images and estimate of the clean images, (n, C, H, W) each."""

    t: Times
    x_t: Images
    x0_hat: Images


class Step(NamedTuple):
    """Result of a step: the state at its start, as used by the solver, and x_s."""

    now: SolverState
    x_s: Images


def noise_in(x_t: Images, x0_hat: Images, alpha: Times, sigma: Times) -> Images:
    """The noise for an estimate of the clean images: (x_t - alpha x0_hat) / sigma."""
    return (x_t - over(alpha, x_t) * x0_hat) / over(sigma, x_t)


class Solver(ABC):
    """Base class of solvers."""

    default_steps: ClassVar[int] = 20
    """Default number of sampling steps."""
    default_grid: ClassVar[str] = "logsnr"
    """Name of the default time grid."""

    @property
    def memory(self) -> int:
        """Number of previous states that a step uses."""
        return 0

    @property
    def min_steps(self) -> int:
        """Minimum number of sampling steps."""
        return 1

    @property
    def deterministic(self) -> bool:
        """Whether the solver uses no noise, and so integrates the probability-flow ODE."""
        return True

    @abstractmethod
    def step(
        self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource, past: Sequence[SolverState]
    ) -> Step:
        """Computes x_s from x_t.

        Args:
            denoiser: denoiser with fixed labels, if any.
            x_t: (n, C, H, W) noisy images.
            t: () time of x_t.
            s: () time of the result, below t (above t for encoding); 0 for clean images.
            noise: returns new standard normal noise.
            past: previous states, newest first; at most `memory`.

        Returns:
            The state at t and x_s (n, C, H, W).
        """
