"""Loggers: TensorBoard and Weights & Biases receive the numbers of metrics.jsonl and the previews."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import sfumato as sf
from sfumato.errors import ConfigError
from sfumato.training.loggers import Logger, TensorBoardWriter, WandbWriter, logger_for
from sfumato.training.measurements import read_metrics


class _Recorder:
    def __init__(self) -> None:
        self.sent: list[tuple[dict[str, float], int]] = []

    def add_scalars(self, values: dict[str, float], images: int) -> None:
        self.sent.append((values, images))

    def add_picture(self, name: str, file: Path, images: int) -> None:
        self.sent.append(({f"{name} {file.name}": 0}, images))

    def close(self) -> None:
        self.sent.append(({}, -1))


def train_line(images: int, seconds: float, loss: float | None = 0.5) -> dict[str, Any]:
    return {"kind": "train", "images": images, "steps": 1, "seconds": seconds, "loss": loss, "skipped": 0}


def test_images_per_second_are_measured_between_two_lines() -> None:
    recorder = _Recorder()
    logger = Logger(recorder)
    for line in (train_line(100, 1.0), train_line(500, 3.0), train_line(900, 3.0)):
        logger.add_measurement(line)
    assert [values.get("train/images_per_second") for values, _ in recorder.sent] == [None, 200.0, None]
    assert [images for _, images in recorder.sent] == [100, 500, 900]


def test_only_numbers_are_logged() -> None:
    recorder = _Recorder()
    logger = Logger(recorder)
    logger.add_measurement(train_line(100, 1.0, loss=None))
    logger.add_measurement({"kind": "validation", "images": 7, "loss": 0.25, "by_time": {"0.05": 1.5, "0.15": None}})
    assert "train/loss" not in recorder.sent[0][0]
    assert recorder.sent[1] == ({"validation/loss": 0.25, "validation/loss_at_time_0.05": 1.5}, 7)


def preview(folder: Path) -> Path:
    Image.fromarray(np.full((4, 6, 3), 9, np.uint8)).save(folder / "preview.png")
    return folder / "preview.png"


def test_a_resumed_run_replaces_later_events(tmp_path: Path) -> None:
    first = Logger(TensorBoardWriter(tmp_path, "seed = 0", start=0))
    for images in (10, 20, 30):
        first.add_measurement(train_line(images, images / 10))
    first.close()
    second = Logger(TensorBoardWriter(tmp_path, "seed = 0", start=20))
    second.add_measurement(train_line(30, 4.0, loss=0.25))
    second.add_preview(preview(tmp_path), 30)
    second.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(10, 0.5), (20, 0.5), (30, 0.25)]
    assert [(image.step, image.width, image.height) for image in events.Images("preview")] == [(30, 6, 4)]


class _FakeWandb(ModuleType):
    def __init__(self) -> None:
        super().__init__("wandb")
        self.started: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []

    def init(self, **settings: object) -> _FakeWandb:
        self.started.append(settings)
        return self

    def define_metric(self, name: str, step_metric: str) -> None:
        assert (name, step_metric) == ("*", "images")

    def log(self, values: dict[str, Any]) -> None:
        self.sent.append(values)

    def Image(self, file: str) -> str:  # noqa: N802 (the name in wandb)
        return f"image {Path(file).name}"

    def finish(self) -> None:
        self.sent.append({})


def test_wandb_resumes_under_the_same_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for start in (0, 20, 0):
        logger = Logger(WandbWriter(tmp_path, "seed = 0", start))
        logger.add_measurement({"kind": "evaluation", "images": start, "distance": 2, "features": "pixels"})
        logger.add_preview(preview(tmp_path), start)
        logger.close()
    one, same, other = [settings["id"] for settings in fake.started]
    assert one == same != other
    assert fake.sent[3:6] == [
        {"evaluation/distance": 2.0, "images": 20},
        {"preview": "image preview.png", "images": 20},
        {},
    ]


def test_a_failing_service_is_reported_once_and_training_goes_on() -> None:
    class _Broken(_Recorder):
        def add_scalars(self, values: dict[str, float], images: int) -> None:
            raise ConnectionError(f"{len(values)} numbers of image {images} are lost")

    said: list[str] = []
    logger = Logger(_Broken(), said.append)
    for images in (10, 20):
        logger.add_measurement(train_line(images, images / 10))
    logger.close()
    assert said == ["Logging stopped, but metrics.jsonl continues. ConnectionError: 4 numbers of image 10 are lost"]


def test_a_service_that_cannot_be_started_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise PermissionError("not logged in")

    fake = _FakeWandb()
    fake.init = init  # type: ignore[method-assign,assignment]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(ConfigError, match="--log wandb cannot be started: PermissionError: not logged in"):
        logger_for("wandb", tmp_path, "seed = 0", 0, print)


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"--log wandb needs the package wandb.*pip install 'sfumato\[wandb\]'"):
        sf.train("digits", tmp_path / "run", {"log": "wandb"})
    assert not (tmp_path / "run").exists()


def test_training_logs_the_lines_of_metrics_jsonl(tmp_path: Path) -> None:
    settings = {"log": "tensorboard", "images": 400, "batch": 4, "width": 8, "multipliers": (1,), "blocks": (1,)}
    settings |= {"preview_count": 2, "preview_steps": 3, "validation_count": 10, "validate_every": 200}
    sf.train("digits", tmp_path / "run", settings, device="cpu")
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    written = read_metrics(tmp_path / "run")
    for name in ("train", "validation"):
        lines = [(line["images"], pytest.approx(line["loss"])) for line in written if line["kind"] == name]
        assert [(event.step, event.value) for event in events.Scalars(f"{name}/loss")] == lines
        assert len(lines) == 2
    assert events.Scalars("train/images_per_second")[0].value > 0
    assert [image.step for image in events.Images("preview")] == [200, 400]
    assert 'source = "digits"' in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
