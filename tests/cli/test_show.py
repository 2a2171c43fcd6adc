"""`sfumato show`: the best checkpoint, the evaluations during training, and the curves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from sfumato.diffusion.schedules import LinearBeta
from sfumato.models import load
from sfumato.reports.curves import distance_panels, loss_panels
from sfumato.training.measurements import read_metrics

from .conftest import Command

EVALUATIONS = [
    {"kind": "evaluation", "images": images, "distance": distance, "features": "pixels", "count": 100, "held_out": 0.5}
    for images, distance in ((8, 3.0), (16, 1.25), (24, 2.0))
]


@pytest.fixture
def evaluated(run: Path, tmp_path: Path) -> Path:
    """A copy of a run with three evaluations, the second of which is the best."""
    copy = shutil.copytree(run, tmp_path / "evaluated")
    with (copy / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in EVALUATIONS)
    return copy


def test_curves_are_plotted_and_their_path_is_printed(sfumato: Command, evaluated: Path, tmp_path: Path) -> None:
    for where, flags in ((evaluated / "curves.png", ()), (tmp_path / "there.png", ("--out", tmp_path / "there.png"))):
        assert str(where) in sfumato("show", evaluated, *flags).out
        with Image.open(where) as picture:
            assert picture.width > 3 * picture.height
            assert len(set(picture.convert("L").tobytes())) > 20


def test_the_best_checkpoint_is_reported(sfumato: Command, evaluated: Path) -> None:
    text = sfumato("show", evaluated).out
    assert "after 16 images, by distance (1.25); the model was not kept" in text
    assert "2 (Frechet, pixels, 100 samples; equal number of held-out images: 0.5)" in text
    best = json.loads(sfumato("show", evaluated, "--json").out)["best"]
    assert best == {"images": 16, "quantity": "distance", "value": 1.25, "model": None}


def test_without_evaluations_the_best_has_the_lowest_loss(sfumato: Command, run: Path) -> None:
    found = json.loads(sfumato("show", run, "--json").out)
    assert found["evaluation"] is None
    assert (found["best"]["quantity"], found["best"]["images"]) == ("loss", 24)


def test_a_run_without_measurements_has_no_curves(sfumato: Command, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "new")
    (copy / "metrics.jsonl").unlink()
    (copy / "curves.png").unlink(missing_ok=True)
    found = json.loads(sfumato("show", copy, "--json").out)
    assert (found["curves"], found["best"]) == (None, None)
    assert not (copy / "curves.png").exists()


def test_curves_show_the_measurements_and_mark_the_best(evaluated: Path) -> None:
    measured = read_metrics(evaluated)
    (distance,) = distance_panels(measured)
    assert distance.curves == {
        "100 samples": ([8, 16, 24], [3.0, 1.25, 2.0]),
        "equal number of held-out images": ([8, 16, 24], [0.5, 0.5, 0.5]),
    }
    overall, by_level = loss_panels(measured, LinearBeta(50))
    assert list(overall.curves) == ["training", "held out"]
    assert len(by_level.curves) == 10
    assert [panel.marks for panel in (distance, overall, by_level)] == [{"best": 16}] * 3


def test_each_feature_extractor_has_its_own_panel(evaluated: Path) -> None:
    others = [line | {"features": "judge", "held_out": None} for line in EVALUATIONS]
    first, second = distance_panels([*read_metrics(evaluated), *others])
    assert (first.title, second.title) == ("Frechet distance (pixels)", "Frechet distance (judge)")
    assert list(second.curves) == ["100 samples"]


@pytest.mark.slow
def test_the_best_model_can_be_used_like_a_run(sfumato: Command, evaluated: Path, tmp_path: Path) -> None:
    best = shutil.copytree(evaluated / "model", evaluated / "best", dirs_exist_ok=True)
    assert load(best).label_names == ("cat", "dog")
    out = tmp_path / "drawn"
    assert json.loads(sfumato("show", best, "--json").out)["run"] == str(evaluated)
    assert sfumato("sample", best, "--count", 2, "--steps", 4, "--device", "cpu", "--out", out).code == 0
    assert sfumato("explain", best, "--out", tmp_path / "explained", "--device", "cpu").code == 0
    assert (tmp_path / "explained" / "loss.png").is_file()
