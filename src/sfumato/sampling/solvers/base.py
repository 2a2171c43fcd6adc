"""What a step rule is: from x_t to x_s, s < t, with a denoiser.

A solver sees a denoiser (and through it the schedule), two times, a source of noise and the stops behind it; the grid
is chosen elsewhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sfumato.diffusion.denoiser import Denoiser
from sfumato.sampling import defaults
from sfumato.utils.shapes import Images, Times

NoiseSource = Callable[[], Images]
"""Draws standard normal noise of the batch's shape, fresh at each call."""


class SolverState(NamedTuple):
    """One stop of a trajectory: the time, the noisy images, and the estimate of the clean ones."""

    t: Times
    x_t: Images
    x0_hat: Images


class Step(NamedTuple):
    """What a step leaves: the stop it began at, as the rule saw it, and the new x_s."""

    now: SolverState
    x_s: Images


class Solver(ABC):
    """One step rule."""

    @property
    def memory(self) -> int:
        """How many earlier stops the rule looks back on."""
        return 0

    @property
    def min_steps(self) -> int:
        """Fewer steps than this make no use of the rule, and are refused."""
        return 1

    @property
    def default_steps(self) -> int:
        """How many steps suit it where none are named."""
        return 20

    @property
    def default_grid(self) -> str:
        """The grid that suits it where none is named."""
        return defaults.GRID

    @property
    def deterministic(self) -> bool:
        """Whether the rule never draws noise, and so follows the probability-flow ODE."""
        return True

    @abstractmethod
    def step(
        self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource, past: Sequence[SolverState]
    ) -> Step:
        """From x_t at t to x_s at s.

        Args:
            denoiser: whose labels, if any, are settled.
            x_t: the noisy images.
            t: their time, of shape ().
            s: the time wanted, of shape (); below t (above it where an image is encoded), and 0 for clean images.
            noise: fresh standard normal noise.
            past: the stops before this one, the latest first; at most `memory` of them.
        """
