"""Solvers against each other and against their papers' formulas for one step: DDIM's eta, EDM's churn."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffusion.one_pixel import LINEAR, MEAN, SCHEDULES, at, data, every_schedule, kind_of, no_noise, number, pixel
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import Flow, Schedule, VarianceExploding, ZeroTerminal
from sfumato.errors import SamplingError
from sfumato.sampling.sampler import trajectory
from sfumato.sampling.solvers import (
    DDIM,
    DDPM,
    DEIS,
    IPNDM,
    SOLVERS,
    Adaptive,
    DPMSolver,
    Euler,
    Heun,
    Solver,
    SolverState,
    UniPC,
)
from sfumato.sampling.solvers.base import noise_in
from sfumato.sampling.solvers.multistep import ADAMS_BASHFORTH
from sfumato.sampling.timesteps import LogSNR, TimeGrid, Uniform


@every_schedule
def test_the_noise_in_x_t_follows_from_the_clean_images(schedule: Schedule) -> None:
    x_0, noise = torch.randn(2, 4, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([schedule.earliest, 0.3, 0.5, 1.0], dtype=torch.float64)
    x_t = schedule.marginal(x_0, t).sample(noise)
    torch.testing.assert_close(noise_in(x_t, x_0, schedule.alpha(t), schedule.sigma(t)), noise, rtol=1e-8, atol=1e-8)


# Rules that coincide


def ends(solver: Solver, schedule: Schedule, grid: TimeGrid, denoiser: Denoiser | None = None) -> Tensor:
    """Every stop of a trajectory of three images with noise that is the same for all solvers."""
    generator = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(3, 1, 1, 1, dtype=torch.float64, generator=generator)

    model = data(0.25, schedule=schedule) if denoiser is None else denoiser
    timesteps = grid(schedule, 6)
    x = schedule.sigma(timesteps[0]) * noise()
    return torch.stack([moment.x_t for moment in trajectory(model, x, timesteps, solver, noise)])


@every_schedule
@pytest.mark.parametrize("grid", [Uniform(), LogSNR()], ids=str)
@pytest.mark.parametrize("same", [Euler(), DPMSolver(1), DEIS(1), IPNDM(1)], ids=str)
def test_every_first_order_rule_is_ddim(same: Solver, grid: TimeGrid, schedule: Schedule) -> None:
    expected = ends(DDIM(), schedule, grid)
    torch.testing.assert_close(ends(same, schedule, grid), expected, rtol=1e-10, atol=1e-13)


@every_schedule
@pytest.mark.parametrize("same", [DDPM("small"), DPMSolver(1, 1.0)], ids=str)
def test_ddim_of_eta_1_is_the_ancestral_sampler(same: Solver, schedule: Schedule) -> None:
    torch.testing.assert_close(
        ends(same, schedule, LogSNR()), ends(DDIM(1.0), schedule, LogSNR()), rtol=1e-10, atol=1e-13
    )


@every_schedule
@pytest.mark.parametrize("solver", [DPMSolver(3), DPMSolver(3, 1.0), DEIS(4), IPNDM(4), UniPC(3)], ids=str)
def test_the_first_step_is_that_of_ddim(solver: Solver, schedule: Schedule) -> None:
    first, x_t, z = DDIM(0.0 if solver.deterministic else 1.0), pixel(0.3), pixel(-0.7)
    steps = [
        rule.step(data(0.25, schedule=schedule), x_t, number(1), number(0.6), lambda: z, ()) for rule in (first, solver)
    ]
    torch.testing.assert_close(steps[1].x_s, steps[0].x_s, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("solver", "lower"),
    [
        (DPMSolver(3), DPMSolver(2)),
        (DPMSolver(3, 1.0), DPMSolver(2, 1.0)),
        (DEIS(4), DEIS(3)),
        (IPNDM(4), IPNDM(3)),
    ],
    ids=str,
)
def test_the_order_increases_with_the_number_of_past_states(solver: Solver, lower: Solver) -> None:
    """As long as a rule has not seen enough stops it is the one of lower order, and no longer."""
    seen = lower.memory + 1
    high, low = ends(solver, LINEAR, LogSNR()), ends(lower, LINEAR, LogSNR())
    assert (high[: seen + 1] == low[: seen + 1]).all()
    assert ((high[seen + 1] - low[seen + 1]).abs() > 1e-6).all()


@pytest.mark.parametrize("schedule", [Flow(), ZeroTerminal(LINEAR)], ids=kind_of)
@pytest.mark.parametrize("solver", [DPMSolver(3), DPMSolver(2, 1.0), DEIS(4), IPNDM(4), UniPC(3)], ids=str)
def test_a_past_state_without_signal_is_ignored(solver: Solver, schedule: Schedule) -> None:
    """At t = 1 the log-SNR is infinite, so no line goes through it; the second step starts afresh."""
    denoiser, t, s = data(0.25, schedule=schedule), number(0.7), number(0.5)
    noisy, x_t = pixel(0.3), pixel(-0.2)
    blind = SolverState(number(1), noisy, denoiser(noisy, number(1)))
    z = pixel(1.0)
    with_it = solver.step(denoiser, x_t, t, s, lambda: z, (blind,))
    without = solver.step(denoiser, x_t, t, s, lambda: z, ())
    assert with_it == without
    assert with_it.x_s.isfinite().all()


@pytest.mark.parametrize("solver", [DPMSolver(2), DPMSolver(3, 1.0), DEIS(3), IPNDM(3)], ids=str)
def test_a_multistep_rule_uses_no_states_beyond_its_memory(solver: Solver) -> None:
    denoiser, x_t, t, s = data(0.25), pixel(0.3), number(0.5), number(0.4)
    past = tuple(SolverState(number(0.5 + 0.1 * back), pixel(0.1 * back), pixel(0.2 / back)) for back in range(1, 5))
    z = pixel(1.0)
    far, near = (solver.step(denoiser, x_t, t, s, lambda: z, seen) for seen in (past, past[: solver.memory]))
    assert far.x_s == near.x_s


@pytest.mark.parametrize("order", ADAMS_BASHFORTH)
def test_the_coefficients_of_ipndm_integrate_polynomials_exactly(order: int) -> None:
    """Adams and Bashforth: of u^k known at 0, -1, ..., the integral over [0, 1], for k below the order."""
    for power in range(order):
        values = [(-float(back)) ** power for back in range(order)]
        integral = sum(weight * value for weight, value in zip(ADAMS_BASHFORTH[order], values, strict=True))
        assert integral == pytest.approx(1 / (power + 1), rel=1e-14)


def test_every_solver_ends_at_its_last_estimate() -> None:
    """peers.md mistakes 1 and 9: the last step lands on x_0, with no noise left over; adaptive looks once more."""
    for solver in (*SOLVERS.values(), DDIM(0.5), DDIM(1.0)):
        if isinstance(solver, Adaptive):
            continue
        for schedule in SCHEDULES:
            now, x_s = solver.step(data(0.25, schedule=schedule), pixel(0.7), number(0.02), number(0), no_noise, ())
            assert x_s.item() == pytest.approx(now.x0_hat.item(), abs=1e-14), solver


# DDIM's eta


@pytest.mark.parametrize("eta", [0.25, 0.5, 1.0])
@pytest.mark.parametrize(("t", "s"), [(1000, 800), (500, 499), (2, 1)])
def test_the_noise_of_ddim_has_the_variance_of_the_paper(eta: float, t: int, s: int) -> None:
    """DDIM, eq. 16, in alpha_bar; and eq. 12, in which it is taken from the noise that is kept."""
    abar_t, abar_s = LINEAR.alpha_bar[t].item(), LINEAR.alpha_bar[s].item()
    spread = eta * math.sqrt((1 - abar_s) / (1 - abar_t)) * math.sqrt(1 - abar_t / abar_s)
    now, x_s = DDIM(eta).step(data(0.25), pixel(0.7), at(t), at(s), lambda: pixel(-1.3), ())
    x0_hat = now.x0_hat.item()
    noise_hat = (0.7 - math.sqrt(abar_t) * x0_hat) / math.sqrt(1 - abar_t)
    expected = math.sqrt(abar_s) * x0_hat + math.sqrt(1 - abar_s - spread**2) * noise_hat + spread * -1.3
    assert x_s.item() == pytest.approx(expected, rel=1e-9)


def test_deterministic_solvers_use_no_noise() -> None:
    for solver in (DDIM(), DPMSolver(2), Euler(), Heun()):
        solver.step(data(0.25), pixel(0.7), at(500), at(300), no_noise, ())


@pytest.mark.parametrize("eta", [-0.1, 1.0001, 2.0, math.nan])
@pytest.mark.parametrize("make", [DDIM, lambda eta: DPMSolver(2, eta)])
def test_an_eta_out_of_range_is_rejected(make: Callable[[float], Solver], eta: float) -> None:
    """peers.md mistake 10: over a stride, sigma_s^2 - v falls below 0 where eta is above 1."""
    with pytest.raises(SamplingError, match=f"eta {eta} is out of range.*0.*to 1"):
        make(eta)


@every_schedule
def test_ddim_with_eta_1_is_finite_over_any_stride(schedule: Schedule) -> None:
    """peers.md mistake 10: even at eta 1 over the longest strides."""
    for s in (0.999, 0.5, 0.001):
        x_s = DDIM(1.0).step(data(0.25, schedule=schedule), pixel(0.7), number(1), number(s), lambda: pixel(1), ()).x_s
        assert x_s.isfinite().all()


# Churn


def test_churn_is_edms_algorithm_2() -> None:
    """For alpha = 1, written out: up by gamma, a look, an Euler step, another look, the mean of both."""
    schedule = VarianceExploding()
    denoiser, x, z = data(0.25, schedule=schedule), pixel(3.0), pixel(-0.8)
    gamma, strength = 0.3, 1.003
    t, s = schedule.time_at(number(-2 * math.log(2.0))), schedule.time_at(number(-2 * math.log(1.2)))

    def look(x: float, sigma: float) -> float:
        """D(x; sigma) of N(MEAN, 0.25)."""
        return MEAN + 0.25 / (0.25 + sigma**2) * (x - MEAN)

    raised = 2.0 * (1 + gamma)
    x_hat = 3.0 + math.sqrt(raised**2 - 2.0**2) * strength * -0.8
    slope = (x_hat - look(x_hat, raised)) / raised
    euler = x_hat + (1.2 - raised) * slope
    heun = x_hat + (1.2 - raised) * (slope + (euler - look(euler, 1.2)) / 1.2) / 2
    for solver, expected in [
        (Euler(gamma, churn_noise=strength), euler),
        (Heun(gamma, churn_noise=strength), heun),
    ]:
        now, x_s = solver.step(denoiser, x, t, s, lambda: z, ())
        assert schedule.sigma(now.t).item() == pytest.approx(raised, rel=1e-12)
        assert now.x_t.item() == pytest.approx(x_hat, rel=1e-12)
        assert x_s.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("schedule", [LINEAR, VarianceExploding(), Flow()], ids=kind_of)
@pytest.mark.parametrize("kind", [Euler, Heun])
def test_churn_is_limited_to_its_range_of_noise_levels(kind: type[Euler], schedule: Schedule) -> None:
    solver = kind(0.2, churn_from=0.5, churn_to=2.0)
    denoiser = data(0.25, schedule=schedule)
    for level, inside in [(0.4, False), (0.499, False), (0.501, True), (1.0, True), (1.999, True), (2.001, False)]:
        t = schedule.time_at(number(-2 * math.log(level)))
        draws: list[Tensor] = []

        def noise(draws: list[Tensor] = draws) -> Tensor:
            draws.append(pixel(1.0))
            return draws[-1]

        now, _ = solver.step(denoiser, pixel(0.3), t, schedule.time_at(number(4.0)), noise, ())
        assert len(draws) == inside
        raised = math.exp(-schedule.logsnr(now.t).item() / 2)
        assert raised == pytest.approx(level * (1.2 if inside else 1), rel=1e-9)


@pytest.mark.parametrize("kind", [Euler, Heun])
def test_the_range_of_churn_includes_both_ends(kind: type[Euler]) -> None:
    """EDM, Algorithm 2: "if t_i in [S_tmin, S_tmax]"."""
    t = number(0.5)
    level = torch.exp(-LINEAR.logsnr(t) / 2).item()
    for solver in (kind(0.2, churn_from=level), kind(0.2, churn_to=level)):
        now, _ = solver.step(data(0.25), pixel(0.3), t, number(0.2), lambda: pixel(1.0), ())
        assert now.t > t


@pytest.mark.parametrize("kind", [Euler, Heun])
def test_without_a_range_churn_acts_at_every_noise_level(kind: type[Euler]) -> None:
    for t in (0.001, 0.999):
        now, _ = kind(0.2).step(data(0.25, schedule=Flow()), pixel(0.3), number(t), number(0), lambda: pixel(1.0), ())
        assert now.t > t


@every_schedule
@pytest.mark.parametrize("kind", [Euler, Heun])
def test_churn_does_not_exceed_time_1(kind: type[Euler], schedule: Schedule) -> None:
    denoiser = data(0.25, schedule=schedule)
    now, x_s = kind(0.4).step(denoiser, pixel(0.3), number(1), number(0.5), lambda: pixel(1.0), ())
    assert (now.t.item(), now.x_t.item()) == (1, 0.3)
    assert x_s.isfinite().all()
    late, _ = kind(0.4).step(denoiser, pixel(0.3), number(0.99), number(0.5), lambda: pixel(1.0), ())
    assert 0.99 < late.t.item() <= 1


@pytest.mark.parametrize("churn", [-0.1, 0.42, math.nan])
def test_churn_out_of_range_is_rejected(churn: float) -> None:
    for kind in (Euler, Heun):
        with pytest.raises(SamplingError, match=f"churn {churn} is out of range.*0 to 0.4142"):
            kind(churn)
        assert not kind(math.sqrt(2) - 1).deterministic  # EDM's own bound


@pytest.mark.parametrize("kind", [Euler, Heun])
@pytest.mark.parametrize(
    "settings",
    [
        {"churn_noise": math.inf},
        {"churn_noise": -1.0},
        {"churn_from": 2.0, "churn_to": 1.0},
        {"churn_from": 1.0, "churn_to": 1.0},
        {"churn_from": -1.0},
    ],
    ids=str,
)
def test_a_range_or_noise_of_churn_out_of_range_is_rejected(kind: type[Euler], settings: dict[str, float]) -> None:
    with pytest.raises(SamplingError, match=r"is out of range.*churn_from < churn_to"):
        kind(churn=0.2, **settings)


@pytest.mark.parametrize("kind", [Euler, Heun])
def test_churn_without_noise_only_shifts_the_time(kind: type[Euler]) -> None:
    """Where the signal keeps its amplitude, no noise leaves x_t as it is."""
    denoiser, solver = data(0.25, schedule=VarianceExploding()), kind(0.2, churn_noise=0.0)
    now, _ = solver.step(denoiser, pixel(0.3), number(0.5), number(0.2), lambda: pixel(1.0), ())
    assert now.t > 0.5
    assert now.x_t.item() == 0.3
