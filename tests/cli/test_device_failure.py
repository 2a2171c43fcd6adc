"""Device failures: error message, exit code 2, and checkpoints are kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sfumato.diffusion.denoiser import PreconditionedDenoiser

from .conftest import TINY, Command

FAILING = """
import os, sys, torch
from sfumato.cli import main
from sfumato.training import engine

class Pinned:
    def __del__(self):
        os.abort()  # as PyTorch does where it frees pinned memory after a failure of the device

def fails_after_two(state, batch, config, parts):
    if state.counters.steps == 2:
        result = Pinned()
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\\nSearch for `cudaErrorLaunchFailure'")
    return step(state, batch, config, parts)

step, engine.training_step = engine.training_step, fails_after_two
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_training_reports_a_device_failure_and_resumes(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    command = ["train", str(photos), "--out", str(tmp_path / "run"), "--images", "20", "--save-minutes", "0", *TINY]
    failed = subprocess.run([sys.executable, "-c", FAILING, *command], capture_output=True, text=True, check=False)
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr == (
        "sfumato: the device failed: CUDA error: unspecified launch failure. Run the same command again: it resumes "
        "from the last checkpoint. If it fails at the same step, add --debug, which reports the failing operation.\n"
    )
    assert "11 images of 8x8 pixels" in failed.stdout
    again = sfumato(*command)
    assert again.code == 0, again.error
    assert "Resumed after 8 images" in again.out


@pytest.mark.slow
def test_debug_shows_the_traceback_of_a_device_failure(photos: Path, tmp_path: Path) -> None:
    command = ["train", str(photos), "--out", str(tmp_path / "run"), "--images", "20", "--debug", *TINY]
    failed = subprocess.run([sys.executable, "-c", FAILING, *command], capture_output=True, text=True, check=False)
    assert ", in fails_after_two" in failed.stderr
    assert "torch.AcceleratorError: CUDA error: unspecified launch failure" in failed.stderr


@pytest.mark.parametrize(
    ("verb", "remedy"),
    [
        ("sample", "Run the same command again, with another --out if you gave one."),
        ("interpolate", "Run the same command again."),
        ("eval", "Run the same command again. It continues with the existing samples."),
    ],
)
def test_other_verbs_report_a_device_failure(
    verb: str, remedy: str, sfumato: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nSearch for it")

    left: list[int] = []
    monkeypatch.setattr(PreconditionedDenoiser, "forward", fails)
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.chdir(tmp_path)
    outcome = sfumato(verb, run, "--count", 4, "--device", "cpu", *(["--frames", 3] if verb == "interpolate" else []))
    assert outcome.error.endswith(f"sfumato: the device failed: CUDA error: unspecified launch failure. {remedy}\n")
    assert (outcome.code, left) == (2, [2])
