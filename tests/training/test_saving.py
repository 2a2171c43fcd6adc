"""Saving in the background: it writes the state at its start, and its errors are reported."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
import torch
from torch import nn

from sfumato.errors import OutOfMemoryError, RunError
from sfumato.models import BEST, images_seen, save_weights
from sfumato.training import checkpoints
from sfumato.training.checkpoints import BestModel, Run
from sfumato.training.config import TrainConfig
from sfumato.training.state import Checkpoint, TrainingState, copied
from sfumato.utils.background import Background

from .conftest import NewState, Saved, Settings, Train, opened


@pytest.fixture
def state(config: TrainConfig, new_state: NewState) -> TrainingState:
    """A state that the run may come to."""
    made = new_state(config)
    made.counters.images_seen = 12
    return made


def fill(module: nn.Module, value: float) -> None:
    """Gives all weights one value."""
    for parameter in module.parameters():
        nn.init.constant_(parameter, value)


def measure_for_some_seconds(run: Run) -> None:
    for _ in range(1000):
        run.add_measurement({"kind": "train", "images": 12})
        time.sleep(0.01)


def test_a_save_contains_the_state_at_its_start(
    config: TrainConfig, state: TrainingState, saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    went_on = Event()

    def slow(*arguments: object) -> None:
        assert went_on.wait(10)
        save_weights(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoints, "save_weights", slow)
    fill(state.model, 0.25)
    fill(state.average, 0.5)
    with opened(config, tmp_path / "run") as run:
        run.save(state, keep=1)
        fill(state.model, 7.0)
        fill(state.average, 7.0)
        state.counters.images_seen = 16
        went_on.set()
    tensors, counters = saved(tmp_path / "run")
    values = {name.partition(".")[0]: tensor.unique().tolist() for name, tensor in tensors.items() if "weight" in name}
    assert (values["model"], values["average"]) == ([0.25], [0.5])
    assert counters["images_seen"] == 12
    assert [path.stem for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["000000000012"]


def disk_full(*_: object) -> None:
    raise RunError("the disk is full", "Free space.")


def test_a_failed_save_is_reported_and_earlier_files_are_kept(
    config: TrainConfig, state: TrainingState, saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved(tmp_path / "run")
    monkeypatch.setattr(Checkpoint, "save", disk_full)
    with opened(config, tmp_path / "run") as run:
        run.save(state, keep=1)
        with pytest.raises(RunError, match="the disk is full"):
            measure_for_some_seconds(run)
    after = saved(tmp_path / "run")
    assert after[1] == before[1]
    assert all(torch.equal(after[0][name], tensor) for name, tensor in before[0].items())


def test_without_a_new_checkpoint_the_best_model_is_not_replaced(
    config: TrainConfig, state: TrainingState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(images: int) -> None:
        with opened(config, tmp_path / "run") as run:
            run.save(state, keep=1, best=BestModel(copied(state.average.network.state_dict()), images))

    save(8)
    monkeypatch.setattr(Checkpoint, "save", disk_full)
    with pytest.raises(RunError, match="the disk is full"):
        save(12)
    assert images_seen(tmp_path / "run" / BEST) == 8


def test_out_of_memory_in_the_last_save_suggests_a_remedy(
    settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(checkpoint: Checkpoint, path: Path) -> None:
        if checkpoint.counters.images_seen == 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        save(checkpoint, path)

    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", full)
    with pytest.raises(OutOfMemoryError, match="--width"):
        go(settings(images=20), tmp_path / "run", steps=2)


def test_a_run_is_unlocked_if_its_last_save_is_interrupted(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Background) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Background, "close", interrupted)
        with pytest.raises(KeyboardInterrupt), opened(config, tmp_path / "run") as run:
            run.log("left")
    with opened(config, tmp_path / "run") as run:
        run.log("no longer locked")


@pytest.mark.parametrize("shape", [(), (16,), (2, 8), (1, 4, 2, 2)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_copy_is_contiguous_and_has_its_own_memory(
    shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    """Weights that are contiguous already, as biases are, are copied too."""
    weights = torch.randn(shape)
    weights = weights.contiguous(memory_format=memory_format) if len(shape) == 4 else weights
    copy = copied({"weights": weights})["weights"]
    assert torch.equal(copy, weights)
    assert copy.is_contiguous()
    assert copy.data_ptr() != weights.data_ptr()


def test_a_failed_save_is_reported_at_the_end_of_a_run(
    config: TrainConfig, state: TrainingState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Checkpoint, "save", disk_full)
    with pytest.raises(RunError, match="the disk is full"), opened(config, tmp_path / "run") as run:
        run.save(state, keep=1)


@pytest.mark.parametrize("save", [lambda run, state: run.save(state, 1), Run.save_guidance_checkpoint])
def test_weights_that_are_not_finite_are_not_saved(
    save: Callable[[Run, TrainingState], None], config: TrainConfig, state: TrainingState, tmp_path: Path
) -> None:
    fill(state.average, torch.nan)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.safetensors")}
    with pytest.raises(RunError, match="not finite"), opened(config, tmp_path / "run") as run:
        save(run, state)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.safetensors")} == before
    with opened(config, tmp_path / "run") as run:
        run.log("no longer locked")
