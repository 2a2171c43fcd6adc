"""`sfumato sample` without a seed draws new images each time, and says how to draw them again."""

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
    """The images of an archive or a folder."""
    if out.suffix == ".npz":
        with np.load(out) as content:
            return np.asarray(content["images"])
    return np.stack([np.asarray(Image.open(path)) for path in sorted((out / "images").glob("*.png"))])


def kept_seed(out: Path) -> int:
    if out.suffix == ".npz":
        with np.load(out) as content:
            return int(content["seed"])
    return int((out / "seed.txt").read_text())


@pytest.mark.parametrize("suffix", ["", ".npz"])
def test_a_fresh_seed_is_printed_and_kept_and_draws_the_same_again(
    suffix: str, sfumato: Command, run: Path, tmp_path: Path
) -> None:
    first, second, again = (tmp_path / f"{name}{suffix}" for name in ("first", "second", "again"))
    outcome = sfumato("sample", run, "--out", first, *QUICK)
    assert outcome.code == 0, outcome.error
    (seed,) = re.findall(r"add --seed (\d+)", outcome.out)
    assert kept_seed(first) == int(seed)
    assert sfumato("sample", run, "--out", second, *QUICK).code == 0
    assert kept_seed(second) != int(seed)
    assert not np.array_equal(pixels(first), pixels(second))
    repeated = sfumato("sample", run, "--out", again, "--seed", seed, *QUICK)
    assert np.array_equal(pixels(first), pixels(again))
    assert "--seed" not in repeated.out
    assert kept_seed(again) == int(seed)


def test_new_images_between_which_frames_are_drawn_are_new_each_time(
    sfumato: Command, run: Path, tmp_path: Path
) -> None:
    flags = ("--count", 2, "--frames", 2, "--steps", 4, "--device", "cpu")
    outcomes = [sfumato("interpolate", run, "--out", tmp_path / name, *flags) for name in ("a", "b")]
    seeds = [re.findall(r"add --seed (\d+)", outcome.out) for outcome in outcomes]
    assert seeds[0] != seeds[1]
    sfumato("interpolate", run, "--out", tmp_path / "c", *flags, "--seed", *seeds[0])
    a, b, c = ((tmp_path / name / "frames" / "000000.png").read_bytes() for name in "abc")
    assert a == c != b


def test_an_archive_has_a_grid_beside_it_and_says_so(sfumato: Command, run: Path, tmp_path: Path) -> None:
    outcome = sfumato("sample", run, "--out", tmp_path / "x.npz", *QUICK)
    assert f"Images are in {tmp_path / 'x.npz'}. Look at {tmp_path / 'x-grid.png'}" in outcome.out
    with Image.open(tmp_path / "x-grid.png") as grid:
        assert grid.width == 2 * 64 + 3 * 2


@pytest.mark.parametrize(
    ("scale", "has_guide", "words"),
    [
        (-1, False, "guidance -1 is negative: it goes away from the class that was named"),
        (0, False, "guidance 0 draws by the model without a class alone"),
        (0.5, False, "guidance 0.5 lies between the model without a class (0) and the model with its class (1)"),
        (-1, True, "guidance -1 is negative: it goes away from the model, towards more mistakes"),
        (0, True, "guidance 0 draws by the weaker model alone"),
    ],
)
def test_guidance_below_1_says_what_it_does(scale: float, has_guide: bool, words: str) -> None:
    assert words in describe_guidance(scale, has_guide)


@pytest.mark.parametrize(("scale", "speaks"), [(-1, True), (0, True), (1, False), (2, False)])
def test_only_guidance_below_1_is_explained(
    scale: float, speaks: bool, sfumato: Command, run: Path, tmp_path: Path
) -> None:
    outcome = sfumato("sample", run, "--out", tmp_path / "a.npz", "--guidance", scale, *QUICK)
    assert outcome.code == 0
    assert (f"sfumato: guidance {scale}" in outcome.error) == speaks
