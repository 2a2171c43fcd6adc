"""The ancestral sampler on Gaussian data, where a trajectory's law is known in closed form, without drawing a sample.

The exact denoiser of a Gaussian is affine, so a step is x_s = slope x_t + shift + spread z, with z standard normal.
Three probes tell the three numbers, and composing them gives the mean and the variance of what the sampler draws.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple

import pytest
import torch
from torch import Tensor

from sfumato import grids, oracle
from sfumato.denoiser import Denoiser
from sfumato.errors import SamplingError
from sfumato.guidance import Clipped
from sfumato.schedule import LinearBeta
from sfumato.shapes import Times
from sfumato.solvers import Ancestral, NoiseSource, Solver, Step

DDPM = LinearBeta()
MEAN = 0.4
Variance = Literal["small", "large"]


class Law(NamedTuple):
    """Mean and variance of a pixel."""

    mean: float
    variance: float


def at(step: int) -> Tensor:
    """The time at which a step ends."""
    return torch.tensor(step / 1000, dtype=torch.float64)


def pixel(value: float) -> Tensor:
    """One grey image of one pixel."""
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


def data(variance: float, mean: float = MEAN) -> Denoiser:
    """The exact denoiser of N(mean, variance) for one pixel."""
    return oracle.gaussian(DDPM, torch.full((1, 1, 1), mean, dtype=torch.float64), variance)


def known(t: Tensor, variance: float, mean: float = MEAN) -> Law:
    """The true law of x_t for N(mean, variance) data. Formula 7."""
    alpha, sigma = DDPM.alpha(t).item(), DDPM.sigma(t).item()
    return Law(alpha * mean, alpha**2 * variance + sigma**2)


def after(solver: Solver, denoiser: Denoiser, law: Law, t: Tensor, s: Tensor) -> Law:
    """The law after a step from t to s, exactly."""
    x, z = torch.tensor([[0, 1, 0], [0, 0, 1]], dtype=torch.float64).reshape(2, 3, 1, 1, 1)
    shift, moved, noised = solver.step(denoiser, x, t, s, lambda: z).x_s.flatten().tolist()
    slope, spread = moved - shift, noised - shift
    return Law(slope * law.mean + shift, slope**2 * law.variance + spread**2)


@cache
def drawn(solver: Solver, variance: float, steps: int) -> list[Law]:
    """The law at every stop of a trajectory that begins with the true law of x_T."""
    denoiser, grid = data(variance), grids.uniform(1000, steps)
    laws = [known(grid[0], variance)]
    for t, s in pairwise(grid):
        laws.append(after(solver, denoiser, laws[-1], t, s))
    return laws


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("steps", [1000, 50, 7])
def test_the_mean_is_exact_at_every_stop(variance: Variance, steps: int) -> None:
    laws = drawn(Ancestral(variance), 0.25, steps)
    expected = [known(t, 0.25).mean for t in grids.uniform(1000, steps)]
    assert [law.mean for law in laws] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("steps", [1000, 50, 7])
def test_the_small_variance_is_exact_for_a_point(steps: int) -> None:
    laws = drawn(Ancestral("small"), 0.0, steps)
    expected = [known(t, 0.0) for t in grids.uniform(1000, steps)]
    assert [law.variance for law in laws] == pytest.approx([law.variance for law in expected], abs=1e-12)
    assert laws[-1] == pytest.approx((MEAN, 0), abs=1e-12)


@pytest.mark.parametrize("steps", [1000, 50, 7])
def test_the_large_variance_is_exact_for_standard_normal_data(steps: int) -> None:
    """At every stop but t = 0: the last step adds no noise, so it leaves alpha^2 of the stop before."""
    laws = drawn(Ancestral("large"), 1.0, steps)
    before_last = grids.uniform(1000, steps)[-2]
    assert [law.variance for law in laws[:-1]] == pytest.approx([1] * steps, abs=1e-12)
    assert laws[-1].variance == pytest.approx(DDPM.alpha(before_last).item() ** 2, abs=1e-12)


@pytest.mark.parametrize(("t", "s"), [(1000, 999), (500, 499), (2, 1), (1000, 800), (520, 500), (20, 1)])
def test_a_step_loses_exactly_the_spread_of_x_0_around_its_estimate(t: int, s: int) -> None:
    """The law of total variance: Var x_s is that of the step plus (d mean / d x_0)^2 Var(x_0 | x_t)."""
    variance = 0.25
    alpha, sigma = DDPM.alpha(at(t)).item(), DDPM.sigma(at(t)).item()
    hidden = variance * sigma**2 / (alpha**2 * variance + sigma**2)
    beta = 1 - (alpha / DDPM.alpha(at(s)).item()) ** 2  # of the stride
    weight = DDPM.alpha(at(s)).item() * beta / sigma**2  # of x_0 in formula 9
    law = after(Ancestral("small"), data(variance), known(at(t), variance), at(t), at(s))
    assert law.variance + weight**2 * hidden == pytest.approx(known(at(s), variance).variance, abs=1e-12)


TOLERANCES = [
    # steps, variance, relative error of the standard deviation at most
    (1000, "small", 0.01),
    (1000, "large", 0.01),
    (50, "small", 0.15),
    (50, "large", 0.03),
]


@pytest.mark.parametrize(("steps", "variance", "tolerance"), TOLERANCES)
def test_general_gaussian_data_are_met_within_a_tolerance_that_falls_with_the_steps(
    steps: int, variance: Variance, tolerance: float
) -> None:
    law = drawn(Ancestral(variance), 0.25, steps)[-1]
    assert law.mean == pytest.approx(MEAN, abs=1e-12)
    assert law.variance**0.5 == pytest.approx(0.5, rel=tolerance)


@pytest.mark.parametrize("steps", [1000, 50])
def test_the_truth_lies_between_the_two_variances(steps: int) -> None:
    """DDPM, section 3.2: they are the lower and the upper bound, for data of a variance between 0 and 1."""
    grid = grids.uniform(1000, steps)
    small, large = drawn(Ancestral("small"), 0.25, steps), drawn(Ancestral("large"), 0.25, steps)
    for t, low, high in zip(grid[1:-1], small[1:], large[1:], strict=False):
        assert low.variance < known(t, 0.25).variance < high.variance


@dataclass(frozen=True)
class OneStepBeta:
    """The mistake of diffusers#3006: over a stride, the noise of a single step."""

    def step(self, denoiser: Denoiser, x_t: Tensor, t: Times, s: Times, noise: NoiseSource) -> Step:
        """Ancestral's, with the variance of the step that ends at t."""
        posterior = denoiser.schedule.posterior(x_t, denoiser(x_t, t), t, s)
        beta = denoiser.schedule.transition(x_t, (t * 1000 - 1) / 1000, t).variance
        z = noise() if s > 0 else torch.zeros_like(x_t)
        return Step(posterior.mean + beta.sqrt() * z, x_t)


def test_the_tolerance_tells_a_strides_noise_from_a_single_steps() -> None:
    mistaken, right = drawn(OneStepBeta(), 0.25, 50)[-1], drawn(Ancestral("large"), 0.25, 50)[-1]
    assert abs(right.variance**0.5 - 0.5) < 0.03 * 0.5
    assert abs(mistaken.variance**0.5 - 0.5) > 0.3 * 0.5


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_last_step_adds_no_noise_and_ends_on_the_estimate(variance: Variance) -> None:
    def no_noise() -> Tensor:
        pytest.fail("noise was drawn for the step that ends at t = 0")

    x_s, x0_hat = Ancestral(variance).step(data(0.25), pixel(0.7), at(20), at(0), no_noise)
    assert x_s.item() == pytest.approx(x0_hat.item(), abs=1e-14)
    assert x0_hat.item() == pytest.approx(data(0.25)(pixel(0.7), at(20)).item())


def test_a_step_goes_by_the_clipped_estimate() -> None:
    x_t, z = pixel(1.8), pixel(-0.7)
    x_s, x0_hat = Ancestral().step(Clipped(data(0.0, mean=3.0)), x_t, at(300), at(200), lambda: z)
    posterior = DDPM.posterior(x_t, pixel(1), at(300), at(200))
    assert x0_hat.item() == 1
    assert x_s.item() == posterior.sample(z).item()


@pytest.mark.usefixtures("unchecked")
def test_a_misspelt_variance_is_refused() -> None:
    with pytest.raises(SamplingError, match=r"'smal'.*small or large"):
        Ancestral("smal")  # type: ignore[arg-type]
