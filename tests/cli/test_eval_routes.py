"""`eval RUN` gives the same values as `sample --out` followed by `eval SAMPLES DATA`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.conftest import TINY, Command

METRICS = ("--metrics", "distance", "drift", "--device", "cpu")


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("float32", -150, 3000), ("float32", 2, 250), ("float32", 0, 1), ("uint16", 88, 4088), ("uint8", 0, 255)],
)
@pytest.mark.slow
def test_a_run_and_its_samples_in_a_file_have_equal_distances(
    sfumato: Command, dtype: str, low: float, high: float, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).beta(0.5, 0.5, (60, 8, 8, 1)) * (high - low) + low
    np.save(tmp_path / "data.npy", values.astype(dtype))
    data, run, samples = tmp_path / "data.npy", tmp_path / "run", tmp_path / "samples.npz"
    drawn = ("--count", 40, "--steps", 4, "--seed", 0)
    for command in (("train", data, "--images", 40, *TINY, "--out", run), ("sample", run, *drawn, "--out", samples)):
        assert sfumato(*command).code == 0
    found = [
        json.loads(sfumato("eval", *subject, *METRICS, "--json", "--out", tmp_path / "out").out)
        for subject in ((run, *drawn), (samples, data))
    ]
    assert found[0]["metrics"] == found[1]["metrics"]
    assert (found[0]["train"], found[0]["held_out"]) == (found[1]["train"], found[1]["held_out"]) == (57, 3)


def test_reading_options_apply_to_a_copied_model_and_not_a_run(sfumato: Command, tmp_path: Path) -> None:
    """The images of a run are read as in training; those of a copied model are read as requested."""
    images = np.random.default_rng(3).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    images[:, :2] = 7
    np.save(tmp_path / "data.npy", images)
    run = tmp_path / "run"
    assert sfumato("train", tmp_path / "data.npy", "--out", run, "--images", 64, *TINY).code == 0
    quick = ("--count", 8, "--steps", 4, "--metrics", "drift", "--device", "cpu", "--json", "--nodata", 7)
    rejected = sfumato("eval", run, *quick)
    assert (rejected.code, "defines how its images are read" in rejected.error) == (2, True)
    copy = shutil.copytree(run / "model", tmp_path / "copy")
    read = sfumato("eval", copy, tmp_path / "data.npy", *quick)
    assert read.code == 0, read.error
    assert "Pixels without data" in read.out


def test_a_class_of_one_image_is_evaluated_without_labels(sfumato: Command, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    for index in range(12):
        folder = tmp_path / "data" / ("alone" if index == 0 else "ab"[index % 2])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    np.savez(tmp_path / "s.npz", images=random.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8))
    command = (
        "eval",
        tmp_path / "s.npz",
        tmp_path / "data",
        "--metrics",
        "drift",
        "--out",
        tmp_path,
        "--device",
        "cpu",
    )
    assert "pass --no-labels" in sfumato(*command).error
    assert sfumato(*command, "--no-labels").code == 0
