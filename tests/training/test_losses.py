"""Combinations of schedule, parametrization, time density and loss weight, with known solutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sfumato.data import Batch, ImageSet
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import PARAMETRIZATIONS, PreconditionedDenoiser
from sfumato.diffusion.losses import WEIGHTS, squared_error
from sfumato.diffusion.schedules import build_schedule
from sfumato.diffusion.time_densities import TIME_DENSITIES, independent, stratified
from sfumato.models import checked_schedule, load
from sfumato.sampling.sampler import sample
from sfumato.training import step, validation
from sfumato.training.config import DiffusionConfig, OptimizationConfig, TrainConfig
from sfumato.training.state import TrainingState
from sfumato.training.step import step_seed, training_step
from sfumato.utils.shapes import over

from .conftest import Calls, NewState, Settings, Train

COMBINATIONS = {
    "flow": DiffusionConfig("flow", parametrization="flow", times="logit-normal", stratified=True),
    "edm": DiffusionConfig("edm", parametrization="edm", times="log-normal"),
    "terminal": DiffusionConfig("cosine", zero_terminal_snr=True, parametrization="velocity", weight="min-snr"),
    "shifted": DiffusionConfig("cosine:timesteps=200", shift=2.0, parametrization="velocity", weight="soft-min-snr"),
    "data": DiffusionConfig("sigmoid", parametrization="data", times="logit-normal", weight="sigmoid"),
}

MEAN, VARIANCE = 0.4, 0.1


class Affine(nn.Module):
    """A network that contains the best one for Gaussian data: a x + b, both smooth in the time input."""

    def __init__(self, times: Tensor) -> None:
        super().__init__()
        self.centres = torch.linspace(times.min().item(), times.max().item(), 12)
        self.slope, self.shift = nn.Parameter(torch.zeros(12)), nn.Parameter(torch.zeros(12))

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        """Both interpolated between their values at the centres."""
        del labels
        distance = (times[:, None] - self.centres) / (self.centres[1] - self.centres[0])
        near = (-distance.square()).softmax(dim=1)
        return (near @ self.slope)[:, None, None, None] * x + (near @ self.shift)[:, None, None, None]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_training_reaches_the_lowest_loss_of_gaussian_images(name: str, unchecked: None) -> None:
    """The error that could be avoided, over ten noise levels, falls from its whole variance to a twentieth."""
    del unchecked  # for speed: shapes are checked by the other test
    settings = OptimizationConfig(learning_rate=0.05, warmup=0.0, ema="constant:decay=0.95")
    config = TrainConfig("", diffusion=COMBINATIONS[name], optimization=settings)
    asked = config.diffusion
    schedule = checked_schedule(asked.schedule, asked.zero_terminal_snr, asked.shift, asked.parametrization)
    parametrization = PARAMETRIZATIONS[asked.parametrization]
    times = parametrization(schedule, torch.tensor([schedule.earliest, 1], dtype=torch.float64)).noise
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = TrainingState(PreconditionedDenoiser(Affine(times), schedule, parametrization, (1, 2, 2)), settings)
        before = avoidable_error(state.average)
        for _ in range(150):
            training_step(state, Batch(MEAN + VARIANCE**0.5 * torch.randn(128, 1, 2, 2), None), config)
        after = avoidable_error(state.average)
    assert before > 0.1
    assert after < 0.05


@torch.no_grad()
def avoidable_error(model: PreconditionedDenoiser) -> float:
    """How far the model's estimates are from the exact ones, in units of the data's variance, at ten noise levels."""
    t = model.schedule.nearest_step((torch.arange(10, dtype=torch.float64) + 0.5) / 10).repeat(100)
    x_0, noise = torch.randn(2, len(t), 1, 2, 2)
    x_t = over(model.schedule.alpha(t), x_0) * (MEAN + VARIANCE**0.5 * x_0) + over(model.schedule.sigma(t), x_0) * noise
    exact = analytic.gaussian(model.schedule, torch.full((1, 2, 2), MEAN), VARIANCE)
    return (model(x_t, t) - exact(x_t, t)).square().mean().item() / VARIANCE


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_combination_trains_validates_previews_and_loads(
    name: str, settings: Settings, go: Train, calls: Calls, tmp_path: Path
) -> None:
    asked = COMBINATIONS[name]
    config, trained, measured = replace(settings(images=8), diffusion=asked), calls(step), calls(validation)
    go(config, tmp_path / "run")
    model = load(tmp_path / "run")
    assert model.schedule == build_schedule(
        asked.schedule, zero_terminal_snr=asked.zero_terminal_snr, shift=asked.shift
    )
    assert model.parametrization is PARAMETRIZATIONS[asked.parametrization]
    assert sample(model, 1, steps=5).isfinite().all()
    for call in trained:
        assert ((call.t >= model.schedule.earliest) & (call.t <= 1)).all()
    (call,) = measured
    timesteps = model.schedule.timesteps
    start = model.schedule.earliest if timesteps is None else 0
    middles = [start + (1 - start) * (0.05 + level / 10) for level in range(10)]
    assert call.t.tolist() == pytest.approx(middles, abs=1e-12 if timesteps is None else 0.5 / timesteps)
    torch.testing.assert_close(model.schedule.nearest_step(call.t), call.t)


@pytest.mark.parametrize(("is_stratified", "draw"), [(False, independent), (True, stratified)])
@pytest.mark.parametrize("times", ["uniform", "log-normal:mean=-0.5", "logit-normal"])
def test_a_step_samples_times_from_the_configured_density(
    times: str,
    is_stratified: bool,
    draw: Callable[[int], Tensor],
    settings: Settings,
    new_state: NewState,
    calls: Calls,
) -> None:
    config = settings(times=times, stratified=is_stratified, flip=False)
    state, asked = new_state(config), calls(step)
    training_step(state, Batch(torch.zeros(9, 3, 8, 8), None), config)
    with torch.random.fork_rng():
        torch.manual_seed(step_seed(0, 0))
        expected = TIME_DENSITIES.parse(times)(state.model.schedule, draw(9))
    assert torch.equal(asked[0].t, expected)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_training_loss_is_weighted_and_validation_loss_is_not(
    weight: str, settings: Settings, new_state: NewState, calls: Calls
) -> None:
    config = settings(parametrization="velocity", weight=weight, dropout=0.0)
    state, fresh, asked = new_state(config), new_state(config).model, calls(step)
    result = training_step(state, Batch(torch.rand(9, 3, 8, 8), None), config)
    (call,) = asked
    weights = WEIGHTS[weight](fresh.schedule, call.t, fresh.parametrization(fresh.schedule, call.t))
    plain = squared_error(fresh, call.x_0, call.t, call.noise)
    assert result.loss == pytest.approx((weights * plain).mean().item(), rel=1e-5)

    kept = ImageSet.of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    measured = validation.Validation(kept, 10, seed=0)
    with torch.no_grad():
        t = fresh.schedule.nearest_step((torch.arange(10, dtype=torch.float64) + 0.5) / 10)
        plain = squared_error(fresh.eval(), -torch.ones(10, 3, 8, 8), t, measured.noise)
    assert measured.loss(fresh).mean == pytest.approx(plain.mean().item(), rel=1e-5)
