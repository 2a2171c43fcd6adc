"""The random numbers of a step depend on the seed and the images seen, and are used only once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sfumato.data import Batch
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.losses import NoiseLevels
from sfumato.diffusion.schedules import Flow
from sfumato.training import step
from sfumato.training.config import TrainConfig
from sfumato.training.state import Counters, TrainingState
from sfumato.training.step import count_launched, gradients, prepare_inputs, step_seed, training_step
from sfumato.utils.shapes import UNLABELLED

from .conftest import NewState, Settings

COUNT, STEPS = 4, 400

MUCH = 5.5 / STEPS**0.5
"""No correlation of independent numbers over so many steps is as large, of some hundred thousand of them."""


class Drawn:
    """What the losses of some steps were given: noise, levels, labels; and the seed of torch's generator."""

    def __init__(self) -> None:
        self.noise: list[Tensor] = []
        self.sigma: list[Tensor] = []
        self.hidden: list[Tensor] = []
        self.images: list[Tensor] = []
        self.seeds: list[int] = []
        self.finite = True

    def loss(
        self,
        model: PreconditionedDenoiser,
        x_0: Tensor,
        levels: NoiseLevels,
        noise: Tensor,
        labels: Tensor,
        features: Tensor | None,
    ) -> Tensor:
        """No loss at all, but for its being finite; draws a number, as dropout would."""
        del features
        torch.rand(1)
        self.noise.append(noise.clone())
        self.sigma.append(levels.sigma.clone())
        self.hidden.append((labels == UNLABELLED).float())
        self.images.append(x_0.clone())
        self.seeds.append(torch.initial_seed())
        nothing = sum(parameter.sum() for parameter in model.parameters()) * 0
        return nothing + torch.full((len(x_0),), 0.0 if self.finite else float("nan"))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """What the losses are given from now on, instead of computing any."""
    of_steps = Drawn()
    monkeypatch.setattr(step, "weighted_loss", of_steps.loss)
    return of_steps


def batch() -> Batch:
    """Images that differ, of both classes, none mirrored upon itself."""
    ramps = torch.linspace(-1, 1, COUNT * 3 * 8 * 8).reshape(COUNT, 3, 8, 8)
    return Batch(ramps, torch.arange(COUNT) % 2)


def after(state: TrainingState, **counters: int) -> TrainingState:
    """The state with other counters."""
    state.counters = Counters(**counters)
    return state


def many_draws(state: TrainingState, config: TrainConfig) -> None:
    """What many steps draw, one after the other, without the optimizer, which takes most of a step."""
    for _ in range(STEPS):
        gradients(state, prepare_inputs(state, batch(), config), config, 1)
        count_launched(state, COUNT)


def every_number(seen: Drawn) -> list[Tensor]:
    """All that was drawn by each step, one tensor a step."""
    microbatches = (seen.noise, seen.sigma, seen.hidden, seen.images)
    return [torch.cat([part.flatten() for part in of_step]) for of_step in zip(*microbatches, strict=True)]


@pytest.fixture
def config(settings: Settings) -> TrainConfig:
    """Half of the labels are hidden, images are flipped and moved, times are continuous."""
    return settings(label_dropout=0.5, translate=1, parametrization="flow", schedule="flow")


def test_random_numbers_depend_on_images_seen_not_on_the_step(
    config: TrainConfig, new_state: NewState, seen: Drawn
) -> None:
    state = new_state(config)
    for counters in ({"steps": 25}, {"steps": 10, "skipped": 15}, {"steps": 0, "skipped": 1}):
        training_step(after(state, images_seen=100, **counters), batch(), config)
    for images_seen in (0, 96, 104):
        training_step(after(state, images_seen=images_seen, steps=25), batch(), config)
    same, others = every_number(seen)[:3], every_number(seen)[2:]
    assert torch.equal(same[0], same[1])
    assert torch.equal(same[0], same[2])
    assert all(not torch.equal(one, other) for i, one in enumerate(others) for other in others[:i])
    assert seen.seeds == [step_seed(0, images) for images in (100, 100, 100, 0, 96, 104)]


def test_a_step_is_seeded_once(
    config: TrainConfig, new_state: NewState, seen: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times, hidden labels, noise and dropout then are different parts of one stream."""
    seeds: list[int] = []
    manual_seed = torch.manual_seed

    def counted(seed: int) -> torch.Generator:
        seeds.append(seed)
        return manual_seed(seed)

    monkeypatch.setattr(torch, "manual_seed", counted)
    state = new_state(config)
    seeds.clear()
    training_step(state, batch(), config, microbatches=2)
    training_step(state, batch(), config)
    assert seeds == [step_seed(0, 0), step_seed(0, 4)]
    assert len(seen.seeds) == 3


def test_another_seed_gives_other_random_numbers(config: TrainConfig, new_state: NewState, seen: Drawn) -> None:
    for seed in (0, 1, 2):
        other = replace(config, optimization=replace(config.optimization, seed=seed))
        training_step(after(new_state(config), images_seen=8), batch(), other)
    one, two, three = seen.noise
    assert not (one == two).any()
    assert not (two == three).any()
    assert len({tuple(sigma.tolist()) for sigma in seen.sigma}) == 3


def test_random_numbers_are_not_repeated_after_a_skipped_step(
    config: TrainConfig, new_state: NewState, seen: Drawn
) -> None:
    state = new_state(config)
    for finite in (True, False, False, True):
        seen.finite = finite
        assert training_step(state, batch(), config).finite == finite
    assert seen.seeds == [step_seed(0, images) for images in (0, 4, 8, 12)]
    assert (state.counters.steps, state.counters.images_seen) == (2, 16)
    for i, noise in enumerate(seen.noise):
        assert not any((noise == other).any() for other in seen.noise[:i])


def test_microbatches_use_the_random_numbers_of_the_batch(
    config: TrainConfig, new_state: NewState, seen: Drawn
) -> None:
    whole = Drawn()
    training_step(after(new_state(config), images_seen=20), batch(), config, microbatches=3)
    microbatches = [torch.cat(part) for part in (seen.noise, seen.sigma, seen.hidden, seen.images)]
    seen.__dict__.update(whole.__dict__)
    training_step(after(new_state(config), images_seen=20), batch(), config)
    for of_parts, of_whole in zip(microbatches, (seen.noise, seen.sigma, seen.hidden, seen.images), strict=True):
        assert torch.equal(of_parts, of_whole[0])


def correlations(one: Tensor, other: Tensor) -> Tensor:
    """Of every column (steps, numbers) of one with every column of the other."""
    one, other = (((x - x.mean(0)) / x.std(0, correction=0)).double() for x in (one, other))
    return one.T @ other / len(one)


@pytest.mark.parametrize("stratified", [True, False])
def test_the_random_numbers_of_a_step_are_independent(
    stratified: bool, settings: Settings, new_state: NewState, seen: Drawn
) -> None:
    """Noise, times and hidden labels, each with itself and with the others, from image to image and step to step."""
    config = settings(label_dropout=0.5, parametrization="flow", schedule="flow", flip=True, stratified=stratified)
    many_draws(new_state(config), config)
    noise, sigma = torch.stack(seen.noise).flatten(1), torch.stack(seen.sigma)
    hidden, flips = torch.stack(seen.hidden), (torch.stack(seen.images) != batch().images).flatten(2).any(2).float()
    assert noise.mean().abs() < 5 / noise.numel() ** 0.5
    assert noise.std().item() == pytest.approx(1, abs=5 / noise.numel() ** 0.5)
    assert noise.pow(4).mean().item() == pytest.approx(3, abs=0.1)
    assert hidden.mean(0).tolist() == pytest.approx([0.5] * COUNT, abs=0.1)
    kinds = {"noise": noise, "its size": noise.abs(), "times": sigma, "hidden": hidden, "flips": flips}
    small = {"times", "hidden", "flips"}
    for name in small:
        for other in kinds:
            found = correlations(kinds[name], kinds[other])
            if name == other:
                own = found.diagonal().clone()
                found.fill_diagonal_(0)
                assert (own > 0.99).all()
            limit = MUCH + (1 / (COUNT - 1) if name == other == "times" and stratified else 0)
            assert found.abs().max() < limit, (name, other)
            assert correlations(kinds[name][:-1], kinds[other][1:]).abs().max() < MUCH, (
                name,
                other,
                "of the next step",
            )
    found = correlations(noise, noise).fill_diagonal_(0)
    assert found.abs().max() < MUCH
    assert correlations(noise[:-1], noise[1:]).abs().max() < MUCH


@pytest.mark.parametrize("stratified", [True, False])
def test_times_are_stratified_on_request_at_every_batch_position(
    stratified: bool, settings: Settings, new_state: NewState, seen: Drawn
) -> None:
    """On the flow sigma is t, uniform from the earliest time on: each quarter once a step, or as chance has it."""
    config = settings(parametrization="flow", schedule="flow", stratified=stratified)
    many_draws(new_state(config), config)
    shares = 4 * (torch.stack(seen.sigma) - Flow().earliest) / (1 - Flow().earliest)
    quarters = shares.floor().clamp(max=3)
    one_of_each = (quarters.sort(1).values == torch.arange(4)).all(1).float().mean().item()
    assert one_of_each == pytest.approx(1 if stratified else 24 / 256, abs=0 if stratified else 0.08)
    within = shares - quarters
    for place in range(COUNT):
        often = torch.bincount(quarters[:, place].long(), minlength=4) / STEPS
        assert often.tolist() == pytest.approx([0.25] * 4, abs=0.1)
        assert within[:, place].std().item() == pytest.approx(12**-0.5, abs=0.03)
    assert correlations(within, within).fill_diagonal_(0).abs().max() < MUCH
