"""Models with columns of conditions: training, sampling, saving and resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lit import halves, lit_halves
from sfumato.data.conditions import Category, Number
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import ClassifierFree
from sfumato.errors import ConfigError, RunError
from sfumato.models import load
from sfumato.sampling.sampler import sample
from sfumato.training import loop, run_directory, step
from sfumato.training.config import DiffusionConfig, TrainConfig, differences
from sfumato.training.data_config import DataConfig
from sfumato.training.presets import preset_for
from sfumato.training.run_directory import read_record, training_images

from .conftest import Calls, Saved, Settings, Train

COUNT = 400


@pytest.fixture(autouse=True)
def lit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is loaded are the images of `lit_halves`."""
    monkeypatch.setattr(run_directory, "read_images", lambda *_, **__: lit_halves(COUNT))


@pytest.fixture
def short(settings: Settings) -> TrainConfig:
    """A run of a few steps."""
    return settings(images=40, flip=False, condition=("light", "side"))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Denoiser:
    """A model that was trained for some seconds."""
    tiny = preset_for("lit", "tiny")
    config = replace(
        tiny,
        data=DataConfig(condition=("light,side",)),
        network=replace(tiny.network, width=16, attention=()),
        diffusion=DiffusionConfig(schedule="flow", parametrization="flow", times="logit-normal"),
        optimization=replace(
            tiny.optimization, images=16_000, batch=32, warmup=1 / 12, ema="constant:decay=0.98", learning_rate=6e-3
        ),
        monitoring=replace(
            tiny.monitoring, validate_every=10**9, preview_count=2, preview_steps=5, validation_count=10
        ),
    )
    run = tmp_path_factory.mktemp("runs") / "lit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_directory, "read_images", lambda *_, **__: lit_halves(COUNT))
        loop.run_training(config, run, device="cpu")
    return load(run)


@pytest.mark.parametrize("scale", [1.0, 1.5])
@pytest.mark.slow
def test_samples_follow_the_conditioned_number_and_category(scale: float, learned: Denoiser) -> None:
    model = ClassifierFree(learned, scale)
    asked = {"light": [0.3, 0.5, 0.7, 0.9], "side": ["left", "right", "right"]}
    left, right = halves(sample(model, 48, labels=asked, steps=12))
    wanted = torch.tensor(asked["light"]).repeat(12)
    is_right = torch.tensor([False, True, True]).repeat(16)
    assert ((right > left) == is_right).all()
    drawn = torch.maximum(left, right)
    assert torch.corrcoef(torch.stack([wanted, drawn]))[0, 1] > 0.97
    assert (drawn - wanted).abs().mean() < 0.06


@pytest.mark.slow
def test_values_that_are_not_requested_vary(learned: Denoiser) -> None:
    left, right = halves(sample(learned, 64, labels={"side": "left"}, steps=12))
    assert (left > right).all()
    assert left.std() > 0.1, "the light should vary"
    left, right = halves(sample(learned, 64, labels={"light": 0.8}, steps=12))
    assert 10 < (left > right).sum() < 54, "both halves should be lit"
    assert torch.maximum(left, right).std() < 0.1
    left, right = halves(sample(learned, 64, steps=12))
    assert 10 < (left > right).sum() < 54
    assert torch.maximum(left, right).std() > 0.1


def test_a_run_and_its_model_record_the_columns(short: TrainConfig, go: Train, tmp_path: Path) -> None:
    go(short, tmp_path / "run")
    light, side = load(tmp_path / "run").columns
    assert isinstance(light, Number)
    assert 0.2 <= light.low < light.mean < light.high <= 1.0
    assert side == Category("side", ("left", "right"))
    record = read_record(tmp_path / "run")
    assert record.learned.columns == (light, side)
    assert record.config == short
    assert training_images(tmp_path / "run") is not None


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    precision: str, settings: Settings, go: Train, saved: Saved, calls: Calls, tmp_path: Path
) -> None:
    short = settings(images=40, condition=("light", "side"), precision=precision)
    batches = calls(step)
    go(short, tmp_path / "whole")
    go(short, tmp_path / "parts", steps=4)
    go(short, tmp_path / "parts")
    (tensors, counters), (others, other_counters) = (saved(tmp_path / name) for name in ("whole", "parts"))
    assert counters == other_counters
    assert all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
    assert len(batches) == 20
    for one, other in zip(batches[:10], batches[10:], strict=True):
        torch.testing.assert_close(one._asdict(), other._asdict(), rtol=0, atol=0, equal_nan=True)


def test_training_drops_whole_rows(settings: Settings, go: Train, calls: Calls, tmp_path: Path) -> None:
    batches = calls(step)
    go(settings(images=400, label_dropout=0.5, condition=("light", "side")), tmp_path / "run")
    rows = torch.cat([call.labels for call in batches])
    assert rows.shape == (400, 2)
    forgotten = rows.isnan().all(1).float().mean()
    assert 0.4 < forgotten < 0.6
    assert 0.05 < rows[~rows.isnan().all(1)].isnan().float().mean() < 0.2, "cells that are not known are a tenth"


def test_a_run_does_not_resume_with_other_columns(
    short: TrainConfig, settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(short, tmp_path / "run")
    with pytest.raises(RunError, match=r"--condition: \('light', 'side'\) -> \('light',\)"):
        go(settings(images=40, flip=False, condition=("light",)), tmp_path / "run")
    monkeypatch.setattr(run_directory, "read_images", lambda *_, **__: lit_halves(COUNT, "light"))
    with pytest.raises(RunError, match=r"\(columns: light \(0.* to .*\), side \(left, right\) -> light \(0.* to .*\)"):
        go(short, tmp_path / "run")


@pytest.mark.parametrize("requested", ["side", "side:class"])
def test_a_single_category_is_saved_as_classes_with_its_column(
    requested: str, settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_directory, "read_images", lambda *_, **__: lit_halves(COUNT, "side"))
    go(settings(images=40, condition=(requested,)), tmp_path / "run")
    assert read_record(tmp_path / "run").config.data.condition == (requested,)
    model = load(tmp_path / "run")
    assert (model.label_names, model.columns, model.label_column) == (("left", "right"), (), "side")
    assert "class_embedding.weight" in model.network.state_dict()
    same = [sample(model, 2, labels=wanted, steps=4) for wanted in ("left", {"side": "left"})]
    assert torch.equal(*same)


@pytest.mark.parametrize("written", [("age,species",), ("age", "species"), ("age, species",), ("age", " species ")])
def test_columns_can_be_separate_or_joined_by_commas(written: tuple[str, ...]) -> None:
    assert DataConfig(condition=written).condition == ("age", "species")


def test_columns_can_be_declared_as_numbers_or_classes(settings: Settings) -> None:
    data = DataConfig(condition=("age:number,species:class", "a:b"))
    assert data.condition == ("age:number", "species:class", "a:b")
    found = differences(settings(condition=("side",)), settings(condition=("side:class",)))
    assert found == ["--condition: ('side',) -> ('side:class',)"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (("age,",), "has an empty name"),
        (("",), "has an empty name"),
        (("age", "age"), "repeats a column"),
        (("age", "age:class"), "repeats a column"),
    ],
)
def test_empty_and_repeated_columns_are_rejected(written: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(condition=written)
