"""The mistakes that other libraries made, each with a test by its number in our notes on the peers.

Not here: 8 (the average) is in tests/training/test_step.py, 14 (counters after a resume) in test_resume.py beside it,
and half of 11 (RePaint's known pixels) waits for inpainting. tests/parity has those that diffusers still makes.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser, predict_data, predict_noise, predict_velocity
from sfumato.diffusion.guidance import Clipped
from sfumato.diffusion.losses import MinSNR
from sfumato.diffusion.schedules import SCHEDULES, Cosine, LinearBeta, Schedule
from sfumato.diffusion.time_densities import UniformTimes
from sfumato.errors import LabelError, SamplingError
from sfumato.sampling.sampler import sample, trajectory
from sfumato.sampling.solvers import DDIM, DDPM, SOLVERS, Euler, Heun, Solver, SolverState
from sfumato.sampling.timesteps import TIME_GRIDS, Discrete, Timesteps, Trailing

LINEAR = LinearBeta()


def point(value: float, schedule: Schedule = LINEAR) -> Denoiser:
    """The exact denoiser of images that are all of this one grey pixel."""
    return analytic.gaussian(schedule, torch.full((1, 1, 1), value, dtype=torch.float64), 0.0)


def walked(denoiser: Denoiser, solver: Solver, timesteps: Timesteps) -> list[SolverState]:
    """A trajectory whose first image starts from 1 and draws zeros, and whose others each draw a single 1, in turn.

    Where all is linear in the noises, these are the answers to each, and a variance is the sum of their squares.
    """
    first, *fresh = torch.eye(2 * len(timesteps), dtype=torch.float64).reshape(2 * len(timesteps), -1, 1, 1, 1)
    draws = iter(fresh)
    return list(trajectory(denoiser, LINEAR.sigma(timesteps[0]) * first, timesteps, solver, lambda: next(draws)))


def variances(moments: list[SolverState]) -> list[float]:
    """The variance of each stop."""
    return [moment.x_t.square().sum().item() for moment in moments]


@pytest.mark.parametrize("grid", [name for name, grid in TIME_GRIDS.items() if isinstance(grid, Discrete)])
@pytest.mark.parametrize("steps", [7, 97])
def test_mistake_1_ddim_visits_the_next_timestep_and_ends_at_x_0(grid: str, steps: int) -> None:
    """Of a point, DDIM's x_t is alpha x_0 + sigma noise, with the noise of the start, if it steps to the next stop."""
    timesteps = TIME_GRIDS[grid](LINEAR, steps)
    x = LINEAR.alpha(timesteps[0]) * 0.4 + LINEAR.sigma(timesteps[0]) * torch.ones(1, 1, 1, 1, dtype=torch.float64)
    moments = list(trajectory(point(0.4), x, timesteps, DDIM(), torch.empty))
    assert [moment.x_t.item() for moment in moments] == pytest.approx(
        (LINEAR.alpha(timesteps) * 0.4 + LINEAR.sigma(timesteps)).tolist(), abs=1e-10
    )
    assert moments[-1].x_t.item() == pytest.approx(0.4, abs=1e-10)


def test_mistake_2_few_ddpm_steps_have_the_noise_of_their_stride() -> None:
    """The small variance is exact for a point, the large one for standard normal data, up to the last step."""
    timesteps = Trailing()(LINEAR, 7)
    assert variances(walked(point(0), DDPM("small"), timesteps)) == pytest.approx(
        LINEAR.sigma(timesteps).square().tolist(), abs=1e-12
    )
    normal = analytic.gaussian(LINEAR, torch.zeros(1, 1, 1), 1.0)
    noise = LINEAR.sigma(timesteps[0]).item() ** 2  # of the start, where a little signal is missing
    assert variances(walked(normal, DDPM("large"), timesteps))[:-1] == pytest.approx([noise, *[1] * 6], abs=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3, 500, 999, 1000])
def test_mistake_3_steps_are_valid_and_only_leading_omits_t_1(steps: int) -> None:
    for name, grid in TIME_GRIDS.items():
        timesteps = grid(LINEAR, steps)
        assert len(timesteps) == steps + 1
        assert 0 < timesteps[:-1].min() <= timesteps.max() <= 1
        assert timesteps[0] == ((1 + (steps - 1) * (1000 // steps)) / 1000 if name == "leading" else 1)


RENEWED = {"ddpm": 1.0, "ddim:eta=0.5": 0.25, "dpm-1-sde": 1.0, "dpm-2m-sde": 1.0, "dpm-3m-sde": 1.0}
"""Of solvers that draw, eta^2."""


@pytest.mark.parametrize("name", [*SOLVERS, "ddim:eta=0.5"])
def test_mistake_4_the_noise_follows_from_the_clipped_x_0(name: str) -> None:
    """The network says 1.5, clipped to 1: x_s is alpha_s + sigma_s noise, of which a part may be fresh."""
    solver = SOLVERS.parse(name)
    timesteps = Trailing()(LINEAR, 6)
    x = torch.full((1, 1, 1, 1), 0.3, dtype=torch.float64)
    noise = ((x - LINEAR.alpha(timesteps[0])) / LINEAR.sigma(timesteps[0])).item()
    expected = [0.3]
    for t, s in pairwise(timesteps[:-1]):
        lost = 1 - (LINEAR.alpha(t) * LINEAR.sigma(s) / (LINEAR.alpha(s) * LINEAR.sigma(t))).item() ** 2
        fresh = RENEWED.get(name, 0) * lost
        noise = math.sqrt(1 - fresh) * noise + math.sqrt(fresh) * 0.7
        expected.append((LINEAR.alpha(s) + LINEAR.sigma(s) * noise).item())
    moments = trajectory(Clipped(point(1.5)), x, timesteps, solver, lambda: torch.full_like(x, 0.7))
    assert [moment.x_t.item() for moment in moments] == pytest.approx([*expected, 1], abs=1e-4)


class Constant(nn.Module):
    """A network that says 0.3 of everything."""

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """0.3."""
        return torch.full_like(x, 0.3)


@pytest.mark.parametrize("name", SOLVERS)
def test_mistake_4_a_prediction_of_x_0_is_not_used_as_noise(name: str) -> None:
    model = PreconditionedDenoiser(Constant(), LINEAR, predict_data, (1, 1, 1))
    assert sample(model, 2, solver=name, steps=6).flatten().tolist() == pytest.approx([0.3, 0.3], abs=1e-6)


def test_mistake_5_the_cosine_has_no_index_shift_and_finite_ends() -> None:
    """No index off by one, no division by sigma = 0 or by alpha = 0."""
    schedule = Cosine()
    steps = torch.arange(1, 1000, dtype=torch.float64)
    f = torch.cos((steps / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(schedule.alpha_bar[1:1000], f)
    assert schedule.betas.max() == 0.999
    clean, first, last = torch.tensor([0, 0.001, 1], dtype=torch.float64)
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    ended = schedule.posterior(x, x, first, clean)
    assert (ended.mean.item(), ended.variance.item()) == pytest.approx((1, 0))
    assert PreconditionedDenoiser(Constant(), schedule, predict_noise, (1, 1, 1))(x, last).isfinite().all()


@pytest.mark.parametrize("timesteps", [50, 250, 4000])
def test_mistake_6_rescaled_linear_betas_end_in_noise_for_any_t(timesteps: int) -> None:
    """Their sum, and so about -log abar_T, is 10."""
    schedule = LinearBeta(timesteps)
    assert schedule.betas.sum().item() == pytest.approx(LINEAR.betas.sum().item())
    assert 1e-6 < schedule.alpha_bar[-1] < 1e-4


def test_mistake_7_min_snr_is_a_minimum_per_parametrization() -> None:
    t = torch.tensor([0.01, 0.2, 0.9], dtype=torch.float64)
    snr = LINEAR.alpha(t) ** 2 / LINEAR.sigma(t) ** 2
    least = torch.tensor([5, snr[1], snr[2]], dtype=torch.float64)
    assert snr[0] > 5 > snr[1]
    expected = {predict_data: least, predict_noise: least / snr, predict_velocity: least / (snr + 1)}
    for parametrization, weight in expected.items():
        torch.testing.assert_close(MinSNR(5)(LINEAR, t, parametrization(LINEAR, t)), weight)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_mistake_9_noise_levels_decrease_strictly_to_0(schedule: str) -> None:
    path = SCHEDULES[schedule]
    for grid in TIME_GRIDS.values():
        if path.timesteps is None and isinstance(grid, Discrete):
            continue
        for steps in (1, 2, 10, 100):
            levels = path.sigma(grid(path, steps)) / path.alpha(grid(path, steps))
            assert (levels.diff() < 0).all()
            assert levels[-1] == 0


@pytest.mark.parametrize("solver", [*SOLVERS.values(), Euler(churn=0.2), Heun(churn=0.2)], ids=str)
def test_mistake_9_no_noise_remains_at_the_end(solver: Solver) -> None:
    """Every noise that was ever drawn is gone from a point."""
    assert variances(walked(point(0), solver, Trailing()(LINEAR, 8)))[-1] == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [2, 3, 50])
def test_mistake_10_ddim_noise_adds_up_to_sigma_over_any_stride(eta: float, steps: int) -> None:
    timesteps = Trailing()(LINEAR, steps)
    expected = LINEAR.sigma(timesteps).square().tolist()
    assert variances(walked(point(0), DDIM(eta), timesteps)) == pytest.approx(expected, abs=1e-12)


def test_mistake_10_an_eta_above_1_is_rejected() -> None:
    with pytest.raises(SamplingError, match=r"eta 1.1 is out of range"):
        DDIM(1.1)


def test_mistake_11_a_label_is_not_silently_ignored() -> None:
    with pytest.raises(LabelError, match="knows no classes"):
        sample(point(0), 1, labels="rose")


class Listener(nn.Module):
    """A network that returns zeros and records its time inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.times_seen: list[int] = []

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """0."""
        self.times_seen.append(round(times[0].item()))
        return torch.zeros_like(x)


def test_mistake_12_all_steps_are_trained_and_sampled() -> None:
    schedule = LinearBeta(100)
    middles = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    assert (100 * UniformTimes()(schedule, middles)).round().tolist() == list(range(1, 101))
    network = Listener()
    model = PreconditionedDenoiser(network, schedule, predict_noise, (1, 1, 1))
    sample(model, 1, solver="ddpm", time_grid="trailing", steps=100)
    assert network.times_seen == list(range(99, -1, -1))


@pytest.mark.parametrize("solver", ["ddpm", "unipc-3"])
def test_mistake_13_an_image_does_not_depend_on_its_batch(solver: str) -> None:
    model = analytic.gaussian(LINEAR, torch.zeros(1, 2, 2), 0.04)
    together, apart = (sample(model, 5, solver=solver, steps=6, batch=batch) for batch in (5, 2))
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-6)
    assert torch.cdist(together.flatten(1), together.flatten(1)).fill_diagonal_(1).min() > 1e-3
