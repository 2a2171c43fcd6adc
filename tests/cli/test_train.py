"""`sfumato train`: one command that trains, stops when asked, and goes on when given again."""

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


def test_a_folder_is_learned_and_everything_is_left_in_the_run(sfumato: Command, run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= {"config.toml", "model", "checkpoints", "metrics.jsonl", "log.txt"}
    assert {path.name for path in (run / "model").iterdir()} == {"config.json", "model.safetensors"}
    with Image.open(max((run / "samples").iterdir())) as grid:
        assert grid.size == (2 * 64 + 3 * 2, HEIGHT + 2 * 64 + 3 * 2)
        assert grid.mode == "RGB"
        low, high = grid.convert("L").getextrema()
        assert low != high
    assert "11 images of 8x8 pixels, RGB, 8 bits, 2 classes (1 more held out)" in (run / "log.txt").read_text()
    assert sfumato("show", run).code == 0


def test_the_same_command_says_that_it_is_done_and_a_longer_one_goes_on(
    sfumato: Command, photos: Path, tmp_path: Path
) -> None:
    command = ["train", photos, "--out", tmp_path / "run", *TINY]
    first = sfumato(*command, "--images", 8)
    again = sfumato(*command, "--images", 8)
    longer = sfumato(*command, "--images", 12)
    assert (first.code, again.code, longer.code) == (0, 0, 0)
    assert "Done: 8 images in 0.0 minutes." in first.out
    assert f"To draw new ones: sfumato sample {tmp_path / 'run'}" in first.out
    assert "Done: 8 images" in again.out
    assert "Going on after 8 images" in longer.out
    assert "Done: 12 images" in longer.out


def test_without_out_a_run_is_named_after_its_data(
    sfumato: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sfumato("train", photos, "--images", 4, *TINY).code == 0
    assert (tmp_path / "runs" / "photos" / "config.toml").is_file()


def test_unreadable_files_are_named_and_counted(sfumato: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(3):
        Image.new("L", (8, 8), 80 * number).save(tmp_path / "data" / f"{number}.png")
    (tmp_path / "data" / "broken.png").write_text("no image")
    outcome = sfumato("train", tmp_path / "data", "--out", tmp_path / "run", "--images", 4, *TINY)
    assert outcome.code == 0
    assert "broken.png" in outcome.out


@contextmanager
def training(command: list[str], run: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that trains without end, once it has saved after a step; it does not outlive the block."""
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
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(
    number: signal.Signals, code: int, sfumato: Command, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ["train", str(photos), "--out", str(run), *TINY]
    with training(command, run) as process:
        refused = sfumato(*command, "--images", 100_000_000)
        process.send_signal(number)
        said, _ = process.communicate(timeout=120)
    assert refused.code == 2
    assert f"another process is training in {run}" in refused.error
    assert process.returncode == code, said
    assert "Traceback" not in said
    seen = int(max((run / "checkpoints").iterdir()).stem)
    assert f"Stopped and saved at 0%, after {seen:,} images. To go on, give the same command." in said
    assert f"Going on after {seen:,} images" in sfumato(*command, "--images", seen + 4).out


def test_a_killed_run_goes_on(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", str(photos), "--out", str(run), *TINY]
    with training(command, run) as process:
        process.kill()
        process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    seen = int(max((run / "checkpoints").glob("*.safetensors")).stem)
    outcome = sfumato(*command, "--images", seen + 8)
    assert outcome.code == 0, outcome.error
    assert f"Going on after {seen:,} images" in outcome.out
    assert read_metrics(run)[-1]["images"] == seen + 8


def test_the_first_signal_is_a_wish_and_the_second_ctrl_c_an_order() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_request() as wish:
        assert (wish(), wish.exit_code) == (False, 0)
        signal.raise_signal(signal.SIGINT)
        assert (wish(), wish.exit_code) == (True, 130)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_show_tells_what_a_run_is(sfumato: Command, run: Path, photos: Path) -> None:
    outcome = sfumato("show", run)
    assert outcome.code == 0
    for said in (
        str(run),
        f"{photos}: 12 images of 8x8x3",
        "2: cat, dog",
        "preset tiny: UNet, 8 channels x [1], blocks a level: 1",
        "100% of 24 images: 24 images in 6 steps",
        "000000000024.safetensors",
    ):
        assert said in outcome.out


def test_show_prints_json_for_scripts(sfumato: Command, run: Path) -> None:
    facts = json.loads(sfumato("show", run, "--json").out)
    measured = {m["kind"]: m["loss"] for m in read_metrics(run)}
    assert facts["labels"] == ["cat", "dog"]
    assert (facts["images_seen"], facts["steps"], facts["skipped_steps"]) == (24, 6, 0)
    assert (facts["loss"], facts["heldout_loss"]) == (measured["train"], measured["validation"])


def test_a_path_is_shown_as_it_is(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "[" / "red] [bold]x"
    assert sfumato("train", photos, "--out", run, "--images", 4, *TINY).code == 0
    assert str(run) in sfumato("show", run).out


def test_after_the_first_signal_a_second_sigterm_ends_the_process() -> None:
    with stop_request() as wish:
        signal.raise_signal(signal.SIGTERM)
        assert wish()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
