"""Solvers that draw noise, on Gaussian data, where a trajectory's law is known in closed form without drawing a sample.

The exact denoiser of a Gaussian is affine, so what a sampler draws is x = shift + slope x_T + sum of spread_k z_k, with
z_k the standard normal noise of its k-th draw. One trajectory of a batch of probes, in each of which one of x_T and z_k
is 1 and all else is 0, tells all numbers, and with them the mean and the variance, exactly.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Literal, NamedTuple

import pytest
import torch
from torch import Tensor

from diffusion.one_pixel import LINEAR, MEAN, at, data, every_schedule, kind_of, no_noise, pixel
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import Clipped
from sfumato.diffusion.schedules import Flow, Schedule, VarianceExploding
from sfumato.sampling.sampler import trajectory
from sfumato.sampling.solvers import (
    DDIM,
    DDPM,
    DEIS,
    DPMSolver,
    Euler,
    Heun,
    NoiseSource,
    Solver,
    SolverState,
    Step,
    UniPC,
)
from sfumato.sampling.timesteps import LogSNR, TimeGrid, Trailing

Variance = Literal["small", "large"]


class Law(NamedTuple):
    """Mean and variance of a pixel."""

    mean: float
    variance: float


def known(t: Tensor, variance: float, schedule: Schedule = LINEAR) -> Law:
    """The true law of x_t for N(MEAN, variance) data. Formula 7."""
    alpha, sigma = schedule.alpha(t).item(), schedule.sigma(t).item()
    return Law(alpha * MEAN, alpha**2 * variance + sigma**2)


def drawn_from(denoiser: Denoiser, solver: Solver, timesteps: Tensor, first: Law) -> list[tuple[Tensor, Law]]:
    """The time and the law of x at every stop of a trajectory that begins with a law of x_T."""
    probes = torch.zeros(2 + len(timesteps), 1, 1, 1, dtype=torch.float64)
    probes[1] = 1
    draw = count(2)

    def noise() -> Tensor:
        z = torch.zeros_like(probes)
        z[next(draw)] = 1
        return z

    laws = []
    for t, x_t, _ in trajectory(denoiser, probes, timesteps, solver, noise):
        shift, gains = x_t[0].item(), x_t[1:].flatten() - x_t[0].flatten()
        variance = gains[0] ** 2 * first.variance + gains[1:].square().sum()
        laws.append((t, Law(shift + gains[0].item() * first.mean, variance.item())))
    return laws


@cache
def drawn(
    solver: Solver,
    variance: float,
    steps: int,
    schedule: Schedule = LINEAR,
    grid: TimeGrid = Trailing(),  # noqa: B008
) -> list[Law]:
    """The law at every stop of a trajectory that begins with the true law of x_T."""
    timesteps = grid(schedule, steps)
    first = known(timesteps[0], variance, schedule)
    return [law for _, law in drawn_from(data(variance, schedule=schedule), solver, timesteps, first)]


# The ancestral sampler


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("steps", [100, 50, 7])
def test_the_mean_is_exact_at_every_state(variance: Variance, steps: int) -> None:
    laws = drawn(DDPM(variance), 0.25, steps)
    expected = [known(t, 0.25).mean for t in Trailing()(LINEAR, steps)]
    assert [law.mean for law in laws] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("steps", [100, 50, 7])
def test_the_small_variance_is_exact_for_a_point(steps: int) -> None:
    laws = drawn(DDPM("small"), 0.0, steps)
    expected = [known(t, 0.0) for t in Trailing()(LINEAR, steps)]
    assert [law.variance for law in laws] == pytest.approx([law.variance for law in expected], abs=1e-12)
    assert laws[-1] == pytest.approx((MEAN, 0), abs=1e-12)


@pytest.mark.parametrize("steps", [100, 50, 7])
def test_the_large_variance_is_exact_for_standard_normal_data(steps: int) -> None:
    """At every stop but t = 0: the last step adds no noise, so it leaves alpha^2 of the stop before."""
    laws = drawn(DDPM("large"), 1.0, steps)
    before_last = Trailing()(LINEAR, steps)[-2]
    assert [law.variance for law in laws[:-1]] == pytest.approx([1] * steps, abs=1e-12)
    assert laws[-1].variance == pytest.approx(LINEAR.alpha(before_last).item() ** 2, abs=1e-12)


@pytest.mark.parametrize(("t", "s"), [(1000, 999), (500, 499), (2, 1), (1000, 800), (520, 500), (20, 1)])
def test_a_step_loses_the_spread_of_x_0_around_its_estimate(t: int, s: int) -> None:
    """The law of total variance: Var x_s is that of the step plus (d mean / d x_0)^2 Var(x_0 | x_t)."""
    variance = 0.25
    alpha, sigma = LINEAR.alpha(at(t)).item(), LINEAR.sigma(at(t)).item()
    hidden = variance * sigma**2 / (alpha**2 * variance + sigma**2)
    beta = 1 - (alpha / LINEAR.alpha(at(s)).item()) ** 2  # of the stride
    weight = LINEAR.alpha(at(s)).item() * beta / sigma**2  # of x_0 in formula 9
    _, (_, law) = drawn_from(data(variance), DDPM("small"), torch.stack([at(t), at(s)]), known(at(t), variance))
    assert law.variance + weight**2 * hidden == pytest.approx(known(at(s), variance).variance, abs=1e-12)


TOLERANCES = [
    # steps, variance, relative error of the standard deviation at most
    (100, "small", 0.08),
    (100, "large", 0.02),
    (50, "small", 0.15),
    (50, "large", 0.03),
]


@pytest.mark.parametrize(("steps", "variance", "tolerance"), TOLERANCES)
def test_gaussian_data_are_sampled_more_exactly_with_more_steps(
    steps: int, variance: Variance, tolerance: float
) -> None:
    law = drawn(DDPM(variance), 0.25, steps)[-1]
    assert law.mean == pytest.approx(MEAN, abs=1e-12)
    assert law.variance**0.5 == pytest.approx(0.5, rel=tolerance)


@pytest.mark.parametrize("steps", [100, 50])
def test_the_exact_variance_is_between_small_and_large(steps: int) -> None:
    """DDPM, section 3.2: they are the lower and the upper bound, for data of a variance between 0 and 1."""
    grid = Trailing()(LINEAR, steps)
    small, large = drawn(DDPM("small"), 0.25, steps), drawn(DDPM("large"), 0.25, steps)
    for t, low, high in zip(grid[1:-1], small[1:], large[1:], strict=False):
        assert low.variance < known(t, 0.25).variance < high.variance


@dataclass(frozen=True)
class OneStepBeta(Solver):
    """The mistake of diffusers#3006: over a stride, the noise of a single step."""

    def step(
        self,
        denoiser: Denoiser,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        noise: NoiseSource,
        past: Sequence[SolverState],  # noqa: ARG002
    ) -> Step:
        """Ancestral's, with the variance of the step that ends at t."""
        x0_hat = denoiser(x_t, t)
        posterior = denoiser.schedule.posterior(x_t, x0_hat, t, s)
        beta = denoiser.schedule.transition(x_t, (t * 1000 - 1) / 1000, t).variance
        z = noise() if s > 0 else torch.zeros_like(x_t)
        return Step(SolverState(t, x_t, x0_hat), posterior.mean + beta.sqrt() * z)


def test_the_tolerance_detects_the_noise_of_a_single_step() -> None:
    """peers.md mistake 2."""
    mistaken, right = drawn(OneStepBeta(), 0.25, 50)[-1], drawn(DDPM("large"), 0.25, 50)[-1]
    assert abs(right.variance**0.5 - 0.5) < 0.03 * 0.5
    assert abs(mistaken.variance**0.5 - 0.5) > 0.3 * 0.5


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_last_step_adds_no_noise_and_ends_at_the_estimate(variance: Variance) -> None:
    now, x_s = DDPM(variance).step(data(0.25), pixel(0.7), at(20), at(0), no_noise, ())
    assert x_s.item() == pytest.approx(now.x0_hat.item(), abs=1e-14)
    assert now.x0_hat.item() == pytest.approx(data(0.25)(pixel(0.7), at(20)).item())


def test_a_step_uses_the_clipped_estimate() -> None:
    """peers.md mistake 4."""
    x_t, z = pixel(1.8), pixel(-0.7)
    now, x_s = DDPM().step(Clipped(data(0.0, mean=3.0)), x_t, at(300), at(200), lambda: z, ())
    posterior = LINEAR.posterior(x_t, pixel(1), at(300), at(200))
    assert now.x0_hat.item() == 1
    assert x_s.item() == posterior.sample(z).item()


# All that draw noise


STOCHASTIC: list[Solver] = [
    DDPM("small"),
    DDIM(0.5),
    DDIM(1.0),
    *(DPMSolver(order, eta) for order in (1, 2, 3) for eta in (0.5, 1.0)),
    Euler(0.1),
    Heun(0.1),
    Euler(0.4, churn_from=0.1, churn_to=5.0),
]


@every_schedule
@pytest.mark.parametrize("solver", [*STOCHASTIC, DDIM(), Euler(), Heun(), DPMSolver(3), UniPC(3), DEIS(4)], ids=str)
def test_the_distribution_of_a_point_is_exact_at_every_state(solver: Solver, schedule: Schedule) -> None:
    """N(alpha x_0, sigma^2): no noise is lost and none is left over, at any eta or churn."""
    timesteps = LogSNR()(schedule, 7)
    for t, law in drawn_from(data(0.0, schedule=schedule), solver, timesteps, known(timesteps[0], 0.0, schedule)):
        expected = known(t, 0.0, schedule)
        assert law.mean == pytest.approx(expected.mean, abs=1e-11)
        assert law.variance == pytest.approx(expected.variance, rel=1e-10, abs=1e-20)


SPREADING: list[tuple[Callable[[int], Solver], int]] = [
    # a solver for a number of steps, the weak order
    (lambda _: DDPM("small"), 1),
    (lambda _: DDPM("large"), 1),
    (lambda _: DDIM(0.5), 1),
    (lambda _: DDIM(1.0), 1),
    (lambda _: DPMSolver(1, 1.0), 1),
    (lambda _: DPMSolver(2, 1.0), 2),
    (lambda _: DPMSolver(2, 0.5), 2),
    (lambda steps: Euler(10 / steps), 1),
    (lambda steps: Heun(5 / steps), 2),
]


@pytest.mark.parametrize("schedule", [VarianceExploding(), Flow()], ids=kind_of)
@pytest.mark.parametrize(("make", "order"), SPREADING, ids=lambda one: str(one(100)) if callable(one) else "")
def test_moments_of_gaussian_data_converge_with_the_weak_order(
    make: Callable[[int], Solver], order: int, schedule: Schedule
) -> None:
    """The mean at once; the error of the spread falls by 2^order if the strides are halved."""
    laws = [drawn(make(steps), 0.25, steps, schedule, LogSNR())[-1] for steps in (50, 100)]
    errors = [abs(law.variance**0.5 - 0.5) for law in laws]
    assert [law.mean for law in laws] == pytest.approx([MEAN, MEAN], abs=1e-12)
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)
    assert errors[1] < (0.04 if order == 1 else 0.002)


@pytest.mark.parametrize("schedule", [VarianceExploding(), Flow()], ids=kind_of)
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_the_third_order_sde_has_the_smallest_spread_error(schedule: Schedule, eta: float) -> None:
    """By the noise in its extrapolation its weak order is 2, with a smaller constant than 2M's."""
    error = {
        (order, steps): abs(drawn(DPMSolver(order, eta), 0.25, steps, schedule, LogSNR())[-1].variance ** 0.5 - 0.5)
        for order in (1, 2, 3)
        for steps in (25, 50)
    }
    assert error[3, 50] < error[2, 50] < error[1, 50] / 8
    assert error[3, 50] < error[3, 25] / 4
