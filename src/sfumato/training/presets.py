"""Presets: named configurations."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path

from sfumato.errors import ConfigError
from sfumato.training.config import DiffusionConfig, MonitoringConfig, NetworkConfig, OptimizationConfig, TrainConfig
from sfumato.training.data_config import DataConfig

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

    base = asdict(preset_for(str(source), preset))
    table_of = {name: table for table in base.values() if isinstance(table, dict) for name in table}
    for name, value in (settings or {}).items():
        if name not in table_of:
            near = get_close_matches(name, table_of, n=2)
            suggestion = f"Did you mean {' or '.join(near)}? " if near else ""
            raise ConfigError(f"the setting {name!r} is unknown", f"{suggestion}`sfumato train --help-all` lists all.")
        table_of[name][name] = value
    try:
        return TypeAdapter(TrainConfig).validate_python(base)
    except ValidationError as error:
        first = error.errors()[0]
        name = next(str(part) for part in first["loc"] if part in table_of)
        problem = f"{name}={table_of[name][name]!r} is not allowed or has the wrong type"
        raise ConfigError(problem, f"{first['msg']}.") from error


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
