"""Adaptive integration of the probability-flow ODE to a tolerance.

Scaled to unit variance, every Gaussian diffusion is a rotation from data to noise, z = cos(a) x_0 + sin(a) noise with
tan(a) = sigma / alpha, whose ODE is smooth on the whole interval (TrigFlow, arXiv 2410.11081, section 3):

    dz/da = cos(a) noise_hat - sin(a) x0_hat
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import Schedule
from sfumato.sampling.ode import check_tolerances, integrate
from sfumato.sampling.solvers.base import NoiseSource, Solver, SolverState, Step
from sfumato.utils.shapes import Images, Times, over


@dataclass(frozen=True)
class Adaptive(Solver):
    """Dormand-Prince method of order 5 between two times, with as many evaluations as the tolerances require.

    The step to t = 0 integrates to the schedule's earliest time and returns x0_hat there. The images of a batch share
    their steps, so that within the tolerances results depend on the batch.

    Args:
        rtol: relative tolerance per step.
        atol: absolute tolerance per step.

    Raises:
        SamplingError: a tolerance that is not positive.
    """

    default_steps: ClassVar[int] = 1  # it chooses its own steps in between
    rtol: float = 1e-5
    atol: float = 1e-5

    def __post_init__(self) -> None:
        check_tolerances(self.rtol, self.atol)

    def step(
        self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource, past: Sequence[SolverState]
    ) -> Step:
        """Integrates the ODE from t to s."""
        now = SolverState(t, x_t, denoiser(x_t, t))
        if s > 0:
            return Step(now, self.follow(denoiser, x_t, t, s))
        earliest = torch.full_like(t, denoiser.schedule.earliest).minimum(t)
        return Step(now, denoiser(self.follow(denoiser, x_t, t, earliest), earliest))

    def follow(self, denoiser: Denoiser, x_t: Images, t: Times, s: Times) -> Images:
        """x_s on the probability-flow ODE through x_t, for s above 0, above or below t."""
        schedule = denoiser.schedule
        z = x_t / over(_length(schedule, t), x_t)
        z = integrate(
            lambda a, z: flow(denoiser, a, z),
            z,
            angle(schedule, t),
            angle(schedule, s),
            rtol=self.rtol,
            atol=self.atol,
        )
        return z * over(_length(schedule, s), x_t)


def flow(denoiser: Denoiser, a: float, z: Images) -> Images:
    """dz/da at the angle a in (0, pi / 2]."""
    schedule = denoiser.schedule
    t = schedule.time_at(torch.tensor(-2 * math.log(math.tan(a)), dtype=torch.float64))
    x0_hat: Images = denoiser(z * over(_length(schedule, t), z), t)
    noise_hat = (z - math.cos(a) * x0_hat) / math.sin(a)
    return math.cos(a) * noise_hat - math.sin(a) * x0_hat


def angle(schedule: Schedule, t: Times) -> float:
    """a with tan(a) = sigma / alpha: 0 for data, pi / 2 for noise."""
    return math.atan2(schedule.sigma(t).item(), schedule.alpha(t).item())


def _length(schedule: Schedule, t: Times) -> Times:
    return (schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2).sqrt()
