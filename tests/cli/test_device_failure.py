"""A device that fails: a sentence, the exit code of other errors, and everything that was saved."""

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


def test_training_says_what_happened_and_goes_on_with_the_same_command(
    sfumato: Command, photos: Path, tmp_path: Path
) -> None:
    command = ["train", str(photos), "--out", str(tmp_path / "run"), "--images", "20", "--save-minutes", "0", *TINY]
    failed = subprocess.run([sys.executable, "-c", FAILING, *command], capture_output=True, text=True, check=False)
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr == (
        "sfumato: the device failed: CUDA error: unspecified launch failure. Give the same command again: it goes on "
        "from the last checkpoint. If it fails at the same place, add --debug, which points at the operation.\n"
    )
    assert "11 images of 8x8 pixels" in failed.stdout
    again = sfumato(*command)
    assert again.code == 0, again.error
    assert "Going on after 8 images" in again.out


def test_debugging_leaves_the_failure_where_it_was_noticed(photos: Path, tmp_path: Path) -> None:
    command = ["train", str(photos), "--out", str(tmp_path / "run"), "--images", "20", "--debug", *TINY]
    failed = subprocess.run([sys.executable, "-c", FAILING, *command], capture_output=True, text=True, check=False)
    assert ", in fails_after_two" in failed.stderr
    assert "torch.AcceleratorError: CUDA error: unspecified launch failure" in failed.stderr


@pytest.mark.parametrize(
    ("verb", "remedy"),
    [
        ("sample", "Give the same command again, with another --out if you gave one."),
        ("interpolate", "Give the same command again."),
        ("eval", "To go on from the samples drawn so far, give the same command."),
    ],
)
def test_other_verbs_say_it_too(
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
