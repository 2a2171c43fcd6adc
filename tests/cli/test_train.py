"""`sfumato train`: training, stopping and resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from sfumato.training.measurements import read_metrics
from sfumato.utils.captions import HEIGHT
from sfumato.utils.signals import stop_request

from .conftest import TINY, Command


def test_training_writes_the_run_directory(sfumato: Command, run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= {"config.toml", "model", "checkpoints", "metrics.jsonl", "log.txt"}
    assert {path.name for path in (run / "model").iterdir()} == {"config.json", "model.safetensors"}
    with Image.open(max((run / "samples").iterdir())) as grid:
        assert grid.size == (2 * 64 + 3 * 2, HEIGHT + 2 * 64 + 3 * 2)
        assert grid.mode == "RGB"
        low, high = grid.convert("L").getextrema()
        assert low != high
    assert "11 images of 8x8 pixels, RGB, 8 bits, 2 classes (1 more for validation)" in (run / "log.txt").read_text()
    assert sfumato("show", run).code == 0


def test_the_same_command_is_done_and_a_longer_one_resumes(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    command = ["train", photos, "--out", tmp_path / "run", *TINY]
    first = sfumato(*command, "--images", 8)
    again = sfumato(*command, "--images", 8)
    longer = sfumato(*command, "--images", 12)
    assert (first.code, again.code, longer.code) == (0, 0, 0)
    assert "Done: 8 images in 0.0 minutes." in first.out
    assert f"To sample new images: sfumato sample {tmp_path / 'run'}" in first.out
    assert "Done: 8 images" in again.out
    assert "Resumed after 8 images" in longer.out
    assert "Done: 12 images" in longer.out


def test_the_default_run_directory_is_named_after_the_data(
    sfumato: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sfumato("train", photos, "--images", 4, *TINY).code == 0
    assert (tmp_path / "runs" / "photos" / "config.toml").is_file()


def test_unreadable_files_are_printed(sfumato: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(3):
        Image.new("L", (8, 8), 80 * number).save(tmp_path / "data" / f"{number}.png")
    (tmp_path / "data" / "broken.png").write_text("no image")
    outcome = sfumato("train", tmp_path / "data", "--out", tmp_path / "run", "--images", 4, *TINY)
    assert outcome.code == 0
    assert "broken.png" in outcome.out


@contextmanager
def training(command: list[str], run: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that trains without end and has saved a checkpoint; it is killed at the end of the block."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sfumato", *command, "--images", "100000000", "--save-minutes", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    try:
        deadline = time.monotonic() + 120
        while not any(int(path.stem) for path in run.glob("checkpoints/*.safetensors")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "nothing was saved"
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.slow
def test_a_signal_saves_and_stops_after_the_step(
    number: signal.Signals, code: int, sfumato: Command, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ["train", str(photos), "--out", str(run), *TINY]
    with training(command, run) as process:
        refused = sfumato(*command, "--images", 100_000_000)
        process.send_signal(number)
        output, _ = process.communicate(timeout=120)
    assert refused.code == 2
    assert f"another process is training in {run}" in refused.error
    assert process.returncode == code, output
    assert "Traceback" not in output
    seen = int(max((run / "checkpoints").iterdir()).stem)
    assert f"Stopped and saved at 0%, after {seen:,} images. To resume, run the same command." in output
    assert f"Resumed after {seen:,} images" in sfumato(*command, "--images", seen + 4).out


@pytest.mark.slow
def test_a_killed_run_resumes(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", str(photos), "--out", str(run), *TINY]
    with training(command, run) as process:
        process.kill()
        process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    seen = int(max((run / "checkpoints").glob("*.safetensors")).stem)
    outcome = sfumato(*command, "--images", seen + 8)
    assert outcome.code == 0, outcome.error
    assert f"Resumed after {seen:,} images" in outcome.out
    assert read_metrics(run)[-1]["images"] == seen + 8


def test_the_first_ctrl_c_stops_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_request() as request:
        assert (request(), request.exit_code) == (False, 0)
        signal.raise_signal(signal.SIGINT)
        assert (request(), request.exit_code) == (True, 130)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_show_prints_the_configuration_and_progress(sfumato: Command, run: Path, photos: Path) -> None:
    outcome = sfumato("show", run)
    assert outcome.code == 0
    for text in (
        str(run),
        f"{photos}: 12 images of 8x8x3",
        "2: cat, dog",
        "preset tiny: UNet, 8 channels x [1], blocks per level: 1",
        "100% of 24 images: 24 images in 6 steps",
        "000000000024.safetensors",
    ):
        assert text in outcome.out


def test_show_prints_json(sfumato: Command, run: Path) -> None:
    facts = json.loads(sfumato("show", run, "--json").out)
    measured = {m["kind"]: m["loss"] for m in read_metrics(run)}
    assert facts["labels"] == ["cat", "dog"]
    assert (facts["images_seen"], facts["steps"], facts["skipped_steps"]) == (24, 6, 0)
    assert (facts["loss"], facts["heldout_loss"]) == (measured["train"], measured["validation"])


def test_markup_in_a_path_is_printed_literally(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "[" / "red] [bold]x"
    assert sfumato("train", photos, "--out", run, "--images", 4, *TINY).code == 0
    assert str(run) in sfumato("show", run).out


def test_a_second_sigterm_ends_the_process() -> None:
    with stop_request() as request:
        signal.raise_signal(signal.SIGTERM)
        assert request()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
