"""Presets: named configurations."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path

from sfumato.errors import ConfigError
from sfumato.training.config import (
    ADOPTED,
    DiffusionConfig,
    MonitoringConfig,
    NetworkConfig,
    OptimizationConfig,
    TrainConfig,
    flag_name,
)
from sfumato.training.data_config import DataConfig
from sfumato.utils.imports import is_import_path

PRESETS: dict[str, TrainConfig] = {
    # The best result in the given minutes. `autoconfig` sets the values that are None; the others were the best in
    # measurements (docs/experiments.md, "The lab").
    "default": TrainConfig(
        source="",
        preset="default",
        data=DataConfig(augment=None),
        network=NetworkConfig(
            backbone="convnet", width=None, multipliers=None, blocks=None, attention=(8,), patch=None, dropout=0.0
        ),
        diffusion=DiffusionConfig(schedule="edm", parametrization="edm", times=None, stratified=True),
        optimization=OptimizationConfig(
            batch=None, optimizer="muon", learning_rate=2e-3, warmup=0.02, decay=1.0, ema="power"
        ),
        monitoring=MonitoringConfig(autoguidance_at=0.15),
    ),
    # The CIFAR-10 network and optimizer of DDPM (arXiv 2006.11239, appendix B).
    "ddpm": TrainConfig(source="", preset="ddpm"),
    # Images of 8 to 16 pixels, in minutes on two CPU cores.
    "tiny": TrainConfig(
        source="",
        preset="tiny",
        network=NetworkConfig(width=32, multipliers=(1, 2), blocks=(1,), attention=(4,), dropout=0.0),
        optimization=OptimizationConfig(batch=64, learning_rate=2e-3, warmup=0.08, ema="constant:decay=0.995"),
    ),
    # Simple images of 32 pixels, in minutes on two CPU cores. Predicts the data: with patches of 4x4 pixels, a narrow
    # network cannot output the noise. The training times have more noise, at which the shapes are decided.
    "patches": TrainConfig(
        source="",
        preset="patches",
        network=NetworkConfig(
            backbone="convnet", width=48, multipliers=(1, 2), blocks=(2, 3), attention=(8,), patch=4, dropout=0.0
        ),
        diffusion=DiffusionConfig(schedule="edm", parametrization="data", times="log-normal:mean=0.5", stratified=True),
        optimization=OptimizationConfig(
            batch=16, optimizer="muon", learning_rate=2e-3, warmup=0.02, decay=1.0, ema="power"
        ),
    ),
}

DEFAULT_PRESETS = {"digits": "tiny", "shapes": "patches"}
"""Default presets of the built-in data sets; that of other sources is `default`."""

DEFAULT_BUDGETS: dict[str, dict[str, float | int]] = {
    "default": {"minutes": 30.0},
    "ddpm": {"images": 102_400_000},
    "tiny": {"images": 80_000},
    "patches": {"images": 24_000},
}
"""Training budget of each preset if none is given."""


def config_for(
    source: str | Path, settings: Mapping[str, object] | None = None, *, preset: str | None = None
) -> TrainConfig:
    """Builds the configuration of a training run from settings named like the flags of `sfumato train`.

    >>> config = config_for("photos/", {"size": 64, "minutes": 30, "flip": True})
    >>> config.data.size, config.optimization.minutes
    (64, 30.0)

    Args:
        source: data source: a folder, an archive, `hf:NAME`, `digits` or `shapes`.
        settings: values by name, with underscores, such as {"minutes": 30, "learning_rate": 1e-3}; the preset sets the
            others.
        preset: "default", "ddpm", "tiny" or "patches"; None: "tiny" for "digits", "patches" for "shapes", otherwise
            "default".

    Raises:
        ConfigError: an unknown preset or setting, or a value of the wrong type or out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    given, start = dict(settings or {}), (settings or {}).get("from")
    if not isinstance(start, str | Path | None):
        raise ConfigError(
            f"from is a {type(start).__name__}, not a path",
            "Give the path of a model, which the run records; sf.save(model, FOLDER) saves a loaded one.",
        )
    if start is not None:
        given["from"] = str(start)
    base = asdict(without_network(preset_for(str(source), preset), given))
    tables = [table for table in base.values() if isinstance(table, dict)]
    places = {flag_name(field): (table, field) for table in tables for field in table}
    for name, value in given.items():
        if name not in places:
            near = get_close_matches(name, places, n=2)
            suggestion = f"Did you mean {' or '.join(near)}? " if near else ""
            raise ConfigError(f"the setting {name!r} is unknown", f"{suggestion}`sfumato train --help-all` lists all.")
        table, field = places[name]
        table[field] = value
    try:
        return TypeAdapter(TrainConfig).validate_python(base)
    except ValidationError as error:
        first = error.errors()[0]
        name = next(name for name in map(flag_name, map(str, first["loc"])) if name in places)
        table, field = places[name]
        problem = f"{name}={table[field]!r} is not allowed or has the wrong type"
        raise ConfigError(problem, f"{first['msg']}.") from error


def without_network(preset: TrainConfig, given: Mapping[str, object]) -> TrainConfig:
    """Prepares a preset for a run with `--from`, whose network and noise levels are those of the model.

    The distribution of the training times is chosen for them if it is not given. Other presets are returned unchanged.

    Args:
        preset: preset of the run.
        given: values of all settings that were given, by name; `no_` before the name of a switch is accepted.

    Raises:
        ConfigError: a setting of the network or the noise levels was given, except a custom network.
    """
    if given.get("from") is None:
        return preset
    for name, value in given.items():
        is_custom = name == "backbone" and is_import_path(str(value))
        if name.removeprefix("no_") in ADOPTED and value is not None and not is_custom:
            raise ConfigError(
                f"--{name.replace('_', '-')} cannot be combined with --from {given['from']}",
                "Leave it out: the run has the network, the noise schedule and the parametrization of that model.",
            )
    return replace(preset, diffusion=replace(preset.diffusion, times=None))


def preset_for(source: str, name: str | None = None) -> TrainConfig:
    """The preset of a name, or the default preset for `source`.

    Raises:
        ConfigError: an unknown name; lists the valid ones.
    """
    if name is None:
        name = DEFAULT_PRESETS.get(source, "default")
    if name not in PRESETS:
        raise ConfigError(f"the preset {name!r} is unknown", f"Choose among: {', '.join(PRESETS)}.")
    return replace(PRESETS[name], source=source)
