"""Captured, compiled and eager steps, and microbatches, give the same results."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from sfumato.data import Batch, load_images
from sfumato.networks.region import compile_regions
from sfumato.training.config import TrainConfig
from sfumato.training.engine import CapturedEngine, EagerEngine, Engine, captured_engine, prepare
from sfumato.training.state import TrainingState
from sfumato.training.step import StepResult, StepScales, gradients, prepare_inputs, training_step, update

from .conftest import NewState, Settings

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CONVNET = {"backbone": "convnet", "width": 64, "multipliers": (1, 2), "blocks": (1, 1), "attention": (4,)}
KINDS: dict[str, dict[str, object]] = {
    "unet, adam": {"width": 32},
    "convnet, muon": {**CONVNET, "optimizer": "muon", "ema": "power"},
    "convnet, augmented": {**CONVNET, "optimizer": "muon", "augment": 0.5, "translate": 1},
}


def batches(config: TrainConfig, count: int, device: str = "cpu") -> Iterator[Batch]:
    """The same images over and over."""
    images = load_images(config.source)
    assert images.labels is not None
    size = config.optimization.batch
    for _ in range(count):
        yield Batch(images.floats()[:size].to(device), images.labels[:size].to(device))


def weights(state: TrainingState) -> torch.Tensor:
    """All weights and all averaged ones, one after the other."""
    return torch.cat([p.detach().flatten().cpu() for p in (*state.model.parameters(), *state.average.parameters())])


def results(engine: Engine, given: Iterator[Batch]) -> list[StepResult]:
    """What the engine measures in all of the batches."""
    taken = [result for batch in given for result in engine.step(batch)]
    return taken + engine.drained()


def assert_alike(one: list[StepResult], other: list[StepResult], tolerance: float) -> None:
    """Losses and norms agree within a share of theirs."""
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=tolerance)
        assert mine.gradient_norm == pytest.approx(theirs.gradient_norm, rel=5 * tolerance)
        assert mine.finite == theirs.finite


def test_microbatches_give_the_gradients_of_the_batch(settings: Settings, new_state: NewState) -> None:
    config = settings(dropout=0.0, batch=10, **CONVNET)
    (batch,) = batches(config, 1)
    measured = []
    for microbatches in (1, 4, 10):
        state = new_state(config)
        loss = gradients(state, prepare_inputs(state, batch, config), config, microbatches)
        measured.append([loss, *(p.grad for p in state.model.parameters())])
    for divided in measured[1:]:
        torch.testing.assert_close(divided, measured[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_up_step_changes_nothing(kind: str, settings: Settings, new_state: NewState) -> None:
    config = settings(**KINDS[kind])
    state = new_state(config)
    (batch,) = batches(config, 1)
    training_step(state, batch, config)
    before, memory = weights(state), deepcopy([list(m.values()) for m in state.optimizer.state().values()])
    update(state, prepare_inputs(state, batch, config), StepScales(*torch.tensor([1.0, 0.5, 0.0])), config, 1)
    assert torch.equal(weights(state), before)
    after = [list(m.values()) for m in state.optimizer.state().values()]
    for old, new in zip(memory, after, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True))


@pytest.mark.filterwarnings("ignore")
def test_compiled_steps_equal_eager_steps(
    settings: Settings, new_state: NewState, unchecked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs of forward and backward passes as they are compiled, but run without Inductor, which takes a minute."""
    del unchecked
    config = settings(dropout=0.0, learning_rate=1e-4, backbone="convnet", width=16)
    eager, compiled = new_state(config), new_state(config)
    names = list(compiled.model.state_dict())
    compile_with = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module, **how: compile_with(module, backend="aot_eager", **how))
    compile_regions(compiled.model.network, tmp_path)
    one, other = (results(EagerEngine(state, config, print), batches(config, 4)) for state in (eager, compiled))
    assert_alike(one, other, 1e-4)
    torch.testing.assert_close(weights(eager), weights(compiled), rtol=1e-3, atol=1e-3)
    assert list(compiled.model.state_dict()) == names


def on_gpu(new_state: NewState, config: TrainConfig) -> TrainingState:
    """The same state as on a CPU."""
    state = new_state(config)
    return TrainingState(state.model.cuda(), config.optimization)


def captured_on_gpu(state: TrainingState, config: TrainConfig, compiled: bool, cache: Path) -> CapturedEngine:
    """An engine as training makes it."""
    if compiled:
        prepare(state.model.network, config, cache, print)
    return captured_engine(state, config, next(batches(config, 1, "cuda")), print)


@CUDA
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compiled", [False, True], ids=["captured", "captured and compiled"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-3), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("kind", KINDS)
def test_captured_steps_equal_eager_steps(
    kind: str,
    precision: str,
    tolerance: float,
    compiled: bool,
    settings: Settings,
    new_state: NewState,
    unchecked: None,
    tmp_path: Path,
) -> None:
    del unchecked
    config = settings(dropout=0.0, images=10**6, batch=8, precision=precision, learning_rate=1e-3, **KINDS[kind])
    eager, other = on_gpu(new_state, config), on_gpu(new_state, config)
    engine = captured_on_gpu(other, config, compiled, tmp_path)
    assert_alike(
        results(EagerEngine(eager, config, print), batches(config, 12, "cuda")),
        results(engine, batches(config, 12, "cuda")),
        tolerance,
    )
    assert eager.counters == other.counters
    assert (weights(eager) - weights(other)).abs().mean() < tolerance * weights(eager).abs().mean()


@CUDA
def test_a_captured_step_that_is_not_finite_changes_nothing(
    settings: Settings, new_state: NewState, tmp_path: Path
) -> None:
    config = settings(batch=8, **KINDS["convnet, muon"])
    state = on_gpu(new_state, config)
    engine = captured_on_gpu(state, config, False, tmp_path)
    results(engine, batches(config, 2, "cuda"))
    before = weights(state)
    (good,) = batches(config, 1, "cuda")
    (bad,) = results(engine, iter([Batch(good.images * float("nan"), good.labels)]))
    assert not bad.finite
    assert torch.equal(weights(state), before)
    assert (state.counters.steps, state.counters.skipped) == (2, 1)
    assert all(result.finite for result in results(engine, batches(config, 2, "cuda")))


def hungry(network: nn.Module, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a network find memory full when it is given more images than that."""
    forward = network.forward

    def called(x: torch.Tensor, *rest: object) -> torch.Tensor:
        if len(x) > most:
            raise torch.OutOfMemoryError
        answer: torch.Tensor = forward(x, *rest)
        return answer

    monkeypatch.setattr(network, "forward", called)


def test_a_batch_that_does_not_fit_uses_and_reports_microbatches(
    settings: Settings, new_state: NewState, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(batch=8, dropout=0.0)
    whole, divided, said = new_state(config), new_state(config), list[str]()
    hungry(divided.model.network, 2, monkeypatch)
    assert_alike(
        results(EagerEngine(whole, config, print), batches(config, 3)),
        results(EagerEngine(divided, config, said.append), batches(config, 3)),
        1e-4,
    )
    assert [text.split()[-2] for text in said] == ["2", "4"]
    assert whole.counters == divided.counters


def test_out_of_memory_for_a_single_image_is_raised(
    settings: Settings, new_state: NewState, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(batch=2)
    state = new_state(config)
    hungry(state.model.network, 0, monkeypatch)
    with pytest.raises(torch.OutOfMemoryError):
        results(EagerEngine(state, config, print), batches(config, 1))


@CUDA
def test_a_graph_that_does_not_fit_uses_and_reports_microbatches(
    settings: Settings, new_state: NewState, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(batch=8)
    state, said = on_gpu(new_state, config), list[str]()
    (batch,) = batches(config, 1, "cuda")
    hungry(state.model.network, 2, monkeypatch)
    engine = captured_engine(state, config, batch, said.append)
    assert [text.split()[-2] for text in said] == ["2", "4"]
    assert all(result.finite for result in results(engine, batches(config, 3, "cuda")))
