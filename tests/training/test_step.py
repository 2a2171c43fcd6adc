"""One step: what it changes, what it does not change if a value is not finite, and its random numbers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from sfumato.data import Batch, load_images
from sfumato.diffusion import losses as objective
from sfumato.diffusion import time_densities
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.losses import MinSNR, NoiseLevels, weighted_loss
from sfumato.diffusion.time_densities import LogNormalTimes
from sfumato.errors import RunError, TrainingError
from sfumato.training import ema, step
from sfumato.training.config import DiffusionConfig, OptimizationConfig, TrainConfig
from sfumato.training.ema import ConstantDecay, update_average
from sfumato.training.optim import AdamRule, learning_rate_scale
from sfumato.training.state import Counters, TrainingState
from sfumato.training.step import StepResult, step_seed, training_step
from sfumato.utils.registry import Registry
from sfumato.utils.shapes import UNLABELLED

from .conftest import Calls, NewState, Saved, Settings, Train

NAN, INFINITY = float("nan"), float("inf")

Poison = Callable[[set[int], float], None]


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Poison:
    """Makes the loss of the steps of these numbers (from 1) not finite."""

    def poison(steps: set[int], factor: float) -> None:
        numbers = iter(range(1, 10**6))

        def loss(
            model: PreconditionedDenoiser,
            x_0: torch.Tensor,
            levels: NoiseLevels,
            noise: torch.Tensor,
            labels: torch.Tensor,
            augmentation: torch.Tensor | None,
        ) -> torch.Tensor:
            return weighted_loss(model, x_0, levels, noise, labels, augmentation) * (
                factor if next(numbers) in steps else 1.0
            )

        monkeypatch.setattr(step, "weighted_loss", loss)

    return poison


def one_step(state: TrainingState, config: TrainConfig) -> StepResult:
    """A step on the first images."""
    images = load_images(config.source)
    assert images.labels is not None
    count = config.optimization.batch
    return training_step(state, Batch(images.floats()[:count], images.labels[:count]), config)


def content(state: TrainingState, path: Path) -> str:
    """The digest of all that a checkpoint holds of the state but the images seen and the steps skipped."""
    twin = deepcopy(state)
    twin.counters = Counters(steps=state.counters.steps)
    twin.checkpoint().save(path)
    with safe_open(path, framework="pt") as file:
        return str(file.metadata()["digest"])


def test_names_are_not_parsed_again_at_every_step(
    settings: Settings, new_state: NewState, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(ema="power:length=0.1", times="log-normal:std=1", weight="min-snr:gamma=1")
    state = new_state(config)
    one_step(state, config)

    def parsed(_: object, text: str, *__: object) -> None:
        raise AssertionError(f"{text} is parsed again")

    monkeypatch.setattr(Registry, "parse", parsed)
    one_step(state, config)


def test_a_name_refers_to_the_current_entry_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    for mean in (1.0, -1.0):
        monkeypatch.setitem(time_densities.TIME_DENSITIES, "mine", LogNormalTimes(mean))
        monkeypatch.setitem(objective.WEIGHTS, "mine", MinSNR(2 + mean))
        monkeypatch.setitem(ema.EMA_DECAYS, "mine", ConstantDecay(0.5 + mean / 4))
        diffusion, optimization = DiffusionConfig(times="mine:std=2", weight="mine"), OptimizationConfig(ema="mine")
        assert diffusion.time_density == LogNormalTimes(mean, 2.0)
        assert diffusion.loss_weight == MinSNR(2 + mean)
        assert optimization.ema_decay == ConstantDecay(0.5 + mean / 4)


@pytest.mark.parametrize("factor", [NAN, INFINITY, -INFINITY])
def test_a_loss_that_is_not_finite_changes_only_the_counters(
    factor: float, settings: Settings, new_state: NewState, poisoned: Poison, tmp_path: Path
) -> None:
    config = settings()
    state = new_state(config)
    assert one_step(state, config).finite
    before = content(state, tmp_path / "state")
    poisoned({1}, factor)
    assert not one_step(state, config).finite
    assert content(state, tmp_path / "state") == before
    assert (state.counters.images_seen, state.counters.steps, state.counters.skipped) == (8, 1, 1)


@pytest.mark.parametrize("value", [NAN, INFINITY])
def test_a_gradient_that_is_not_finite_changes_only_the_counters(
    value: float, settings: Settings, new_state: NewState, tmp_path: Path
) -> None:
    config = settings()
    state = new_state(config)
    assert one_step(state, config).finite
    before = content(state, tmp_path / "state")
    parameter = next(state.model.parameters())
    hook = parameter.register_hook(lambda gradient: torch.full_like(gradient, value))
    result = one_step(state, config)
    hook.remove()
    assert not result.finite
    assert torch.tensor(result.loss).isfinite()
    assert content(state, tmp_path / "state") == before
    assert one_step(state, config).finite
    assert content(state, tmp_path / "state") != before


def test_a_skipped_step_leaves_no_gradient_for_the_next(
    settings: Settings, new_state: NewState, poisoned: Poison, tmp_path: Path
) -> None:
    config = settings()
    skipping, fresh = new_state(config), new_state(config)
    poisoned({1}, NAN)
    assert not one_step(skipping, config).finite
    fresh.counters.images_seen = skipping.counters.images_seen
    one_step(skipping, config)
    one_step(fresh, config)
    assert content(skipping, tmp_path / "a") == content(fresh, tmp_path / "b")


def test_ten_bad_steps_in_a_row_stop_the_run_and_keep_its_files(
    settings: Settings, go: Train, saved: Saved, poisoned: Poison, tmp_path: Path
) -> None:
    config, run = settings(), tmp_path / "run"
    go(config, run, steps=2)
    poisoned(set(range(1, 100)), NAN)
    with pytest.raises(TrainingError, match=r"not finite in 10 steps in a row, the last at 48 images.*learning-rate"):
        go(config, run)
    assert saved(run)[1]["steps"] == 2


def test_nine_bad_steps_in_a_row_do_not_stop_the_run(
    settings: Settings, go: Train, poisoned: Poison, tmp_path: Path
) -> None:
    poisoned({*range(1, 10), *range(11, 20)}, NAN)
    counters = go(settings(images=84), tmp_path / "run").counters
    assert (counters.images_seen, counters.steps, counters.skipped) == (84, 3, 18)


@pytest.mark.parametrize("part", ["model", "average", "optimizer"])
def test_a_state_that_is_not_finite_is_never_saved(
    part: str, settings: Settings, new_state: NewState, tmp_path: Path
) -> None:
    config, path = settings(), tmp_path / "state.safetensors"
    state = new_state(config)
    one_step(state, config)
    state.checkpoint().save(path)
    before = path.read_bytes()
    parameter = next(getattr(state, "model" if part == "optimizer" else part).parameters())
    poisoned = state.optimizer.state()[parameter]["exp_avg"] if part == "optimizer" else parameter.data
    poisoned.flatten()[0] = NAN
    with pytest.raises(RunError, match=rf"the training state contains values in {part}.* that are not finite"):
        state.checkpoint().save(path)
    assert path.read_bytes() == before
    new_state(config).load(path)


def test_a_run_whose_weights_are_not_finite_keeps_its_files(
    settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = settings(), tmp_path / "run"
    go(config, run, steps=1)
    before = {path: path.read_bytes() for path in run.rglob("*.safetensors")}

    def diverging(state: TrainingState, batch: Batch, config: TrainConfig, microbatches: int) -> StepResult:
        result = training_step(state, batch, config, microbatches)
        for model in (state.model, state.average):
            next(model.parameters()).data.fill_(INFINITY)
        return result

    monkeypatch.setattr("sfumato.training.engine.training_step", diverging)
    with pytest.raises(RunError, match="not finite"):
        go(config, run, steps=1)
    assert {path: path.read_bytes() for path in run.rglob("*.safetensors")} == before


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.9999])
def test_the_ema_decays_faster_at_first(decay: float) -> None:
    model, average = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    expected = average.weight.detach().double()
    for number in range(1, 40):
        with torch.no_grad():
            model.weight.add_(torch.full((2, 3), 0.1 * number))
        update_average(average, model, torch.tensor(ConstantDecay(decay).rate(number)))
        d = min(decay, (1 + number) / (10 + number))
        expected = d * expected + (1 - d) * model.weight.detach().double()
    torch.testing.assert_close(average.weight.detach().double(), expected, rtol=1e-5, atol=1e-5)


def test_every_step_updates_the_ema_with_its_new_weights(settings: Settings, new_state: NewState) -> None:
    config = settings(ema="constant:decay=0.5")
    state = new_state(config)
    expected = [parameter.double().clone() for parameter in state.average.parameters()]
    for number in range(1, 16):
        one_step(state, config)
        d = min(0.5, (1 + number) / (10 + number))
        expected = [
            d * old + (1 - d) * new.detach().double()
            for old, new in zip(expected, state.model.parameters(), strict=True)
        ]
    for average, value in zip(state.average.parameters(), expected, strict=True):
        torch.testing.assert_close(average.double(), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("warmup", "decay", "share", "expected"),
    [
        (0.0, 0.0, 0.0, 1.0),
        (0.0, 0.0, 1.0, 1.0),
        (0.5, 0.0, 0.1, 0.2),
        (0.5, 0.0, 0.9, 1.0),
        (0.0, 1.0, 0.25, 0.75),
        (0.0, 0.2, 0.7, 1.0),
        (0.0, 0.2, 0.9, 0.5),
        (0.1, 1.0, 0.05, 0.5),
        (0.1, 1.0, 1.0, 0.0),
    ],
)
def test_the_learning_rate_has_a_warmup_and_a_decay_to_zero(
    warmup: float, decay: float, share: float, expected: float
) -> None:
    settings = OptimizationConfig(warmup=warmup, decay=decay)
    assert learning_rate_scale(settings, share, share) == pytest.approx(expected)


def test_the_first_and_last_step_have_a_positive_learning_rate() -> None:
    settings = OptimizationConfig(warmup=0.5, decay=0.5)
    assert learning_rate_scale(settings, 0.0, 0.1) == pytest.approx(0.2)
    assert learning_rate_scale(settings, 0.9, 1.0) == pytest.approx(0.2)


def test_the_learning_rate_is_that_at_the_end_of_the_step(settings: Settings, new_state: NewState) -> None:
    config = settings(warmup=0.15)
    state = new_state(config)
    (adam,) = state.optimizer.rules
    assert isinstance(adam, AdamRule)
    rates = []
    for _ in range(4):
        one_step(state, config)
        rates.append(adam.rate_now.item())
    assert rates == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.01])


def test_large_gradients_are_clipped(settings: Settings, new_state: NewState) -> None:
    config = settings(clip_gradient=1e-3)
    state = new_state(config)
    norm = one_step(state, config).gradient_norm
    moments = [memory["exp_avg"] / 0.1 for memory in state.optimizer.state().values()]
    assert norm > 1e-3
    assert torch.cat([m.flatten() for m in moments]).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_the_seed_of_a_step_depends_on_seed_and_images_seen() -> None:
    assert [step_seed(0, 0), step_seed(0, 128), step_seed(1, 0)] == [
        15793235383387715774,
        7360687382564303818,
        7434755675892716031,
    ]
    seeds = {step_seed(seed, images) for seed in range(20) for images in range(0, 2000, 20)}
    assert len(seeds) == 2000


def test_labels_are_dropped_at_their_rate_and_dropout_is_on(
    settings: Settings, new_state: NewState, calls: Calls
) -> None:
    config, asked = settings(label_dropout=0.3, batch=12), calls(step)
    state = new_state(config)
    for _ in range(40):
        one_step(state, config)
    assert all(call.training for call in asked)
    labels = torch.cat([call.labels for call in asked])
    assert (labels == UNLABELLED).double().mean().item() == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("flip", [True, False])
def test_images_are_flipped_only_if_requested(
    flip: bool, settings: Settings, new_state: NewState, calls: Calls
) -> None:
    config, asked = settings(flip=flip), calls(step)
    state = new_state(config)
    for _ in range(4):
        one_step(state, config)
    plain = load_images(config.source).floats()[:4]
    mirrored = [not torch.equal(image, same) for call in asked for image, same in zip(call.x_0, plain, strict=True)]
    assert (0 < sum(mirrored) < len(mirrored)) if flip else not any(mirrored)
