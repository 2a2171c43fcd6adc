"""Settings: invalid values, settings that may change on resume, and config.toml."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sfumato.data import ImageSet, load_images
from sfumato.diffusion.denoiser import PARAMETRIZATIONS
from sfumato.diffusion.losses import WEIGHTS
from sfumato.diffusion.schedules import SCHEDULES, Flow
from sfumato.diffusion.time_densities import TIME_DENSITIES
from sfumato.errors import ConfigError, SfumatoError
from sfumato.training.architecture import model_for
from sfumato.training.autoconfig import resolve_config
from sfumato.training.checkpoints import Run
from sfumato.training.config import (
    MONITORING_LIMITS,
    DiffusionConfig,
    MonitoringConfig,
    NetworkConfig,
    OptimizationConfig,
    differences,
)
from sfumato.training.data_config import DataConfig
from sfumato.training.presets import PRESETS, preset_for
from sfumato.training.run_directory import DataRecord, read_record

from .conftest import Settings, Train

NAN = float("nan")

IMPOSSIBLE: list[tuple[Callable[..., object], str, object]] = [
    (DataConfig, "size", 3),
    (DataConfig, "validation_share", 0.0),
    (DataConfig, "validation_share", 1.0),
    (DataConfig, "validation_share", NAN),
    (DataConfig, "translate", -1),
    (DataConfig, "augment", -0.1),
    (DataConfig, "augment", 1.1),
    (DataConfig, "augment", NAN),
    (NetworkConfig, "attention", (16, 0)),
    (NetworkConfig, "attention", (-4,)),
    (NetworkConfig, "dropout", -0.1),
    (NetworkConfig, "dropout", 1.0),
    (OptimizationConfig, "images", 0),
    (OptimizationConfig, "batch", 0),
    (OptimizationConfig, "learning_rate", 0.0),
    (OptimizationConfig, "learning_rate", NAN),
    (OptimizationConfig, "learning_rate", float("inf")),
    (OptimizationConfig, "images", 10**12),
    (OptimizationConfig, "minutes", 0.0),
    (OptimizationConfig, "minutes", NAN),
    (OptimizationConfig, "warmup", -0.1),
    (OptimizationConfig, "decay", 1.5),
    (OptimizationConfig, "clip_gradient", 0.0),
    (OptimizationConfig, "label_dropout", 1.0),
    (OptimizationConfig, "label_dropout", -0.1),
    (OptimizationConfig, "seed", -1),
    (OptimizationConfig, "seed", 2**63),
    (MonitoringConfig, "validate_every", 0),
    (MonitoringConfig, "preview_count", 0),
    (MonitoringConfig, "preview_steps", 0),
    (MonitoringConfig, "validation_count", 0),
    (MonitoringConfig, "save_minutes", -1.0),
    (MonitoringConfig, "keep", 0),
    (MonitoringConfig, "autoguidance_at", 1.0),
    (MonitoringConfig, "autoguidance_min_steps", -1),
    *((MonitoringConfig, name, 10**23) for name in MONITORING_LIMITS),
    (MonitoringConfig, "save_minutes", float("inf")),
    (DataConfig, "translate", 10**23),
]


def test_an_unset_batch_size_raises_an_error() -> None:
    assert OptimizationConfig(batch=7).batch_size == 7
    with pytest.raises(ConfigError, match="batch size is not set"):
        _ = OptimizationConfig(batch=None).batch_size


@pytest.mark.parametrize(
    ("table", "name", "value"), IMPOSSIBLE, ids=lambda value: str(getattr(value, "__name__", value))
)
def test_a_setting_out_of_range_is_rejected_by_its_flag(table: Callable[..., object], name: str, value: object) -> None:
    with pytest.raises(ConfigError) as refusal:
        table(**{name: value})
    assert f"--{name.replace('_', '-')} {value}" in refusal.value.problem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 3}, "width 3"),
        ({"multipliers": ()}, "multipliers"),
        ({"blocks": (0,)}, "0 blocks"),
        ({"preview_steps": 2}, "2 sampling steps are too few"),
    ],
)
def test_invalid_network_or_preview_settings_create_no_run(
    changes: dict[str, object], message: str, settings: Settings, go: Train, tmp_path: Path
) -> None:
    with pytest.raises(SfumatoError, match=message):
        go(settings(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"schedule": "cosin"},
            "schedule 'cosin' is unknown. Choose among: linear, scaled-linear, cosine, sigmoid, edm",
        ),
        ({"schedule": "linear:timesteps=5"}, "5 timesteps are too few"),
        ({"schedule": "linear:steps=5"}, "has no setting 'steps'. It has: timesteps=1000, beta_start"),
        ({"schedule": "linear:beta_start=0.5"}, "betas from 0.5"),
        ({"schedule": "cosine:timesteps=1000001"}, "1000001 timesteps are too many"),
        ({"schedule": "flow", "zero_terminal_snr": True}, "the schedule 'flow' has no timesteps"),
        ({"shift": 0.0}, "the shift 0.0 of the schedule"),
        ({"shift": NAN}, "the shift nan of the schedule"),
        ({"parametrization": "score"}, "'score' is unknown. Choose among: noise, data, velocity, flow, edm"),
        (
            {"schedule": "flow"},
            "parametrization 'noise' cannot be used with this schedule.* Choose among: data, velocity, flow, edm",
        ),
        ({"zero_terminal_snr": True}, "parametrization 'noise' cannot be used with this schedule"),
        ({"times": "normal"}, "time density 'normal' is unknown. Choose among: uniform, log-normal, logit-normal"),
        ({"weight": "min_snr"}, "weight 'min_snr' is unknown. Choose among: simple, snr, min-snr, soft-min-snr, elbo"),
        ({"weight": "min-snr:gamma=-1"}, "gamma -1.0 is out of range"),
    ],
)
def test_an_invalid_objective_is_rejected_with_the_valid_choices(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiffusionConfig(**settings)


def test_a_custom_schedule_without_a_name_is_explained(unchecked: None) -> None:
    del unchecked
    with pytest.raises(
        ConfigError, match=r"is not a name, which a saved model needs.*register your schedule in .*SCHEDULES"
    ):
        DiffusionConfig(schedule=Flow())  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("parametrization", ["data", "velocity", "flow", "edm"])
def test_schedules_combine_with_all_valid_parametrizations(schedule: str, parametrization: str) -> None:
    DiffusionConfig(schedule=schedule, parametrization=parametrization)


def test_the_help_lists_all_choices() -> None:
    help_text = inspect.getsource(DiffusionConfig)
    for table in (SCHEDULES, PARAMETRIZATIONS, TIME_DENSITIES, WEIGHTS):
        for name in table:
            assert re.search(rf"[\s(]{name}[\s(,:]", help_text), name


def leaves(tree: dict[str, Any]) -> dict[str, Any]:
    """Nested tables as one, by dotted names; tuples as lists."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": leaf for inner, leaf in leaves(value).items()}
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


@pytest.mark.parametrize("preset", PRESETS)
def test_every_setting_is_saved_and_restored(preset: str, photos: Path, tmp_path: Path) -> None:
    images = load_images(photos)
    config = resolve_config(preset_for(str(photos), preset), images, torch.device("cpu")).config
    learned = DataRecord.of(images)
    Run(tmp_path / "run", config, learned)
    written = leaves(tomllib.loads((tmp_path / "run" / "config.toml").read_text())["config"])
    for name, value in leaves(asdict(config)).items():
        assert (value is None and name not in written) or written[name] == value, name
    record = read_record(tmp_path / "run")
    assert (record.config, record.learned) == (config, learned)
    assert learned.label_names == ("cat", "dog")


def test_a_difference_is_shown_by_its_flag(settings: Settings) -> None:
    assert differences(settings(batch=4, flip=True), settings(batch=8, flip=False)) == [
        "--flip: True -> False",
        "--batch: 4 -> 8",
    ]


FREE = {
    "log": "tensorboard",
    "validate_every": 4,
    "preview_count": 3,
    "preview_steps": None,
    "validation_count": 20,
    "save_minutes": 1.0,
    "keep": 5,
    "eval_every": 8,
    "eval_count": 4,
    "eval_features": "inception",
    "autoguidance_at": 0.5,
    "autoguidance_min_steps": 7,
    "images": 40,
    "minutes": 5.0,
    "source": "elsewhere",
}

FIXED: dict[str, object] = {
    "size": 16,
    "fit": "pad",
    "channels": "grey",
    "split": "all",
    "pages": "first",
    "range": (0.0, 10.0),
    "nodata": -1.0,
    "name_encoding": "cp932",
    "labels": False,
    "condition": ("age",),
    "flip": False,
    "translate": 2,
    "augment": 0.5,
    "validation_share": 0.5,
    "width": 16,
    "multipliers": (1, 2),
    "patch": 2,
    "blocks": (2,),
    "backbone": "convnet",
    "start": "runs/other",
    "attention": (8,),
    "dropout": 0.5,
    "schedule": "cosine:timesteps=50",
    "zero_terminal_snr": True,
    "shift": 2.0,
    "parametrization": "data",
    "times": "log-normal",
    "stratified": True,
    "weight": "min-snr:gamma=4",
    "loss": "losses.py:huber",
    "batch": 8,
    "learning_rate": 0.5,
    "optimizer": "muon",
    "warmup": 1.0,
    "decay": 0.5,
    "ema": "power",
    "clip_gradient": 2.0,
    "label_dropout": 0.9,
    "precision": "bfloat16",
    "seed": 1,
}


def test_every_setting_is_either_free_or_fixed(settings: Settings) -> None:
    names = {name.split(".")[-1] for name in leaves(asdict(settings()))}
    assert names == FREE.keys() | FIXED.keys() | {"preset"}


@pytest.mark.parametrize("name", FREE)
def test_settings_without_effect_on_training_can_change(name: str, settings: Settings) -> None:
    changed = settings(**{name: FREE[name]})
    assert changed != settings()
    assert differences(settings(), changed) == []


@pytest.mark.parametrize("name", FIXED)
def test_settings_with_effect_on_training_cannot_change(name: str, settings: Settings) -> None:
    base: dict[str, object] = {"parametrization": "velocity"}  # which goes with every schedule
    base |= {"backbone": "convnet"} if name == "patch" else {}
    (difference,) = differences(settings(**base), settings(**base | {name: FIXED[name]}))
    flag = "from" if name == "start" else name.replace("_", "-")
    assert difference.startswith(f"--{flag}: ")


@pytest.mark.parametrize(
    ("side", "multipliers", "attention", "levels"),
    [
        ((32, 32), (1, 2, 2, 2), (16,), (1,)),
        ((28, 28), (1, 2, 2, 2), (16,), (1,)),
        ((8, 8), (1, 2), (16,), ()),
        ((8, 8), (1, 2), (4,), (1,)),
        ((64, 64), (1, 2, 2, 2), (16,), (2,)),
        ((30, 45), (1, 2, 2, 2), (16,), (1,)),
        ((32, 32), (1, 2, 2, 2), (8, 16), (1, 2)),
        ((32, 32), (1, 2, 2, 2), (), ()),
    ],
)
@pytest.mark.parametrize("names", [(), ("cat", "dog")])
def test_attention_is_at_the_given_size_and_classes_are_known(
    side: tuple[int, int],
    multipliers: tuple[int, ...],
    attention: tuple[int, ...],
    levels: tuple[int, ...],
    names: tuple[str, ...],
    settings: Settings,
) -> None:
    config = settings(width=8, multipliers=multipliers, attention=attention)
    images = ImageSet.of(torch.zeros(2, 3, *side, dtype=torch.uint8), None, names)
    model = model_for(config, images)
    assert model.network.attention_levels == levels
    assert (model.network.classes, model.label_names) == (len(names), names)
    assert (model.image_shape, model.network.image_channels) == ((3, *side), 3)


def test_the_preset_is_the_named_one_or_follows_from_the_data() -> None:
    assert preset_for("digits") == replace(PRESETS["tiny"], source="digits")
    assert preset_for("shapes") == replace(PRESETS["patches"], source="shapes")
    for source in ("photos", "./shapes", "photos/shapes"):
        assert preset_for(source) == replace(PRESETS["default"], source=source)
    assert preset_for("digits", "ddpm").optimization.batch == 128
    assert preset_for("photos", "ddpm").diffusion == DiffusionConfig(
        "linear", False, 1.0, "noise", "uniform", False, "simple"
    )
    with pytest.raises(ConfigError, match=r"the preset 'huge' is unknown. Choose among: default, ddpm, tiny"):
        preset_for("photos", "huge")
