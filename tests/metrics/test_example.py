"""examples/features.py trains a network that `features_for` loads."""

import runpy
import sys
from pathlib import Path

import pytest

from sfumato.data import load_images, split
from sfumato.metrics import features_for, register_features

EXAMPLE = Path(__file__).parents[2] / "examples" / "features.py"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments])
    runpy.run_path(str(EXAMPLE), run_name="__main__")


def test_the_example_trains_an_accurate_classifier_of_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "digits.safetensors"
    run(monkeypatch, "digits", "--out", str(file), "--epochs", "3")
    name = f"{EXAMPLE}:Classifier:weights={file}"
    assert f"sfumato eval RUN digits --features {name}" in capsys.readouterr().out
    features = features_for(register_features(name))
    assert features.classes((1, 8, 8)) == 10
    _, held_out = split(load_images("digits"), 0.2, seed=0)
    found = features.outputs(held_out.floats())
    assert found.features.shape == (len(held_out), 128)
    assert found.logits is not None
    assert (found.logits.argmax(1) == held_out.labels).float().mean() > 0.9


def test_images_without_classes_are_rejected(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, str(photos / "cat"))
    assert "has no classes" in capsys.readouterr().err
