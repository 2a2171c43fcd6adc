"""Each deterministic solver's order of convergence, measured in float64 against the exact probability-flow ODE.

Halving the strides divides the error by 2^order. Multistep rules are handed the exact stops before the first, so that
their start does not hide their order; iPNDM is measured on equal strides in rho = sigma / alpha, its premise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor

from likelihood.exact_flow import QUANTILES, ExactFlow, GaussianFlow, MixtureFlow
from sfumato.diffusion.schedules import Custom, Flow, LinearBeta, Schedule, Shifted, VarianceExploding, ZeroTerminal
from sfumato.sampling.sampler import trajectory
from sfumato.sampling.solvers import (
    DDIM,
    DEIS,
    IPNDM,
    SOLVERS,
    Adaptive,
    DPMSolver,
    Euler,
    Heun,
    NoiseSource,
    Solver,
    SolverState,
    UniPC,
)
from sfumato.sampling.solvers.multistep import Multistep
from sfumato.sampling.timesteps import LogSNR, Trailing

ORDERS: list[tuple[Solver, int]] = [
    (DDIM(), 1),
    (Euler(), 1),
    (Heun(), 2),
    *((DPMSolver(order), order) for order in (1, 2, 3)),
    *((UniPC(order, "bh1"), order + 1) for order in (1, 2, 3)),
    *((UniPC(order, "bh2"), order + 1) for order in (1, 2, 3)),
    *((DEIS(order), order) for order in (1, 2, 3, 4)),
    *((IPNDM(order), order) for order in (1, 2, 3, 4)),
]
"""Solvers and their nominal orders."""


ANGULAR = Custom(lambda t: -2 * torch.log(torch.tan(math.pi / 2 * t)))
"""Variance preserving: alpha = cos(pi t / 2)."""


class Path(NamedTuple):
    """A stretch on which the order is measured: from a log-SNR of -`reach` to `reach`, up in t where that falls."""

    data: ExactFlow
    schedule: Schedule
    reach: float
    steps: int


PATHS = [
    Path(MixtureFlow(), Flow(), 0.5, 20),
    Path(MixtureFlow(), VarianceExploding(), -0.4, 20),
    Path(GaussianFlow(), ANGULAR, 0.7, 32),
]


def unused_noise() -> Tensor:
    pytest.fail("a deterministic solver drew noise")


def stops_of(solver: Solver, path: Path) -> Tensor:
    """`memory` stops before the path, and those of the path; equal strides in rho for iPNDM, in log-SNR for others."""
    share = torch.arange(-solver.memory, path.steps + 1, dtype=torch.float64) / path.steps
    if isinstance(solver, IPNDM):
        first, last = math.exp(path.reach / 2), math.exp(-path.reach / 2)
        return path.schedule.time_at(-2 * (first + (last - first) * share).log())
    return path.schedule.time_at(path.reach * (2 * share - 1))


def error(solver: Solver, path: Path) -> float:
    """Distance from the exact end of the path, of all points together."""
    data, schedule = path.data, path.schedule
    denoiser, timesteps = data.denoiser(schedule), stops_of(solver, path)
    exact = [data.at(schedule, t) for t in timesteps[: solver.memory + 1]]
    past = tuple(SolverState(t, x, denoiser(x, t)) for t, x in zip(timesteps, exact[:-1], strict=False))[::-1]
    x = exact[-1]
    for t, s in pairwise(timesteps[solver.memory :]):
        now, x = solver.step(denoiser, x, t, s, unused_noise, past)
        past = (now, *past)[: solver.memory]
    return (x - data.at(schedule, timesteps[-1])).norm().item()


def measured_order(solver: Solver, path: Path) -> float:
    """The slope between N and 2N steps."""
    return math.log2(error(solver, path) / error(solver, path._replace(steps=2 * path.steps)))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{type(path.data).__name__}-{type(path.schedule).__name__}")
@pytest.mark.parametrize(("solver", "order"), ORDERS, ids=str)
def test_the_measured_order_is_the_nominal_one(solver: Solver, order: int, path: Path) -> None:
    assert measured_order(solver, path) == pytest.approx(order, abs=0.15)


def test_every_deterministic_solver_of_the_table_is_measured() -> None:
    assert {one for one in SOLVERS.values() if one.deterministic} - {one for one, _ in ORDERS} == {Adaptive()}


@dataclass(frozen=True)
class Published(Multistep):
    """DPM-Solver++(3M) as its authors' code, diffusers and k-diffusion write it, for strides that are equal.

    D2 is a second divided difference, half a second derivative, but is weighted like the derivative.
    """

    highest_order: ClassVar[int] = 3
    order: int = 3

    def combine(self, schedule: Schedule, s: Tensor, timesteps: Sequence[SolverState], noise: NoiseSource) -> Tensor:  # noqa: ARG002
        """diffusers' `multistep_dpm_solver_third_order_update`, with r0 = r1 = 1."""
        m0, m1, m2 = (stop.x0_hat for stop in timesteps)
        h = (schedule.logsnr(s) - schedule.logsnr(timesteps[0].t)) / 2
        d1 = (m0 - m1) + ((m0 - m1) - (m1 - m2)) / 2
        d2 = ((m0 - m1) - (m1 - m2)) / 2
        return (
            schedule.sigma(s) / schedule.sigma(timesteps[0].t) * timesteps[0].x_t
            - schedule.alpha(s) * torch.expm1(-h) * m0
            + schedule.alpha(s) * (torch.expm1(-h) / h + 1) * d1
            - schedule.alpha(s) * ((torch.expm1(-h) + h) / h**2 - 0.5) * d2
        )


@pytest.mark.parametrize("path", PATHS[:2], ids=lambda path: type(path.schedule).__name__)
def test_the_published_3m_has_order_2_and_this_one_order_3(path: Path) -> None:
    published, ours = Published(), DPMSolver(3)
    assert measured_order(published, path) == pytest.approx(2, abs=0.15)
    assert measured_order(ours, path) == pytest.approx(3, abs=0.15)
    assert error(ours, path) < error(published, path) / 2


# From noise to data


WHOLE = [VarianceExploding(), Flow(), LinearBeta(), ZeroTerminal(LinearBeta()), Shifted(ANGULAR, 2.0)]
"""Schedules with and without signal at t = 1."""


def end_error(solver: Solver, schedule: Schedule, timesteps: Tensor) -> float:
    """Of the images that a trajectory from t = 1 to 0 ends with, the largest, for the points of a Gaussian."""
    data = GaussianFlow()
    *_, last = trajectory(data.denoiser(schedule), data.at(schedule, timesteps[0]), timesteps, solver, unused_noise)
    return (last.x_t - (0.4 + 0.5 * torch.special.ndtri(QUANTILES))).abs().max().item()


MOST_ERROR = {1: 0.08, 2: 0.02, 3: 0.007, 4: 0.0007}
"""In 40 steps, by order; data are N(0.4, 0.25)."""


@pytest.mark.parametrize("schedule", WHOLE[:2], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(("solver", "order"), ORDERS, ids=str)
def test_the_error_decreases_with_the_number_of_steps(solver: Solver, order: int, schedule: Schedule) -> None:
    errors = [end_error(solver, schedule, LogSNR()(schedule, steps)) for steps in (10, 40)]
    assert errors[1] < 0.7 * errors[0]
    assert errors[1] < MOST_ERROR[2 if isinstance(solver, IPNDM) and order > 2 else order]


@pytest.mark.parametrize("schedule", WHOLE, ids=lambda one: type(one).__name__)
def test_20_third_order_steps_are_enough_for_a_gaussian(schedule: Schedule) -> None:
    for solver in (UniPC(3), DPMSolver(3), DEIS(3)):
        assert end_error(solver, schedule, LogSNR()(schedule, 20)) < 0.015


@pytest.mark.parametrize("schedule", WHOLE[:4], ids=lambda one: type(one).__name__)
def test_one_adaptive_step_is_as_exact_as_requested(schedule: Schedule) -> None:
    """Up to the earliest time, where x0_hat takes over: (sigma / alpha)^2 / 2v there, 2e-4 of DDPM's first step."""
    timesteps = torch.tensor([1.0, schedule.earliest], dtype=torch.float64)
    data = GaussianFlow()
    for tolerance in (1e-5, 1e-9):
        solver = Adaptive(tolerance, tolerance)
        step = solver.step(data.denoiser(schedule), data.at(schedule, timesteps[0]), *timesteps, unused_noise, ())
        assert (step.x_s - data.at(schedule, timesteps[1])).abs().max() < 30 * tolerance
    assert end_error(Adaptive(1e-9, 1e-9), schedule, torch.tensor([1.0, 0.0], dtype=torch.float64)) < 3e-4


def test_ddim_on_a_discrete_grid_converges_for_prime_step_counts() -> None:
    """peers.md mistake 1: with t - T // N for the next stop, the error would not fall."""
    errors = [end_error(DDIM(), LinearBeta(), Trailing()(LinearBeta(), steps)) for steps in (13, 53, 211)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 0.02
