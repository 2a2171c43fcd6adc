"""`sfumato interpolate`: the images between new images, or between those of a person."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data import load_files
from sfumato.data.sources import DEFAULT_OPTIONS, ReadOptions
from sfumato.training.runs import training_options
from sfumato.utils.depth import Depth

from .conftest import TINY, Command

QUICK = ("--steps", 4, "--device", "cpu")


def pixels(path: Path) -> np.ndarray:
    """The pixels of a picture, wide enough to be subtracted."""
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_a_row_leads_from_each_new_image_to_the_next(sfumato: Command, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = sfumato("interpolate", run, "--out", out, "--count", 3, "--frames", 4, *QUICK)
    assert outcome.code == 0, outcome.error
    assert f"Images are in {out}. Look at {out / 'grid.png'} and at the film {out / 'film.gif'}" in outcome.out
    frames = sorted((out / "frames").iterdir())
    assert [path.name for path in frames] == [f"{number:06d}.png" for number in range(7)]
    assert len({pixels(path).tobytes() for path in frames}) == 7
    grid = pixels(out / "grid.png")
    assert grid.shape == (2 * 64 + 3 * 2, 4 * 64 + 5 * 2, 3)
    last_of_the_first_row, first_of_the_second = grid[2:66, 200:264], grid[68:132, 2:66]
    assert (last_of_the_first_row == first_of_the_second).all()
    with Image.open(out / "film.gif") as film:
        assert film.n_frames == 7 + 5  # there and back


def test_the_ends_are_the_images_that_the_same_seed_and_route_sample(
    sfumato: Command, unlabelled: Path, tmp_path: Path
) -> None:
    sampler = ("--solver", "heun", "--time-grid", "logsnr", "--clip", "none", "--seed", 3, *QUICK)
    assert sfumato("interpolate", unlabelled, "--out", tmp_path / "a", "--count", 2, "--frames", 3, *sampler).code == 0
    assert sfumato("sample", unlabelled, "--out", tmp_path / "b", "--count", 2, *sampler).code == 0
    for frame, image in ((0, 0), (2, 1)):
        ours = pixels(tmp_path / "a" / "frames" / f"{frame:06d}.png")
        assert np.abs(ours - pixels(tmp_path / "b" / "images" / f"{image:06d}.png")).max() <= 1


def test_own_images_are_the_ends(sfumato: Command, run: Path, photos: Path, tmp_path: Path) -> None:
    """As nearly as the flow of a network after six steps lets them come back; two images differ by 85 levels."""
    ends = (photos / "cat" / "0.png", photos / "dog" / "1.png")
    outcome = sfumato("interpolate", run, *ends, "--out", tmp_path / "out", "--frames", 3, "--steps", 40)
    assert outcome.code == 0, outcome.error
    for frame, end in zip((0, 2), ends, strict=True):
        assert np.abs(pixels(tmp_path / "out" / "frames" / f"{frame:06d}.png") - pixels(end)).mean() < 12


def test_own_images_are_fitted_as_those_that_were_learned(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    padded = tmp_path / "padded"
    assert sfumato("train", photos, "--out", padded, "--images", 4, "--size", 16, "--fit", "pad", *TINY).code == 0
    shutil.copytree(padded / "model", tmp_path / "model")
    assert training_options(padded).fit == "pad"
    assert training_options(tmp_path / "model") == DEFAULT_OPTIONS
    Image.new("L", (40, 10), 255).save(tmp_path / "wide.png")
    for fit, edge in (("pad", -1), ("crop", 1), ("resize", 1)):
        (image,) = load_files([tmp_path / "wide.png"], (1, 16, 16), Depth(), ReadOptions(fit=fit))
        assert image[0, 0, 0] == edge
    ends = (tmp_path / "wide.png", tmp_path / "wide.png")
    assert sfumato("interpolate", padded, *ends, "--out", tmp_path / "out", "--frames", 2, "--steps", 40).code == 0
    frame = pixels(tmp_path / "out" / "frames" / "000000.png")
    assert frame[:4].mean() < 64 < 192 < frame[7:9].mean()


MISTAKES = [
    ("--solver ddpm", "a path that can be retraced was asked. Choose among: ddim, euler"),
    ("--count 1", "1 images to go between and 9 frames from one to the next were given. Give at least 2"),
    ("only.png", "there is no image file only.png. Give the paths of two image files or more"),
    ("--frames 1", "Give at least 2 of both"),
    (f"--count {10**23}", "at most 1,000,000 images in all"),
    (f"--frames {10**23}", "at most 1,000,000 images in all"),
    ("nowhere.png nowhere.png", "there is no image file nowhere.png"),
    ("--label cow", "the model does not know the label 'cow'"),
]


@pytest.mark.parametrize(("flags", "message"), MISTAKES)
def test_a_mistake_is_explained(flags: str, message: str, sfumato: Command, run: Path, tmp_path: Path) -> None:
    outcome = sfumato("interpolate", run, "--out", tmp_path / "out", *flags.split(), "--device", "cpu")
    assert outcome.code == 2
    assert message in outcome.error
    assert "Traceback" not in outcome.error
    assert not (tmp_path / "out").exists()


def test_nothing_is_replaced(sfumato: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    outcome = sfumato("interpolate", run, "--out", tmp_path, *QUICK)
    assert (outcome.code, (tmp_path / "file").read_text()) == (2, "mine")
    assert "is there already" in outcome.error


def test_a_file_is_no_place_for_frames(sfumato: Command, run: Path, tmp_path: Path) -> None:
    outcome = sfumato("interpolate", run, "--out", tmp_path / "out.npz", *QUICK)
    assert outcome.code == 2
    assert "out.npz is a file, and a folder is written" in outcome.error
    assert not (tmp_path / "out.npz").exists()
