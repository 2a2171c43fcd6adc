"""`sfumato sample` without --seed uses and prints a random seed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.cli.sampling_options import describe_guidance

from .conftest import Command

QUICK = ("--count", 2, "--steps", 4, "--device", "cpu")


def pixels(out: Path) -> np.ndarray:
    """The images of an archive or folder."""
    if out.suffix == ".npz":
        with np.load(out) as content:
            return np.asarray(content["images"])
    return np.stack([np.asarray(Image.open(path)) for path in sorted((out / "images").glob("*.png"))])


def saved_seed(out: Path) -> int:
    if out.suffix == ".npz":
        with np.load(out) as content:
            return int(content["seed"])
    return int((out / "seed.txt").read_text())


@pytest.mark.parametrize("suffix", ["", ".npz"])
@pytest.mark.slow
def test_a_random_seed_is_printed_saved_and_reproducible(
    suffix: str, sfumato: Command, run: Path, tmp_path: Path
) -> None:
    first, second, again = (tmp_path / f"{name}{suffix}" for name in ("first", "second", "again"))
    outcome = sfumato("sample", run, "--out", first, *QUICK)
    assert outcome.code == 0, outcome.error
    (seed,) = re.findall(r"add --seed (\d+)", outcome.out)
    assert saved_seed(first) == int(seed)
    assert sfumato("sample", run, "--out", second, *QUICK).code == 0
    assert saved_seed(second) != int(seed)
    assert not np.array_equal(pixels(first), pixels(second))
    repeated = sfumato("sample", run, "--out", again, "--seed", seed, *QUICK)
    assert np.array_equal(pixels(first), pixels(again))
    assert "--seed" not in repeated.out
    assert saved_seed(again) == int(seed)


def test_interpolate_uses_a_random_seed(sfumato: Command, run: Path, tmp_path: Path) -> None:
    flags = ("--count", 2, "--frames", 2, "--steps", 4, "--device", "cpu")
    outcomes = [sfumato("interpolate", run, "--out", tmp_path / name, *flags) for name in ("a", "b")]
    seeds = [re.findall(r"add --seed (\d+)", outcome.out) for outcome in outcomes]
    assert seeds[0] != seeds[1]
    sfumato("interpolate", run, "--out", tmp_path / "c", *flags, "--seed", *seeds[0])
    a, b, c = ((tmp_path / name / "frames" / "000000.png").read_bytes() for name in "abc")
    assert a == c != b


def test_the_grid_of_an_archive_is_printed(sfumato: Command, run: Path, tmp_path: Path) -> None:
    outcome = sfumato("sample", run, "--out", tmp_path / "x.npz", *QUICK)
    assert f"Images saved to {tmp_path / 'x.npz'}. Grid: {tmp_path / 'x-grid.png'}" in outcome.out
    with Image.open(tmp_path / "x-grid.png") as grid:
        assert grid.width == 2 * 64 + 3 * 2


@pytest.mark.parametrize(
    ("scale", "is_autoguidance", "message"),
    [
        (-1, False, "guidance -1 is negative: samples avoid their class"),
        (0, False, "guidance 0 uses the unconditional model alone"),
        (0.5, False, "guidance 0.5 interpolates between the unconditional model (0) and the conditional model (1)"),
        (-1, True, "guidance -1 is negative: samples have more errors than those of the weaker model"),
        (0, True, "guidance 0 uses the weaker model alone"),
    ],
)
def test_guidance_below_1_is_described(scale: float, is_autoguidance: bool, message: str) -> None:
    assert message in describe_guidance(scale, is_autoguidance)


@pytest.mark.parametrize(("scale", "described"), [(-1, True), (0, True), (1, False), (2, False)])
@pytest.mark.slow
def test_only_guidance_below_1_is_described(
    scale: float, described: bool, sfumato: Command, run: Path, tmp_path: Path
) -> None:
    outcome = sfumato("sample", run, "--out", tmp_path / "a.npz", "--guidance", scale, *QUICK)
    assert outcome.code == 0
    assert (f"sfumato: guidance {scale}" in outcome.error) == described
