"""The adaptive integrator: its coefficients as rational numbers, and its error control with known solutions."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from sfumato.diffusion import analytic
from sfumato.diffusion.schedules import SCHEDULES, Flow, ZeroTerminal
from sfumato.errors import SamplingError
from sfumato.sampling import ode
from sfumato.sampling.ode import integrate
from sfumato.sampling.solvers import Adaptive, SolverState
from sfumato.sampling.solvers.adaptive import angle, flow

Tree = tuple["Tree", ...]
"""A rooted tree, as the trees above its root. Each stands for one condition on a Runge-Kutta method."""


def trees(order: int) -> set[Tree]:
    """All rooted trees with so many nodes."""
    return {tuple(sorted(branches)) for branches in forests(order - 1)}


def forests(nodes: int) -> Iterator[Tree]:
    """All bundles of trees with so many nodes in all; some of them more than once."""
    if nodes == 0:
        yield ()
    for first in range(1, nodes + 1):
        for rest in forests(nodes - first):
            yield from ((tree, *rest) for tree in trees(first))


def size(tree: Tree) -> int:
    return 1 + sum(map(size, tree))


def gamma(tree: Tree) -> int:
    """The density of a tree. Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", II.2."""
    return size(tree) * math.prod(map(gamma, tree))


def exact(row: tuple[float, ...]) -> list[Fraction]:
    return [Fraction(entry).limit_denominator(10**6) for entry in row]


def padded(row: tuple[float, ...]) -> list[Fraction]:
    return exact(row) + [Fraction(0)] * (len(ode.NODES) - len(row))


A = [padded(stage) for stage in ode.STAGES]


def weights_of(tree: Tree) -> list[Fraction]:
    """The elementary weight of a tree at each stage."""
    product = [Fraction(1)] * len(A)
    for branch in tree:
        inner = weights_of(branch)
        product = [p * sum(a * w for a, w in zip(row, inner, strict=True)) for p, row in zip(product, A, strict=True)]
    return product


def met(b: list[Fraction], tree: Tree) -> bool:
    """Butcher's condition: sum of b_i phi_i(tree) = 1 / gamma(tree)."""
    return sum(x * w for x, w in zip(b, weights_of(tree), strict=True)) == Fraction(1, gamma(tree))


def test_the_numbers_of_rooted_trees_are_those_of_the_literature() -> None:
    assert [len(trees(order)) for order in range(1, 7)] == [1, 1, 2, 4, 9, 20]


@pytest.mark.parametrize(("b", "order"), [(padded(ode.STAGES[-1]), 5), (exact(ode.FOURTH), 4)])
def test_each_result_has_exactly_its_order(b: list[Fraction], order: int) -> None:
    assert all(met(b, tree) for lower in range(1, order + 1) for tree in trees(lower))
    assert not all(met(b, tree) for tree in trees(order + 1))


def test_the_node_of_a_stage_is_the_sum_of_its_weights() -> None:
    assert [sum(row) for row in A] == exact(ode.NODES)


def test_the_error_is_the_difference_of_the_two_results() -> None:
    fifth, fourth = padded(ode.STAGES[-1]), exact(ode.FOURTH)
    assert exact(ode.ERROR) == [x - y for x, y in zip(fifth, fourth, strict=True)]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Counted:
    """A field that counts its evaluations and keeps where they were."""

    def __init__(self, field: Callable[[float, Tensor], Tensor]) -> None:
        self.field, self.visited = field, list[float]()

    def __call__(self, u: float, x: Tensor) -> Tensor:
        """The slope."""
        self.visited.append(u)
        return self.field(u, x)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
@pytest.mark.parametrize(("start", "end"), [(0.0, 2.0), (2.0, 0.0), (-1.0, -3.0)])
def test_exponential_growth_is_integrated_within_the_tolerance(start: float, end: float, tolerance: float) -> None:
    """dx/du = u x, with a rate that differs by entry."""
    x, rates = 1 + randn(3, 4).abs(), torch.tensor([[0.1], [1.0], [-2.0]], dtype=torch.float64)
    reached = integrate(lambda u, x: rates * u * x, x, start, end, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        reached, x * torch.exp(rates * (end**2 - start**2) / 2), rtol=30 * tolerance, atol=30 * tolerance
    )


def test_a_full_rotation_returns_to_the_start() -> None:
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    x = randn(5, 2)
    there = integrate(lambda _, x: x @ turn, x, 0.0, 2 * math.pi, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(there, x, rtol=0, atol=1e-7)
    half = integrate(lambda _, x: x @ turn, x, 0.0, math.pi, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(half, -x, rtol=0, atol=1e-7)


def test_the_error_decreases_with_fifth_order() -> None:
    """Evaluations grow like tolerance^(-1/5), and the error like the tolerance."""
    x, errors, counts = torch.ones(1, 1, dtype=torch.float64), [], []
    for tolerance in (1e-5, 1e-10):
        field = Counted(lambda u, x: x * math.cos(u))
        reached = integrate(field, x, 0.0, 20.0, rtol=tolerance, atol=tolerance)
        errors.append(abs(reached.item() - math.exp(math.sin(20.0))))
        counts.append(len(field.visited))
    assert 4 < math.log10(errors[0] / errors[1]) < 6
    assert 0.8 < 5 * math.log10(counts[1] / counts[0]) / 5 < 1.2


def test_a_step_costs_six_evaluations_and_reuses_the_last_slope() -> None:
    field = Counted(lambda _, x: -x)
    integrate(field, torch.ones(1, 1, dtype=torch.float64), 0.0, 1.0, rtol=1e-6, atol=1e-6)
    steps, rest = divmod(len(field.visited) - 1, 6)
    assert rest == 0
    assert steps <= 7
    for step in range(steps):
        assert field.visited[6 * step + 5] == field.visited[6 * step + 6]  # stages 6 and 7 end the step


def test_a_constant_field_is_integrated_exactly_in_few_steps() -> None:
    """The first step is a hundredth of the way, and each is at most five times as long as the one before."""
    field = Counted(lambda _, x: torch.full_like(x, 3.0))
    reached = integrate(field, torch.zeros(2, 3, dtype=torch.float64), 1.0, 5.0, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(reached, torch.full((2, 3), 12.0, dtype=torch.float64))
    assert len(field.visited) == 1 + 6 * 4  # 0.01, 0.05, 0.25 of the way, and the rest of it
    assert max(field.visited) == 5.0


def test_the_hardest_entry_of_a_batch_determines_the_steps() -> None:
    def count(rates: list[float]) -> int:
        field = Counted(lambda _, x: torch.tensor(rates, dtype=torch.float64)[:, None] * x)
        integrate(field, torch.ones(len(rates), 1, dtype=torch.float64), 0.0, 1.0, rtol=1e-8, atol=1e-8)
        return len(field.visited)

    assert count([0.0] * 50 + [-9.0]) == count([-9.0]) > count([0.0])


@pytest.mark.parametrize("rtol_alone", [True, False])
def test_each_tolerance_alone_increases_the_steps(rtol_alone: bool) -> None:
    """At values around 1000, a relative tolerance allows a thousand times the error of an absolute one."""
    x = torch.full((1, 1), 1000.0, dtype=torch.float64)
    rtol, atol = (1e-6, 1e-12) if rtol_alone else (1e-12, 1e-3)
    field = Counted(lambda u, x: x * math.cos(3 * u))
    reached = integrate(field, x, 0.0, 3.0, rtol=rtol, atol=atol)
    error = abs(reached.item() / 1000 / math.exp(math.sin(9) / 3) - 1)
    assert 1e-8 < error < 1e-5
    assert len(field.visited) < 160


def test_steps_increase_again_after_a_peak() -> None:
    """A peak of width 0.01, wide enough at its foot not to be stepped over; its integral is an arc tangent."""
    field = Counted(lambda u, x: torch.full_like(x, 1 / (1 + (u / 0.01) ** 2)))
    reached = integrate(field, torch.zeros(1, 1, dtype=torch.float64), -0.2, 1.0, rtol=1e-8, atol=1e-8)
    assert reached.item() == pytest.approx(0.01 * (math.atan(100) + math.atan(20)), abs=1e-6)
    assert sum(u < -0.1 for u in field.visited) < 30
    assert sum(abs(u) < 0.05 for u in field.visited) > 60
    assert sum(u > 0.1 for u in field.visited) < 60


def test_a_last_step_that_is_too_inexact_is_shortened() -> None:
    """The way into the peak, along which the steps have grown before it comes."""
    field = Counted(lambda u, x: torch.full_like(x, 1 / (1 + (u / 0.01) ** 2)))
    reached = integrate(field, torch.zeros(1, 1, dtype=torch.float64), 1.0, 0.0, rtol=1e-4, atol=1e-4)
    assert reached.item() == pytest.approx(-0.01 * math.atan(100), abs=1e-4)
    assert field.visited.count(0.0) > 2  # stages 6 and 7 of the step that was refused, and of the one that was not


def test_the_tolerance_does_not_depend_on_the_number_of_pixels() -> None:
    def visited(pixels: int) -> list[float]:
        field = Counted(lambda u, x: x * math.cos(3 * u))
        integrate(field, torch.ones(2, pixels, dtype=torch.float64), 0.0, 3.0, rtol=1e-6, atol=1e-6)
        return field.visited

    assert visited(1) == visited(100)


def test_the_relative_tolerance_uses_the_larger_end_of_a_step() -> None:
    """From x = 0, whose own share of the tolerance is next to nothing, the first step is taken all the same."""
    field = Counted(lambda u, x: torch.full_like(x, math.cos(30 * u)))
    integrate(field, torch.zeros(1, 1, dtype=torch.float64), 0.0, 1.0, rtol=1e-3, atol=1e-14)
    assert field.visited[5:7] == [0.01, 0.01]
    assert field.visited[7] > 0.01


def test_an_empty_interval_needs_no_evaluation() -> None:
    field, x = Counted(lambda _, x: x), torch.ones(1, 1)
    assert integrate(field, x, 0.5, 0.5, rtol=1e-5, atol=1e-5) is x
    assert field.visited == []


def test_steps_become_smaller_near_an_undefined_region() -> None:
    """dx/du = -sqrt(x) is NaN for x < 0, where a long step tries to go; the solution (1 - u/2)^2 never does."""
    x = torch.ones(1, 1, dtype=torch.float64)
    reached = integrate(lambda _, x: -1e3 * x.sqrt(), x, 0.0, 1.9e-3, rtol=1e-6, atol=1e-6)
    assert reached.item() == pytest.approx(0.0025, rel=1e-3)


@pytest.mark.parametrize(("start", "end"), [(0.0, 2.0**-30), (2.0**24, 2.0**24 + 2.0**-10)])
def test_short_intervals_are_integrated_from_any_start(start: float, end: float) -> None:
    """A rotation, fast enough for the first step to be refused; the second way is 2^18 roundings of u long."""
    turn = 40 / (end - start) * torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    reached = integrate(lambda _, x: x @ turn, torch.eye(2).double()[:1], start, end, rtol=1e-7, atol=1e-7)
    assert reached.flatten().tolist() == pytest.approx([math.cos(40), -math.sin(40)], abs=0.01)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_field_that_is_not_finite_is_rejected(value: float) -> None:
    field = Counted(lambda _, x: torch.full_like(x, value))
    with pytest.raises(SamplingError, match=r"cannot reach rtol 1e-05 and atol 1e-05 \(at 0 between 0 and 1\)"):
        integrate(field, torch.ones(1, 1), 0.0, 1.0, rtol=1e-5, atol=1e-5)
    assert len(field.visited) < 150


def test_a_singularity_is_rejected_with_its_position() -> None:
    """dx/du = 1 / (1 - u)^2 is infinite at u = 1."""
    with pytest.raises(SamplingError, match=r"at 0\.99|at 1 between"):
        integrate(lambda _, x: x**2, torch.ones(1, 1, dtype=torch.float64), 0.0, 2.0, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("rtol", "atol"), [(0.0, 1e-5), (1e-5, 0.0), (-1.0, 1.0), (math.nan, 1.0), (math.inf, 1.0), (1.0, math.inf)]
)
def test_tolerances_that_are_not_positive_are_rejected(rtol: float, atol: float) -> None:
    with pytest.raises(SamplingError, match="Choose both above 0"):
        integrate(lambda _, x: x, torch.ones(1, 1), 0.0, 1.0, rtol=rtol, atol=atol)
    with pytest.raises(SamplingError, match="Choose both above 0"):
        Adaptive(rtol, atol)


def test_float32_is_kept() -> None:
    reached = integrate(lambda _, x: -x, torch.ones(1, 1), 0.0, 1.0, rtol=1e-5, atol=1e-5)
    assert reached.dtype == torch.float32
    assert reached.item() == pytest.approx(math.exp(-1), abs=2e-5)


def at(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


def no_noise() -> Tensor:
    raise AssertionError("an ODE solver drew noise")


MEAN, VARIANCE = 0.3 * randn(1, 2, 2, seed=1), 0.2


def gaussian_path(schedule: object, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The flow of N(mean, v): x keeps its distance to alpha mean, in standard deviations sqrt(alpha^2 v + sigma^2)."""
    (a_t, b_t), (a_s, b_s) = ((schedule.alpha(u), schedule.sigma(u)) for u in (t, s))  # type: ignore[attr-defined]
    ratio = ((a_s**2 * VARIANCE + b_s**2) / (a_t**2 * VARIANCE + b_t**2)).sqrt()
    return a_s * MEAN + ratio * (x_t - a_t * MEAN)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("t", "s"), [(1.0, 0.02), (0.02, 1.0), (0.7, 0.4)])
def test_adaptive_follows_a_gaussian_flow_in_both_directions(name: str, t: float, s: float) -> None:
    schedule = SCHEDULES[name]
    t, s = (max(u, schedule.earliest) for u in (t, s))
    model = analytic.gaussian(schedule, MEAN, VARIANCE)
    x_t = schedule.alpha(at(t)) * MEAN + schedule.sigma(at(t)) * randn(3, 1, 2, 2)
    x_s = Adaptive(1e-9, 1e-9).follow(model, x_t, at(t), at(s))
    expected = gaussian_path(schedule, x_t, at(t), at(s))
    torch.testing.assert_close(x_s, expected, rtol=1e-6, atol=1e-7)


def test_the_solver_passes_both_tolerances_to_the_integrator() -> None:
    """Pixels around 1000, where 1e-6 of a pixel allows the error that 1e-3 does for all."""
    model, x_t = analytic.gaussian(Flow(), 1000 + 300 * MEAN, 300.0**2), 1000 + 300 * randn(3, 1, 2, 2)

    def evaluations(rtol: float, atol: float) -> int:
        asked: list[Tensor] = []
        hook = model.register_forward_hook(lambda _module, _given, answer: asked.append(answer))
        Adaptive(rtol, atol).follow(model, x_t, at(0.9), at(0.2))
        hook.remove()
        return len(asked)

    strict = evaluations(1e-9, 1e-9)
    assert evaluations(1e-9, 1.0) < strict / 2
    assert evaluations(1e-3, 1e-9) < strict / 2


def test_the_default_tolerance_gives_four_digits() -> None:
    model, x_t = analytic.gaussian(Flow(), MEAN, VARIANCE), randn(3, 1, 2, 2)
    x_s = Adaptive().follow(model, x_t, at(1.0), at(0.01))
    torch.testing.assert_close(x_s, gaussian_path(Flow(), x_t, at(1.0), at(0.01)), rtol=0, atol=1e-4)


def test_the_adaptive_solver_starts_at_zero_snr() -> None:
    for schedule in (ZeroTerminal(SCHEDULES["linear"]), Flow()):  # type: ignore[arg-type]
        assert angle(schedule, at(1.0)) == math.pi / 2
        model, x_t = analytic.gaussian(schedule, MEAN, VARIANCE), randn(3, 1, 2, 2)
        x_s = Adaptive(1e-9, 1e-9).follow(model, x_t, at(1.0), at(0.1))
        torch.testing.assert_close(x_s, gaussian_path(schedule, x_t, at(1.0), at(0.1)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_last_step_returns_the_estimate_at_the_earliest_time(name: str) -> None:
    schedule = SCHEDULES[name]
    model = analytic.gaussian(schedule, MEAN, VARIANCE)
    x_t = schedule.sigma(at(1.0)) * randn(3, 1, 2, 2)
    now, x_0 = Adaptive(1e-9, 1e-9).step(model, x_t, at(1.0), at(0.0), no_noise, ())
    earliest = at(schedule.earliest)
    last = gaussian_path(schedule, x_t, at(1.0), earliest)
    torch.testing.assert_close(x_0, model(last, earliest), rtol=1e-6, atol=1e-7)
    assert isinstance(now, SolverState)
    assert torch.equal(now.x_t, x_t)
    assert torch.equal(now.x0_hat, model(x_t, at(1.0)))


def test_a_step_from_below_the_earliest_time_is_the_estimate() -> None:
    model, t = analytic.gaussian(Flow(), MEAN, VARIANCE), at(0.0001)
    x_t = randn(3, 1, 2, 2)
    assert torch.equal(Adaptive().step(model, x_t, t, at(0.0), no_noise, ()).x_s, model(x_t, t))


def test_a_step_between_noisy_times_follows_the_flow() -> None:
    schedule = Flow()
    model, x_t = analytic.gaussian(schedule, MEAN, VARIANCE), randn(3, 1, 2, 2)
    _, x_s = Adaptive(1e-9, 1e-9).step(model, x_t, at(0.9), at(0.2), no_noise, ())
    torch.testing.assert_close(x_s, gaussian_path(schedule, x_t, at(0.9), at(0.2)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_angular_flow_is_the_score_ode_of_the_unit_circle(name: str) -> None:
    """z = cos(a) x_0 + sin(a) noise has the law N(c m, c^2 v + s^2); for such a Gaussian path the ODE is known.

    dz/da = d(mean)/da + (z - mean) d(log deviation)/da.
    """
    a, schedule = 0.6, SCHEDULES[name]
    c, s = math.cos(a), math.sin(a)
    z = randn(3, 1, 2, 2)
    of_deviation = c * s * (1 - VARIANCE) / (c**2 * VARIANCE + s**2)
    expected = -s * MEAN + of_deviation * (z - c * MEAN)
    slope = flow(analytic.gaussian(schedule, MEAN, VARIANCE), a, z)
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-9)
