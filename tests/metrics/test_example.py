"""The example that makes features: what it writes is what `features_for` reads."""

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


def test_the_digits_become_a_classifier_that_knows_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "digits.pt2"
    run(monkeypatch, "digits", "--out", str(file), "--epochs", "3")
    assert f"sfumato eval RUN digits --features {file}" in capsys.readouterr().out
    features = features_for(file)
    assert (features.width, features.classes) == (128, 10)
    _, held_out = split(load_images("digits"), 0.2, seed=0)
    look = features.look(held_out.floats())
    assert look.logits is not None
    assert (look.logits.argmax(1) == held_out.labels).float().mean() > 0.9


def test_images_without_classes_are_refused(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, str(photos / "cat"))
    assert "has no classes" in capsys.readouterr().err
