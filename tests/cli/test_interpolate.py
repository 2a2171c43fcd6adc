"""`sfumato interpolate`, between new samples and between image files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data import load_files
from sfumato.data.sources import DEFAULT_OPTIONS, ReadOptions
from sfumato.training.run_directory import training_options
from sfumato.utils.depth import Depth

from .conftest import TINY, Command

QUICK = ("--steps", 4, "--device", "cpu")


def pixels(path: Path) -> np.ndarray:
    """The pixels of an image as signed integers."""
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_each_grid_row_interpolates_between_two_samples(sfumato: Command, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = sfumato("interpolate", run, "--out", out, "--count", 3, "--frames", 4, *QUICK)
    assert outcome.code == 0, outcome.error
    assert f"Images saved to {out}. Grid: {out / 'grid.png'}. Animation: {out / 'film.gif'}" in outcome.out
    frames = sorted((out / "frames").iterdir())
    assert [path.name for path in frames] == [f"{number:06d}.png" for number in range(7)]
    assert len({pixels(path).tobytes() for path in frames}) == 7
    grid = pixels(out / "grid.png")
    assert grid.shape == (2 * 64 + 3 * 2, 4 * 64 + 5 * 2, 3)
    last_of_the_first_row, first_of_the_second = grid[2:66, 200:264], grid[68:132, 2:66]
    assert (last_of_the_first_row == first_of_the_second).all()
    with Image.open(out / "film.gif") as film:
        assert film.n_frames == 7 + 5  # there and back


def test_end_frames_equal_samples_of_the_same_seed_and_sampler(
    sfumato: Command, unlabelled: Path, tmp_path: Path
) -> None:
    sampler = ("--solver", "heun", "--time-grid", "logsnr", "--clip", "none", "--seed", 3, *QUICK)
    assert sfumato("interpolate", unlabelled, "--out", tmp_path / "a", "--count", 2, "--frames", 3, *sampler).code == 0
    assert sfumato("sample", unlabelled, "--out", tmp_path / "b", "--count", 2, *sampler).code == 0
    for frame, image in ((0, 0), (2, 1)):
        ours = pixels(tmp_path / "a" / "frames" / f"{frame:06d}.png")
        assert np.abs(ours - pixels(tmp_path / "b" / "images" / f"{image:06d}.png")).max() <= 1


def test_end_frames_equal_the_image_files(sfumato: Command, run: Path, photos: Path, tmp_path: Path) -> None:
    """Within the reconstruction error of a network after six training steps; the two images differ by 85 levels."""
    ends = (photos / "cat" / "0.png", photos / "dog" / "1.png")
    outcome = sfumato("interpolate", run, *ends, "--out", tmp_path / "out", "--frames", 3, "--steps", 40)
    assert outcome.code == 0, outcome.error
    for frame, end in zip((0, 2), ends, strict=True):
        assert np.abs(pixels(tmp_path / "out" / "frames" / f"{frame:06d}.png") - pixels(end)).mean() < 12


def test_image_files_are_resized_like_the_training_images(sfumato: Command, photos: Path, tmp_path: Path) -> None:
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


INVALID = [
    ("--solver ddpm", "a deterministic solver is required. Choose among: ddim, euler"),
    ("--count 1", "an interpolation of 1 images with 9 frames was requested. Give at least 2"),
    ("only.png", "the image file only.png does not exist. Give the paths of two or more image files"),
    ("--frames 1", "Give at least 2 of both"),
    (f"--count {10**23}", "at most 1,000,000 images in total"),
    (f"--frames {10**23}", "at most 1,000,000 images in total"),
    ("nowhere.png nowhere.png", "the image file nowhere.png does not exist"),
    ("--label cow", "the model does not know the label 'cow'"),
]


@pytest.mark.parametrize(("flags", "message"), INVALID)
def test_invalid_arguments_are_rejected(flags: str, message: str, sfumato: Command, run: Path, tmp_path: Path) -> None:
    outcome = sfumato("interpolate", run, "--out", tmp_path / "out", *flags.split(), "--device", "cpu")
    assert outcome.code == 2
    assert message in outcome.error
    assert "Traceback" not in outcome.error
    assert not (tmp_path / "out").exists()


def test_existing_files_are_not_replaced(sfumato: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    outcome = sfumato("interpolate", run, "--out", tmp_path, *QUICK)
    assert (outcome.code, (tmp_path / "file").read_text()) == (2, "mine")
    assert "already exists" in outcome.error


def test_out_must_be_a_folder(sfumato: Command, run: Path, tmp_path: Path) -> None:
    outcome = sfumato("interpolate", run, "--out", tmp_path / "out.npz", *QUICK)
    assert outcome.code == 2
    assert "out.npz is the name of a file, but a folder is needed" in outcome.error
    assert not (tmp_path / "out.npz").exists()
