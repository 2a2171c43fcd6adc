"""A run with a guidance checkpoint: `sample` uses it, `interpolate` does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from .conftest import TINY, Command, run_main


@pytest.fixture(scope="module")
def guided(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a guidance checkpoint; read only."""
    out = tmp_path_factory.mktemp("runs") / "guided"
    kept = ("--autoguidance-at", "0.3", "--autoguidance-min-steps", "0")
    command = ["train", str(photos), "--out", str(out), "--images", "40", *kept, *TINY]
    assert run_main(command) == 0
    return out


def test_sample_uses_the_guidance_checkpoint_except_at_scale_1(sfumato: Command, guided: Path, tmp_path: Path) -> None:
    def samples(name: str, *flags: object) -> np.ndarray:
        out = tmp_path / f"{name}.npz"
        command = ["sample", guided, "--out", out, "--count", 2, "--steps", 4, "--device", "cpu", "--seed", 0, *flags]
        assert sfumato(*command).code == 0
        with np.load(out) as content:
            return np.asarray(content["images"])

    usual, plain = samples("usual"), samples("plain", "--guidance", 1)
    assert not np.array_equal(usual, plain)
    (guided / "model" / "guidance.safetensors").rename(tmp_path / "moved")
    try:
        assert np.array_equal(samples("without"), plain)
    finally:
        (tmp_path / "moved").rename(guided / "model" / "guidance.safetensors")


def test_eval_samples_again_without_the_guidance_checkpoint(sfumato: Command, guided: Path, tmp_path: Path) -> None:
    def drift(out: str) -> object:
        flags = ("--count", 4, "--steps", 4, "--metrics", "drift", "--device", "cpu", "--json", "--solver", "dpm-2m")
        return json.loads(sfumato("eval", guided, *flags, "--out", tmp_path / out).out)["metrics"]

    with_checkpoint = drift("guided")
    (guided / "model" / "guidance.safetensors").rename(tmp_path / "moved")
    try:
        assert drift("alone") != with_checkpoint
    finally:
        (tmp_path / "moved").rename(guided / "model" / "guidance.safetensors")
    assert drift("again") == with_checkpoint


def test_evaluation_samples_again_after_the_weaker_model_changes(
    sfumato: Command, photos: Path, guided: Path, tmp_path: Path
) -> None:
    weaker = tmp_path / "weaker"

    def drift(out: str) -> object:
        flags = ("--count", 4, "--steps", 4, "--metrics", "drift", "--device", "cpu", "--json", "--guidance", 2)
        outcome = sfumato("eval", guided, *flags, "--autoguidance", weaker, "--out", tmp_path / out)
        return json.loads(outcome.out)["metrics"]

    assert sfumato("train", photos, "--out", weaker, "--images", 8, *TINY).code == 0
    before = drift("before")
    shutil.rmtree(weaker)
    assert sfumato("train", photos, "--out", weaker, "--images", 8, "--seed", 1, *TINY).code == 0
    assert drift("after") != before


def test_interpolate_ignores_the_guidance_checkpoint_by_default(sfumato: Command, guided: Path, tmp_path: Path) -> None:
    def frames(name: str, *flags: object) -> list[bytes]:
        out = tmp_path / name
        command = ["interpolate", guided, "--out", out, "--count", 2, "--frames", 3, "--steps", 4, "--seed", 0]
        assert sfumato(*command, *flags).code == 0
        return [path.read_bytes() for path in sorted((out / "frames").iterdir())]

    assert frames("usual") == frames("plain", "--guidance", 1)


def test_show_prints_the_spent_budget_and_the_network(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    limits = ("--minutes", 1000, "--images", 8, "--backbone", "convnet")
    assert sfumato("train", photos, "--out", run, *TINY, *limits).code == 0
    out = sfumato("show", run).out
    assert "ConvNet, 8 channels x [1], blocks per level: (1,)" in out
    assert "100% of 8 images or 1000 minutes of training: 8 images in 2 steps" in out
    assert sfumato("train", photos, "--out", run, *TINY, "--minutes", 0.0001, "--backbone", "convnet").code == 0
    assert "% of 0.0001 minutes of training: 8 images" in sfumato("show", run).out
