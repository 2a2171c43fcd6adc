"""Saving and loading of models; changed and invalid files are rejected."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.descriptions import Change, delete, outputs, put
from sfumato import models
from sfumato.data.conditions import Category, Number
from sfumato.diffusion.denoiser import PreconditionedDenoiser, predict_velocity
from sfumato.diffusion.schedules import SCHEDULES, Cosine, Custom, Flow, LinearBeta, Schedule, Shifted, ZeroTerminal
from sfumato.errors import ConfigError, RunError
from sfumato.models import (
    KIND,
    MAX_TIMESTEPS,
    Model,
    ModelConfig,
    checked_schedule,
    images_seen,
    load,
    read_description,
    save_description,
    save_weights,
)
from sfumato.training.config import OptimizationConfig
from sfumato.training.state import TrainingState
from sfumato.utils.files import read_tensors, write_tensors


@pytest.mark.parametrize("where", ["run", "run/model", "copy"])
def test_a_model_is_the_same_after_saving_and_loading(where: str, folder: Path, model: PreconditionedDenoiser) -> None:
    shutil.copytree(folder / "model", folder.parent / "copy")
    loaded = load(folder.parent / where)
    assert torch.equal(outputs(loaded), outputs(model))
    assert not loaded.training
    assert all(isinstance(p, nn.Parameter) and p.device.type == "cpu" for p in loaded.parameters())
    assert (loaded.image_shape, loaded.label_names, loaded.schedule) == ((3, 8, 8), ("cat", "dog"), model.schedule)
    assert images_seen(folder.parent / where) == 640


def test_a_loaded_model_can_be_trained(folder: Path) -> None:
    state = TrainingState(load(folder), OptimizationConfig())
    outputs_before = outputs(state.average)
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.add_(1)
    assert torch.equal(outputs(load(folder)), outputs_before)


def test_a_description_is_restored(config: ModelConfig, folder: Path) -> None:
    assert read_description(folder / "model") == config


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("model/model.safetensors", "run has no trained model yet"),
        ("model/config.json", "run contains no model"),
        ("model", "run contains no model"),
    ],
)
def test_a_missing_model_is_reported(removed: str, message: str, folder: Path) -> None:
    path = folder / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(RunError, match=message):
        load(folder)


def test_a_path_that_is_no_folder_is_reported(folder: Path) -> None:
    with pytest.raises(RunError, match=r"model.safetensors is not a folder\. Give a run .* diffusers, or hf:USER/NAME"):
        load(folder / "model" / "model.safetensors")


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"model_type": "bert", "architectures": ["BertModel"]}, "bert"),
        ({"architectures": ["BertModel"]}, r"\['BertModel'\]"),
        ({"hidden_size": 8}, "no format"),
    ],
)
def test_a_model_of_another_library_is_named(
    content: dict[str, Any], kind: str, weights: str, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(content), encoding="utf-8")
    shutil.copy(folder / "model" / "model.safetensors", other / weights)
    message = rf"other contains no model of sfumato or diffusers \(config\.json: {kind}\)\. Give a run directory"
    with pytest.raises(RunError, match=message):
        load(other)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (delete("stem.bias"), "lacks tensor stem.bias"),
        (put("stem.extra", torch.ones(1)), "has the unknown tensor stem.extra"),
        (put("stem.bias", torch.ones(9)), r"has stem.bias as torch.float32 \[9\], not torch.float32 \[8\]"),
        (put("stem.bias", torch.ones(8).double()), r"has stem.bias as torch.float64 \[8\], not torch.float32 \[8\]"),
    ],
)
def test_the_tensors_of_another_network_are_rejected(
    change: Change, reason: str, folder: Path, model: PreconditionedDenoiser
) -> None:
    tensors = model.network.state_dict()
    change(tensors)
    write_tensors(folder / "model" / "model.safetensors", tensors, KIND, {})
    with pytest.raises(RunError, match=rf"model.safetensors {reason}"):
        load(folder)


def test_a_value_that_is_not_finite_is_rejected(folder: Path, model: PreconditionedDenoiser) -> None:
    tensors = model.network.state_dict() | {"stem.bias": torch.full((8,), float("nan"))}
    write_tensors(folder / "model" / "model.safetensors", tensors, KIND, {})
    with pytest.raises(RunError, match=r"model.safetensors contains values in stem.bias that are not finite"):
        load(folder)


def test_weights_written_for_another_description_are_rejected(folder: Path, config: ModelConfig) -> None:
    save_description(replace(config, shift=2.0), folder / "model")
    with pytest.raises(RunError, match=r"config.json was changed after model.safetensors was written"):
        load(folder)


@pytest.mark.parametrize("notes", [{}, {"images_seen": "many", "description": ""}, {"images_seen": 1, "x": 2}])
def test_weights_with_other_metadata_are_rejected(notes: dict[str, object], folder: Path) -> None:
    weights = folder / "model" / "model.safetensors"
    write_tensors(weights, read_tensors(weights, KIND)[0], KIND, notes)
    for read in (load, images_seen):
        with pytest.raises(RunError, match=r"model.safetensors has an invalid field"):
            read(folder)


def test_images_seen_are_read_without_the_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(models, "read_tensors")
    assert images_seen(folder) == 640


def test_checkpoints_and_models_are_not_interchangeable(folder: Path, model: PreconditionedDenoiser) -> None:
    weights = folder / "model" / "model.safetensors"
    state = TrainingState(model, OptimizationConfig())
    with pytest.raises(RunError, match="of another kind: sfumato-model, not sfumato-checkpoint"):
        state.load(weights)
    state.checkpoint().save(weights)
    with pytest.raises(RunError, match="of another kind: sfumato-checkpoint, not sfumato-model"):
        load(folder)


@pytest.mark.parametrize("length", [0, 5, 500, 5000, -1])
def test_a_truncated_model_is_rejected(length: int, folder: Path) -> None:
    weights = folder / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(RunError, match=r"model.safetensors is truncated or not a safetensors file"):
        load(folder)


def test_the_weights_of_another_program_are_rejected(folder: Path) -> None:
    save_file({"conv_in.bias": torch.ones(8)}, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunError, match="of another kind: pt, not sfumato-model"):
        load(folder)


@pytest.mark.parametrize("content", ["", "{", "not json", '{"network": NaN', "\x00"])
def test_a_description_that_is_not_json_is_rejected(content: str, folder: Path) -> None:
    (folder / "model" / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config.json is not valid JSON"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (delete("network"), "network: Field required"),
        (put("extra", 1), "extra: Unexpected keyword argument"),
        (put("network/extra", 1), "network.unet.extra: Unexpected keyword argument"),
        (put("schedule", {"timesteps": 50}), "schedule: Input should be a valid string"),
        (put("schedule", "linear:extra=1"), "schedule 'linear' has no setting 'extra'"),
        (put("schedule", "quadratic"), "schedule 'quadratic' is unknown"),
        (put("schedule", "flow"), "cannot be used with this schedule"),
        (put("zero_terminal_snr", True), "cannot be used with this schedule"),
        (put("zero_terminal_snr", 3), "zero_terminal_snr: Input should be a valid boolean"),
        (put("shift", 0.0), "the shift 0.0 of the schedule"),
        (put("shift", float("inf")), "the shift inf of the schedule"),
        (put("network/width", "wide"), "network.unet.width: Input should be a valid integer"),
        (put("network/multipliers", 3), "network.unet.multipliers: Input should be a valid tuple"),
        (put("network", None), "network"),
        (put("version", 2), "version: Input should be 1"),
        (put("format", "other"), "format: Input should be 'sfumato-model'"),
        (put("label_names", ["cat"]), "2 classes and 3 image channels, but there are 1 label names"),
        (put("network/classes", 3), "3 classes"),
        (put("image_shape", [1, 8, 8]), "3 image channels, but there are 2 label names and images of shape"),
        (put("image_shape", [3, 8]), "image_shape.2: Field required"),
        (put("image_shape", [3, 0, 8]), "out of range"),
        (put("image_shape", [3, -8, 8]), "out of range"),
        (put("image_shape", [3, 10**9, 10**9]), "out of range"),
        (put("parametrization", "magic"), "parametrization 'magic' is unknown"),
        (put("schedule", "linear:timesteps=0"), "0 timesteps are too few"),
        (put("schedule", "linear:timesteps=10000000000000"), "timesteps are too many"),
        (put("schedule", "cosine:timesteps=1000001"), "timesteps are too many"),
        (put("schedule", "linear:beta_end=2"), "are not a noise schedule"),
        (put("schedule", "linear:beta_end=nan"), "beta_end=nan .* is not a number"),
        (put("network/width", 16), "has .* as torch.float32"),
        (put("network/width", 10**13), "is too large"),
        (put("network/width", 10**30), "is too large"),
        (put("network/width", -8), "are out of range"),
        (put("network/blocks", 10**12), "is too large"),
        (put("network/multipliers", []), "are out of range"),
        (put("network/dropout", 7.0), "describes a network that cannot be built"),
        (put("network/attention_levels", [5]), "attention at levels"),
    ],
)
def test_a_modified_description_is_rejected_with_its_reason(
    change: Change, reason: str, folder: Path, unchecked: None
) -> None:
    del unchecked
    path = folder / "model" / "config.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(RunError, match=rf"run/model/(config.json|model.safetensors) .*{reason}"):
        load(folder)


def test_an_unlabelled_model_loads(config: ModelConfig, tmp_path: Path) -> None:
    plain = replace(config, network=replace(config.network, classes=0), label_names=())
    save_description(plain, tmp_path)
    save_weights(Model(plain).network.state_dict(), tmp_path, 1)
    assert load(tmp_path).label_names == ()


@pytest.fixture
def conditioned(config: ModelConfig) -> ModelConfig:
    """A model of a number and a category."""
    columns = (Number("age", 30.5, 10.0, 18.0, 90.0), Category("colour", ("blue", "red", "ünd")))
    return replace(config, network=replace(config.network, classes=0, columns=(0, 3)), label_names=(), columns=columns)


def test_a_model_of_columns_is_the_same_after_saving_and_loading(conditioned: ModelConfig, tmp_path: Path) -> None:
    save_description(conditioned, tmp_path)
    model = Model(conditioned)
    save_weights(model.network.state_dict(), tmp_path, 1)
    assert read_description(tmp_path) == conditioned
    loaded = load(tmp_path)
    assert (loaded.label_names, loaded.columns) == ((), conditioned.columns)
    rows, x = torch.tensor([[1.5, 2], [float("nan"), 0]]), torch.ones(2, 3, 8, 8)
    t = torch.tensor(0.5, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(loaded(x, t, rows), model.eval()(x, t, rows))


def test_the_column_of_the_classes_is_saved(config: ModelConfig, tmp_path: Path) -> None:
    save_description(replace(config, label_column="species"), tmp_path)
    save_weights(Model(config).network.state_dict(), tmp_path, 1)
    assert load(tmp_path).label_column == "species"


def test_an_old_description_without_columns_is_read(config: ModelConfig, folder: Path) -> None:
    path = folder / "model" / "config.json"
    fields = json.loads(path.read_text())
    del fields["columns"], fields["label_column"], fields["network"]["columns"]
    path.write_text(json.dumps(fields))
    assert read_description(folder / "model") == config


@pytest.mark.parametrize(("channels", "opacity"), [(3, False), (4, True)])
def test_the_fourth_channel_of_an_old_description_is_opacity(
    channels: int, opacity: bool, config: ModelConfig, tmp_path: Path
) -> None:
    network = replace(config.network, image_channels=channels)
    save_description(replace(config, network=network, image_shape=(channels, *config.image_shape[1:])), tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    del fields["depth"]["opacity"]
    path.write_text(json.dumps(fields))
    assert read_description(tmp_path).depth.opacity == opacity


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("columns", []), r"columns of \(0, 3\) values, but the columns have \(\)"),
        (put("network/columns", [3, 0]), r"columns of \(3, 0\) values, but the columns have \(0, 3\)"),
        (put("network/columns", [0, 10**9]), r"columns of \(0, 1000000000\) values"),
        (put("label_names", ["cat"]), "0 classes and 3 image channels, but there are 1 label names"),
        (put("network/classes", 2), "cannot be combined"),
        (lambda content: content["columns"][1].update(name="age"), "the columns age, age are not unique"),
        (lambda content: content["columns"][1].update(values=["a"]), "but the columns have"),
        (lambda content: content["columns"][1].update(kind="number"), "columns.1"),
        (lambda content: content["columns"][0].update(deviation=0.0), "is not valid"),
    ],
)
def test_modified_columns_are_rejected(
    change: Change, reason: str, conditioned: ModelConfig, tmp_path: Path, unchecked: None
) -> None:
    del unchecked
    save_description(conditioned, tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(RunError, match=rf"config.json .*{reason}"):
        read_description(tmp_path)


def test_all_settings_of_the_schedule_are_saved(config: ModelConfig, tmp_path: Path) -> None:
    described = replace(
        config, schedule="cosine:timesteps=20", zero_terminal_snr=True, shift=2.0, parametrization="velocity"
    )
    save_description(described, tmp_path)
    save_weights(Model(described).network.state_dict(), tmp_path, 1)
    loaded = load(tmp_path)
    assert loaded.schedule == Shifted(ZeroTerminal(Cosine(20)), 2.0)
    assert loaded.parametrization is predict_velocity
    assert outputs(loaded).isfinite().all()


def test_the_longest_schedule_is_valid_and_a_longer_one_is_not() -> None:
    assert checked_schedule("cosine:timesteps=1000000", False, 1.0, "noise").timesteps == MAX_TIMESTEPS
    with pytest.raises(ConfigError, match="1000001 timesteps are too many"):
        checked_schedule("cosine:timesteps=1000001", False, 1.0, "noise")
    assert checked_schedule("flow", False, 1.0, "flow") == Flow()


@pytest.mark.parametrize("schedule", [Flow(), LinearBeta()])
def test_a_schedule_without_a_name_is_rejected_with_a_remedy(
    schedule: Schedule, config: ModelConfig, unchecked: None
) -> None:
    del unchecked
    with pytest.raises(
        ConfigError,
        match=r"the schedule .* is not a name.*register your schedule in sfumato.diffusion.schedules.SCHEDULES",
    ):
        replace(config, schedule=schedule)


def test_a_custom_schedule_is_saved_and_loaded_by_its_name(
    config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Custom(lambda t: -20 * t)
    monkeypatch.setitem(SCHEDULES, "mine", mine)
    named = replace(config, schedule="mine")
    save_description(named, tmp_path)
    save_weights(Model(named).network.state_dict(), tmp_path, 1)
    assert load(tmp_path).schedule is mine
    monkeypatch.delitem(SCHEDULES, "mine")
    with pytest.raises(RunError, match=r"config.json has an invalid value: the schedule 'mine' is unknown"):
        load(tmp_path)
