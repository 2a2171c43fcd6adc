"""Differences to diffusers, decided by exact solutions. A failure may mean that diffusers changed."""

import math

import pytest
import torch
from torch import Tensor

from parity.peer import LINEAR, SHAPE, same_draws, scheduler, start, their_sample
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import Clipped
from sfumato.diffusion.schedules import Schedule, VarianceExploding, ZeroTerminal
from sfumato.sampling.sampler import trajectory
from sfumato.sampling.solvers import DDIM, DDPM, DEIS, DPMSolver, Euler, Solver, SolverState
from sfumato.sampling.timesteps import Karras, Leading, TimeGrid, Timesteps, Trailing
from sfumato.utils.shapes import Times

MEAN = 0.4
EDM = VarianceExploding()


def drawn(model: Denoiser, solver: Solver, timesteps: Timesteps, x: Tensor) -> Tensor:
    """Our sample."""
    generator = same_draws()
    *_, result = trajectory(model, x, timesteps, solver, lambda: torch.randn(x.shape, generator=generator))
    return result.x_t


def gaussian(schedule: Schedule, variance: float) -> Denoiser:
    """The exact denoiser of N(MEAN, variance)."""
    return analytic.gaussian(schedule, torch.full(SHAPE, MEAN), variance)


class Noise(torch.nn.Module):
    """The exact network of a denoiser of DDPM's steps, which says the noise."""

    def __init__(self, model: Denoiser) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """(x_t - alpha x0_hat) / sigma."""
        t = (times[0].double() + 1) / 1000
        alpha, sigma = LINEAR.alpha(t).item(), LINEAR.sigma(t).item()
        x0_hat: Tensor = self.model(x, t)
        return (x - alpha * x0_hat) / sigma


class EDMPoint(torch.nn.Module):
    """The exact network of EDM for the point MEAN."""

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """(x0_hat - c_skip x_t) / c_out, of c_in x_t."""
        sigma = math.exp(4 * times[0].item())
        power = sigma**2 + 0.25
        return (MEAN - 0.25 / math.sqrt(power) * x) * math.sqrt(power) / (0.5 * sigma)


# A point is met exactly by every right sampler, in any number of steps, from any noise.

LEFT_OVER: list[tuple[str, int, dict[str, object], Solver, TimeGrid]] = [
    # strides of 1000 // 7, whatever the grid's
    ("DDIMScheduler", 7, {"timestep_spacing": "trailing", "clip_sample": False}, DDIM(), Trailing()),
    # the noise of the first step is left
    ("DDIMScheduler", 10, {"set_alpha_to_one": False, "clip_sample": False}, DDIM(), Leading()),
    ("DEISMultistepScheduler", 10, {"timestep_spacing": "trailing"}, DEIS(), Trailing()),
    # the last step draws noise
    (
        "DDPMScheduler",
        10,
        {"variance_type": "fixed_large", "timestep_spacing": "trailing", "clip_sample": False},
        DDPM("large"),
        Trailing(),
    ),
]


@pytest.mark.parametrize(("name", "steps", "config", "solver", "grid"), LEFT_OVER)
def test_no_noise_remains_at_the_end(
    name: str, steps: int, config: dict[str, object], solver: Solver, grid: TimeGrid
) -> None:
    point = gaussian(LINEAR, 0.0)
    theirs = their_sample(scheduler(name, steps, **config), start(), Noise(point))
    ours = drawn(point, solver, grid(LINEAR, steps), start())
    assert (ours - MEAN).abs().max() < 1e-5
    assert (theirs - MEAN).abs().max() > 1e-2


def test_a_grid_of_61_steps_has_61_steps_of_the_schedule() -> None:
    """Theirs has one more, at timestep -1, where its tables have the noisiest step."""
    theirs = scheduler("DDIMScheduler", 61, timestep_spacing="trailing").timesteps.tolist()
    ours = (1000 * Trailing()(LINEAR, 61)[:-1] - 1).round().int().tolist()
    assert theirs == [*ours, -1]


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "EDMEulerScheduler"])
def test_the_network_receives_the_churned_x(name: str) -> None:
    """Theirs asks it about x before the churn. EDM, Algorithm 2, line 7 asks it after."""
    network, size = (EDMPoint(), 80) if name.startswith("EDM") else (Noise(gaussian(LINEAR, 0.0)), 157)
    theirs = their_sample(scheduler(name, 10), start(size), network, s_churn=2.0)
    ours = drawn(gaussian(EDM, 0.0), Euler(churn=0.2), Karras()(EDM, 10), start(80))
    assert (ours - MEAN).abs().max() < 1e-5
    assert (theirs - MEAN).abs().max() > 1e-3


def test_the_noise_is_recomputed_for_a_clipped_estimate() -> None:
    """A point at 1 and a network that says 1.5: clipped, it is right, and so is the noise then.

    Theirs keeps the noise of 1.5 unless `use_clipped_model_output` is set.
    """
    t, s = torch.tensor([0.5, 0.4], dtype=torch.float64)
    noise = start().double()
    x_t, x_s = (LINEAR.alpha(at) + LINEAR.sigma(at) * noise for at in (t, s))
    peer = scheduler("DDIMScheduler", 10, prediction_type="sample", timestep_spacing="trailing")
    theirs = peer.step(torch.full_like(x_t, 1.5), 499, x_t).prev_sample
    loud = Clipped(analytic.gaussian(LINEAR, torch.full(SHAPE, 1.5), 0.0))
    ours = DDIM().step(loud, x_t, t, s, start, ()).x_s
    torch.testing.assert_close(ours, x_s, rtol=0, atol=1e-12)
    assert (theirs - x_s).abs().max() > 0.1


# A Gaussian's probability flow and its reverse SDE have solutions in closed form.

VARIANCE = 0.25


def spread(t: Times) -> Times:
    """The variance of x_t."""
    return LINEAR.alpha(t) ** 2 * VARIANCE + LINEAR.sigma(t) ** 2


def exact(t: Times) -> Tensor:
    """x_t of the probability flow that passes its mean + 1 at t = 1/2; one image of one pixel."""
    half = torch.tensor(0.5, dtype=torch.float64)
    return (LINEAR.alpha(t) * MEAN + (spread(t) / spread(half)).sqrt()).reshape(1, 1, 1, 1)


def third_steps(h: float) -> tuple[float, float]:
    """The errors of our and of their third-order step over a stride of h in log(alpha / sigma), from an exact past."""
    middle = LINEAR.logsnr(torch.tensor(0.5, dtype=torch.float64)) / 2
    half_logsnr = middle + h * torch.tensor([-2.0, -1, 0, 1], dtype=torch.float64)
    *timesteps, end = LINEAR.time_at(2 * half_logsnr)
    model = analytic.gaussian(LINEAR, torch.full((1, 1, 1), MEAN, dtype=torch.float64), VARIANCE)
    oldest, older, now = (SolverState(t, exact(t), model(exact(t), t)) for t in timesteps)
    ours = DPMSolver(3).step(model, now.x_t, now.t, end, start, (older, oldest)).x_s
    peer = scheduler("DPMSolverMultistepScheduler", 3, solver_order=3)
    peer.sigmas, peer._step_index = (-half_logsnr).exp(), 2
    estimates = [oldest.x0_hat, older.x0_hat, now.x0_hat]
    theirs = peer.multistep_dpm_solver_third_order_update(estimates, sample=now.x_t)
    return abs(ours - exact(end)).item(), abs(theirs - exact(end)).item()


def test_dpm_solver_of_order_3_is_of_order_3() -> None:
    """A step of order k is wrong by h^(k + 1). Theirs has half of x0_hat'' only."""
    errors = [third_steps(h) for h in (0.02, 0.01)]
    ours, theirs = (math.log2(coarse / fine) - 1 for coarse, fine in zip(*errors, strict=True))
    assert ours == pytest.approx(3, abs=0.15)
    assert theirs == pytest.approx(2, abs=0.15)


def test_dpm_solver_of_order_3_as_an_sde_has_the_right_variance() -> None:
    """All is linear in the noises, so a sample's variance is the sum of its squared answers to each one alone.

    Theirs has a wrong sign in the weight of x0_hat'', which never falls with the stride: 0.33, 0.31, 0.29 and 0.32 at
    50, 100, 200 and 400 steps.
    """
    steps = 100
    model = analytic.gaussian(LINEAR, torch.zeros(1, 1, 1), VARIANCE)
    first, *fresh = torch.eye(steps + 1).reshape(steps + 1, -1, 1, 1, 1)
    draws = iter(fresh)
    *_, ours = trajectory(model, first, Trailing()(LINEAR, steps), DPMSolver(3, 1.0), lambda: next(draws))
    config = {"solver_order": 3, "algorithm_type": "sde-dpmsolver++", "timestep_spacing": "trailing"}
    peer = scheduler("DPMSolverMultistepScheduler", steps, **config)
    x = first
    for t, noise in zip(peer.timesteps, fresh, strict=True):
        x = peer.step(Noise(model)(x, t[None].float()), t, x, variance_noise=noise).prev_sample
    assert ours.x_t.square().sum().item() == pytest.approx(VARIANCE, rel=0.01)
    assert x.square().sum().item() > 1.15 * VARIANCE


def test_sampling_begins_at_the_last_time() -> None:
    """Two steps, from noise of mean 0: where theirs begins, a quarter of the signal should have been there."""
    model = gaussian(LINEAR, 1.0)
    nothing = torch.zeros(1, *SHAPE)
    theirs = their_sample(scheduler("DDIMScheduler", 2, clip_sample=False), nothing, Noise(model))
    ours = drawn(model, DDIM(), Trailing()(LINEAR, 2), nothing)
    assert (ours - MEAN).abs().max() < 0.001
    assert (theirs - MEAN).abs().max() > 0.02


def test_without_signal_the_step_does_not_depend_on_the_noise() -> None:
    """At zero terminal SNR; theirs leaves a signal of 2^-12 there. One step of order 1, from an exact velocity."""
    schedule = ZeroTerminal(LINEAR)
    config = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    peer = scheduler("DPMSolverMultistepScheduler", 10, solver_order=1, **config)
    t, s = Trailing()(schedule, 10)[:2]
    x_s = (schedule.alpha(s) * MEAN + schedule.sigma(s) * start(10).double()).float()
    theirs = peer.step(torch.full_like(x_s, -MEAN), 999, start(10)).prev_sample
    ours = DPMSolver(1).step(gaussian(schedule, 0.0), start(10), t, s, start, ()).x_s
    torch.testing.assert_close(ours, x_s, rtol=0, atol=1e-5)
    assert (theirs - x_s).abs().max() > 1e-4
