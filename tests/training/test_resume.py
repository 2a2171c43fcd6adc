"""A run that was stopped, killed or crashed resumes bit for bit on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from sfumato.data import Batch
from sfumato.errors import DeviceError, RunError
from sfumato.models import images_seen, load
from sfumato.training import checkpoints, engine, loop, step
from sfumato.training.config import TrainConfig
from sfumato.training.measurements import read_metrics
from sfumato.training.state import Checkpoint, TrainingState
from sfumato.training.step import StepResult, training_step

from .conftest import Calls, NewState, Saved, Settings, Train


def assert_equal_saves(saved: Saved, one: Path, other: Path) -> None:
    """Both runs hold the same weights, average, optimizer and counters."""
    (tensors, counters), (others, other_counters) = saved(one), saved(other)
    assert counters == other_counters
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name
    for weights, other_weights in zip(load(one).parameters(), load(other).parameters(), strict=True):
        assert torch.equal(weights, other_weights)


def killed(*_: object) -> None:
    """What stands where a process dies."""
    raise KeyboardInterrupt


AUGMENTED = {"translate": 2, "augment": 0.5, "batch": 7}


@pytest.mark.parametrize(
    "changes", [{}, {"labels": False}, {"batch": 7, "images": 93}, {"precision": "bfloat16"}, AUGMENTED]
)
def test_a_run_stopped_after_ten_steps_resumes_exactly(
    changes: dict[str, object], settings: Settings, go: Train, saved: Saved, calls: Calls, tmp_path: Path
) -> None:
    config, batches = settings(**changes), calls(step)
    go(config, tmp_path / "whole")
    whole = batches.copy()
    batches.clear()
    go(config, tmp_path / "parts", steps=10)
    assert len(batches) == 10
    go(config, tmp_path / "parts")
    assert_equal_saves(saved, tmp_path / "whole", tmp_path / "parts")
    assert len(whole) == len(batches)
    for one, other in zip(whole, batches, strict=True):
        torch.testing.assert_close(one._asdict(), other._asdict(), rtol=0, atol=0)


@pytest.mark.parametrize("steps", range(6))
def test_a_run_stopped_after_any_step_resumes_exactly(
    steps: int, settings: Settings, go: Train, saved: Saved, tmp_path: Path
) -> None:
    config = settings(images=22)
    go(config, tmp_path / "whole")
    assert go(config, tmp_path / "parts", steps).counters.images_seen == 4 * steps
    go(config, tmp_path / "parts")
    assert_equal_saves(saved, tmp_path / "whole", tmp_path / "parts")


def test_a_run_stopped_before_its_first_step_has_a_checkpoint(settings: Settings, go: Train, tmp_path: Path) -> None:
    go(settings(), tmp_path / "run", steps=0)
    assert [path.stem for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["000000000000"]


def test_a_run_stopped_at_every_step_resumes_exactly(
    settings: Settings, go: Train, saved: Saved, tmp_path: Path
) -> None:
    config = settings(images=16)
    go(config, tmp_path / "whole")
    for _ in range(4):
        go(config, tmp_path / "parts", steps=1)
    assert_equal_saves(saved, tmp_path / "whole", tmp_path / "parts")


def test_all_random_numbers_differ_between_steps(settings: Settings, go: Train, calls: Calls, tmp_path: Path) -> None:
    batches = calls(step)
    go(settings(images=44), tmp_path / "run")
    for name in ("x_0", "t", "noise", "labels"):
        assert len({str(getattr(batch, name).tolist()) for batch in batches}) > 5, name
    assert all(not torch.equal(one.noise, other.noise) for one, other in pairwise(batches))


def test_every_image_counts_and_the_last_batch_can_be_smaller(
    settings: Settings, go: Train, calls: Calls, tmp_path: Path
) -> None:
    batches = calls(step)
    state = go(settings(images=23, batch=10), tmp_path / "run")
    assert [len(batch.x_0) for batch in batches] == [10, 10, 3]
    assert (state.counters.images_seen, state.counters.steps, state.counters.skipped) == (23, 3, 0)


def test_a_finished_run_can_be_extended_exactly(settings: Settings, go: Train, saved: Saved, tmp_path: Path) -> None:
    go(settings(images=40, warmup=0.0), tmp_path / "whole")
    go(settings(images=20, warmup=0.0), tmp_path / "parts")
    go(settings(images=40, warmup=0.0), tmp_path / "parts")
    assert_equal_saves(saved, tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_is_not_changed(settings: Settings, go: Train, tmp_path: Path) -> None:
    config, run = settings(images=8), tmp_path / "run"
    go(config, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "log.txt"}
    assert go(config, run).counters.images_seen == 8
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "log.txt"}
    assert after == before


def test_a_kill_between_the_two_files_of_a_save_can_be_resumed(
    settings: Settings, go: Train, saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(images=20)
    go(config, tmp_path / "whole")
    go(config, tmp_path / "parts", steps=2)

    for home, name in ((Checkpoint, "save"), (checkpoints, "save_weights")):
        with monkeypatch.context() as patch:
            patch.setattr(home, name, killed)
            with pytest.raises(KeyboardInterrupt):
                go(config, tmp_path / "parts")
        assert images_seen(tmp_path / "parts") >= saved(tmp_path / "parts")[1]["images_seen"] == 8
    go(config, tmp_path / "parts")
    assert_equal_saves(saved, tmp_path / "whole", tmp_path / "parts")


def test_a_larger_budget_reports_once_that_the_network_is_kept(settings: Settings, go: Train, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = []
    for images in (8, 10**7, 10**7):
        go(settings(width=None, images=images), run, steps=2)
        said.append((run / "log.txt").read_text().count("The network keeps width"))
    assert said == [0, 1, 1]


def test_a_run_can_be_resumed_after_a_device_failure(
    settings: Settings, go: Train, saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(images=20, save_minutes=0)
    go(config, tmp_path / "whole")

    def fails_after_two(state: TrainingState, batch: Batch, config: TrainConfig, parts: int) -> StepResult:
        if state.counters.steps == 2:
            raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nSearch for it")
        return training_step(state, batch, config, parts)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "training_step", fails_after_two)
        with pytest.raises(DeviceError, match="ECC error encountered"):
            go(config, tmp_path / "parts")
    assert saved(tmp_path / "parts")[1]["images_seen"] == 8
    go(config, tmp_path / "parts")
    assert_equal_saves(saved, tmp_path / "whole", tmp_path / "parts")


def test_a_run_killed_before_its_first_save_can_start_again(
    settings: Settings, go: Train, saved: Saved, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").touch()
    (run / ".unfinished-abc").write_bytes(b"half a config")
    go(settings(images=8), run)
    assert saved(run)[1]["images_seen"] == 8
    assert not list(run.rglob(".unfinished-*"))


def test_a_crash_after_measuring_gives_no_repeated_lines(
    settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(images=48, validate_every=8)
    monkeypatch.setattr(loop, "STEPS_PER_LINE", 3)
    go(config, tmp_path / "whole")
    go(config, tmp_path / "parts", steps=5)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_weights", killed)
        with pytest.raises(KeyboardInterrupt):
            go(config, tmp_path / "parts")
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "ima')
    go(config, tmp_path / "parts")
    whole, parts = read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "parts")
    validation = [m for m in whole if m["kind"] == "validation"]
    assert [m["images"] for m in validation] == [8, 16, 24, 32, 40, 48]
    assert [m for m in parts if m["kind"] == "validation"] == validation
    trained = [m["images"] for m in parts if m["kind"] == "train"]
    assert trained == sorted(set(trained)) == [12, 20, 32, 44, 48]


def test_a_training_line_is_the_mean_of_at_least_one_step(
    settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []

    def recorded(state: TrainingState, batch: Batch, config: TrainConfig, parts: int) -> step.StepResult:
        result = training_step(state, batch, config, parts)
        losses.append(result.loss)
        return result

    monkeypatch.setattr(engine, "training_step", recorded)
    monkeypatch.setattr(loop, "STEPS_PER_LINE", 2)
    go(settings(images=16, warmup=1.0), tmp_path / "run")
    lines = [m for m in read_metrics(tmp_path / "run") if m["kind"] == "train"]
    assert [m["loss"] for m in lines] == pytest.approx([sum(losses[:2]) / 2, sum(losses[2:]) / 2])
    assert [(m["images"], m["steps"], m["skipped"]) for m in lines] == [(8, 2, 0), (16, 4, 0)]
    assert [m["learning_rate"] for m in lines] == pytest.approx([0.005, 0.01])


def test_the_newest_checkpoints_are_kept(settings: Settings, go: Train, tmp_path: Path) -> None:
    go(settings(images=24, save_minutes=0.0, keep=3), tmp_path / "run")
    kept = sorted(path.stem for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert [int(name) for name in kept] == [16, 20, 24]


def test_a_broken_checkpoint_is_reported_and_the_previous_used(
    settings: Settings, go: Train, saved: Saved, tmp_path: Path
) -> None:
    config = settings(images=24, save_minutes=0.0, keep=2)
    go(config, tmp_path / "whole")
    go(config, tmp_path / "parts", steps=3)
    before, newest = sorted((tmp_path / "parts" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    assert go(config, tmp_path / "parts", steps=1).counters.images_seen == 12
    log = (tmp_path / "parts" / "log.txt").read_text()
    assert f"Skipped a checkpoint: {newest} is truncated" in log
    assert "Resumed after 8 images" in log
    assert before.exists()
    go(config, tmp_path / "parts")
    assert_equal_saves(saved, tmp_path / "whole", tmp_path / "parts")


def test_a_broken_checkpoint_does_not_replace_a_valid_one(settings: Settings, go: Train, tmp_path: Path) -> None:
    run = tmp_path / "run"
    go(settings(images=24, save_minutes=0.0, keep=2), run, steps=4)
    newest = max((run / "checkpoints").iterdir())
    newest.write_bytes(b"")
    go(settings(images=24, save_minutes=10.0, keep=1), run, steps=0)
    go(settings(images=14, save_minutes=10.0, keep=1), run)
    assert [path.stem for path in (run / "checkpoints").iterdir()] == ["000000000014"]


def test_a_run_without_a_valid_checkpoint_is_not_restarted(settings: Settings, go: Train, tmp_path: Path) -> None:
    config, run = settings(images=24, save_minutes=0.0), tmp_path / "run"
    go(config, run, steps=3)
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"no checkpoint of .*run can be read: .*000000000012.safetensors is truncated"):
        go(config, run)


def test_a_checkpoint_of_another_network_is_rejected(
    settings: Settings, go: Train, new_state: NewState, tmp_path: Path
) -> None:
    config, run = settings(images=8), tmp_path / "run"
    go(config, run)
    with pytest.raises(RunError, match=r"000000000008.safetensors has model.*|.* has .* as torch.float32"):
        new_state(settings(width=16)).load(run / "checkpoints" / "000000000008.safetensors")


def test_a_checkpoint_without_optimizer_state_is_rejected(
    settings: Settings, new_state: NewState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = new_state(settings())
    forgotten = state.optimizer.state() | {next(state.model.parameters()): {}}
    monkeypatch.setattr(state.optimizer, "state", lambda: forgotten)
    state.checkpoint().save(tmp_path / "a.safetensors")
    with pytest.raises(RunError, match=r"a.safetensors lacks tensor .*exp_avg"):
        new_state(settings()).load(tmp_path / "a.safetensors")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "lost": Path.unlink,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "changed": lambda path: path.write_bytes(path.read_bytes()[:-4] + b"good"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_lost_or_broken_model_is_restored_from_the_checkpoint(
    damage: Callable[[Path], object], settings: Settings, go: Train, tmp_path: Path
) -> None:
    run, config = tmp_path / "run", settings(images=8)
    state = go(config, run)
    damage(run / "model" / "model.safetensors")
    go(config, run)
    torch.testing.assert_close(load(run).state_dict(), state.average.state_dict(), rtol=0, atol=0)


def test_a_run_without_checkpoints_does_not_overwrite_its_model(settings: Settings, go: Train, tmp_path: Path) -> None:
    go(settings(images=8), tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(RunError, match=r"cannot be resumed.* no checkpoints.*model can still be sampled"):
        go(settings(images=16), tmp_path / "run")
    with pytest.raises(RunError, match="contains a run with other settings"):
        go(settings(width=16), tmp_path / "run")
    load(tmp_path / "run")
    assert images_seen(tmp_path / "run") == 8


def test_the_settings_of_a_run_without_a_step_can_change(settings: Settings, go: Train, tmp_path: Path) -> None:
    go(settings(images=8, batch=4), tmp_path / "run", steps=0)
    assert go(settings(images=8, batch=2, width=16), tmp_path / "run").counters.steps == 4


def test_an_interrupted_last_validation_is_repeated(settings: Settings, go: Train, tmp_path: Path) -> None:
    go(settings(images=8), tmp_path / "run")
    preview = tmp_path / "run" / "samples" / "000000000008.png"
    preview.unlink()
    go(settings(images=8), tmp_path / "run")
    assert preview.is_file()


FOREIGN = ['{"kind":"train","images":5}', '{"kind":"validation","images":"x","loss":"y"}', "[1]", "{", "\xff\xfe"]


@pytest.mark.parametrize("line", FOREIGN)
def test_invalid_lines_in_metrics_jsonl_are_skipped(line: str, settings: Settings, go: Train, tmp_path: Path) -> None:
    go(settings(images=8), tmp_path / "run")
    before = read_metrics(tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    assert read_metrics(tmp_path / "run") == before
    go(settings(images=12), tmp_path / "run")
