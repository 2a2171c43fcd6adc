"""examples/features.py writes a network that `features_for` reads."""

import runpy
import sys
from pathlib import Path

import pytest

from sfumato.data import load_images, split
from sfumato.metrics import features_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "features.py"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments])
    runpy.run_path(str(EXAMPLE), run_name="__main__")


def test_the_example_exports_an_accurate_classifier_of_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "digits.pt2"
    run(monkeypatch, "digits", "--out", str(file), "--epochs", "3")
    assert f"sfumato eval RUN digits --features {file}" in capsys.readouterr().out
    features = features_for(file)
    assert (features.width, features.classes) == (128, 10)
    _, held_out = split(load_images("digits"), 0.2, seed=0)
    found = features.outputs(held_out.floats())
    assert found.logits is not None
    assert (found.logits.argmax(1) == held_out.labels).float().mean() > 0.9


def test_images_without_classes_are_rejected(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, str(photos / "cat"))
    assert "has no classes" in capsys.readouterr().err
