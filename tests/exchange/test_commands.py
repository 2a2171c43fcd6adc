"""The commands on folders of diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import run_main
from sfumato.exchange.export import export

from .conftest import build, convnet
from .test_import import TUTORIAL, pipeline_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model with two classes and a guidance checkpoint; read only."""
    out = tmp_path_factory.mktemp("exported") / "model"
    network = convnet(classes=2)
    weaker = build(network, "edm", "edm", seed=1)
    weaker.images_seen = 64
    export(build(network, "edm", "edm"), out, guidance_checkpoint=weaker)
    return out


def test_sample_takes_a_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_main(["sample", str(folder), "--count", "3", "--steps", "3", "--out", str(tmp_path / "out.npz")])
    output = capsys.readouterr()
    assert code == 0, output.err
    assert "autoguidance with the guidance checkpoint of the run" in output.err
    assert (tmp_path / "out.npz").is_file()


def test_autoguidance_may_name_the_same_folder(folder: Path, tmp_path: Path) -> None:
    given = ["--autoguidance", str(folder), "--guidance", "3", "--out", str(tmp_path / "out.npz")]
    assert run_main(["sample", str(folder), "--count", "2", "--steps", "3", *given]) == 0


def test_interpolate_takes_a_folder(folder: Path, tmp_path: Path) -> None:
    given = ["--steps", "3", "--count", "2", "--frames", "3", "--out", str(tmp_path / "out")]
    assert run_main(["interpolate", str(folder), *given]) == 0


def test_explain_takes_a_folder(folder: Path, tmp_path: Path) -> None:
    assert run_main(["explain", str(folder), "--out", str(tmp_path / "out")]) == 0


def test_eval_takes_a_folder(
    folder: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run_main(["eval", str(folder), str(photos), "--count", "4", "--steps", "3", "--features", "pixels"])
    assert code == 0, capsys.readouterr().err
    assert (tmp_path / "evaluated").is_dir()
    assert not (folder / "evaluations").exists()


FEW = ["--images", "4", "--batch", "4", "--device", "cpu", "--preview-count", "2", "--preview-steps", "3"]


def test_train_starts_from_a_folder(
    folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--from", str(folder), "--out", str(tmp_path / "run"), *FEW]
    assert run_main(["train", str(photos), *given]) == 0, capsys.readouterr().err
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert f"Started from {folder}, after 640 images." in log
    assert "New, without an embedding in the model: cat, dog." in log
    few = ["--count", "2", "--steps", "3", "--out", str(tmp_path / "new")]
    assert run_main(["sample", str(tmp_path / "run"), *few]) == 0


def test_train_cannot_start_from_a_network_of_diffusers(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline_of(TUTORIAL).save_pretrained(tmp_path / "foreign")
    code = run_main(["train", str(photos), "--from", str(tmp_path / "foreign"), "--out", str(tmp_path / "run"), *FEW])
    assert code == 2
    assert "has a network of diffusers that sfumato can sample but not train" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
