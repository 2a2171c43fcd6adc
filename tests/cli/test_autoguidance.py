"""A run that kept its early self: `sample` is guided by it, `interpolate` is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from .conftest import TINY, Command, run_main


@pytest.fixture(scope="module")
def guided(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that kept its guide; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "guided"
    kept = ("--autoguidance-at", "0.3", "--autoguidance-min-steps", "0")
    command = ["train", str(photos), "--out", str(out), "--images", "40", *kept, *TINY]
    assert run_main(command) == 0
    return out


def test_sample_is_guided_by_the_early_self_and_as_far_as_is_asked(
    sfumato: Command, guided: Path, tmp_path: Path
) -> None:
    def samples(name: str, *flags: object) -> np.ndarray:
        out = tmp_path / f"{name}.npz"
        command = ["sample", guided, "--out", out, "--count", 2, "--steps", 4, "--device", "cpu", "--seed", 0, *flags]
        assert sfumato(*command).code == 0
        with np.load(out) as content:
            return np.asarray(content["images"])

    usual, plain = samples("usual"), samples("plain", "--guidance", 1)
    assert not np.array_equal(usual, plain)
    (guided / "model" / "guide.safetensors").rename(tmp_path / "guide")
    try:
        assert np.array_equal(samples("without"), plain)
    finally:
        (tmp_path / "guide").rename(guided / "model" / "guide.safetensors")


def test_an_evaluation_draws_again_once_the_guide_is_gone(sfumato: Command, guided: Path, tmp_path: Path) -> None:
    def drift(out: str) -> object:
        flags = ("--count", 4, "--steps", 4, "--metrics", "drift", "--device", "cpu", "--json", "--solver", "dpm-2m")
        return json.loads(sfumato("eval", guided, *flags, "--out", tmp_path / out).out)["metrics"]

    with_guide = drift("guided")
    (guided / "model" / "guide.safetensors").rename(tmp_path / "guide")
    try:
        assert drift("alone") != with_guide
    finally:
        (tmp_path / "guide").rename(guided / "model" / "guide.safetensors")
    assert drift("again") == with_guide


def test_an_evaluation_draws_again_once_a_guide_of_the_same_name_is_another(
    sfumato: Command, photos: Path, guided: Path, tmp_path: Path
) -> None:
    weaker = tmp_path / "weaker"

    def drift(out: str) -> object:
        flags = ("--count", 4, "--steps", 4, "--metrics", "drift", "--device", "cpu", "--json", "--guidance", 2)
        outcome = sfumato("eval", guided, *flags, "--autoguide", weaker, "--out", tmp_path / out)
        return json.loads(outcome.out)["metrics"]

    assert sfumato("train", photos, "--out", weaker, "--images", 8, *TINY).code == 0
    before = drift("before")
    shutil.rmtree(weaker)
    assert sfumato("train", photos, "--out", weaker, "--images", 8, "--seed", 1, *TINY).code == 0
    assert drift("after") != before


def test_interpolate_is_not_guided_unless_asked(sfumato: Command, guided: Path, tmp_path: Path) -> None:
    def frames(name: str, *flags: object) -> list[bytes]:
        out = tmp_path / name
        command = ["interpolate", guided, "--out", out, "--count", 2, "--frames", 3, "--steps", 4, "--seed", 0]
        assert sfumato(*command, *flags).code == 0
        return [path.read_bytes() for path in sorted((out / "frames").iterdir())]

    assert frames("usual") == frames("plain", "--guidance", 1)


def test_show_says_what_is_spent_of_minutes_and_what_the_network_is(
    sfumato: Command, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    limits = ("--minutes", 1000, "--images", 8, "--backbone", "convnet")
    assert sfumato("train", photos, "--out", run, *TINY, *limits).code == 0
    said = sfumato("show", run).out
    assert "ConvNet, 8 channels x [1], blocks a level: (1,)" in said
    assert "100% of 8 images or 1000 minutes of training: 8 images in 2 steps" in said
    assert sfumato("train", photos, "--out", run, *TINY, "--minutes", 0.0001, "--backbone", "convnet").code == 0
    assert "% of 0.0001 minutes of training: 8 images" in sfumato("show", run).out
