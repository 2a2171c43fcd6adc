"""Named configurations, each with what it is for."""

from dataclasses import replace

from sfumato.errors import ConfigError
from sfumato.training.config import (
    DataConfig,
    DiffusionConfig,
    NetworkConfig,
    OptimizationConfig,
    TrainConfig,
    WatchConfig,
)

PRESETS: dict[str, TrainConfig] = {
    # The best that a number of minutes can buy: what is None here is settled by `sfumato.rules`; the rest was measured
    # to learn fastest (docs/experiments.md, "The lab").
    "default": TrainConfig(
        source="",
        preset="default",
        data=DataConfig(augment=None),
        network=NetworkConfig(
            backbone="convnet", width=None, multipliers=None, blocks=None, attention=(8,), patch=None, dropout=0.0
        ),
        diffusion=DiffusionConfig(schedule="edm", parametrization="edm", times="log-normal:mean=-0.5", stratified=True),
        optimization=OptimizationConfig(
            batch=None, optimizer="muon", learning_rate=2e-3, warmup=0.02, decay=1.0, ema="power"
        ),
        watch=WatchConfig(guide_at=0.15),
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
}

USUAL_BUDGETS: dict[str, dict[str, float | int]] = {
    "default": {"minutes": 30.0},
    "ddpm": {"images": 102_400_000},
    "tiny": {"images": 80_000},
}
"""How long a run of each preset lasts, if nobody says."""


def preset_for(source: str, name: str | None = None) -> TrainConfig:
    """The named preset, or without a name the one that suits `source`.

    Raises:
        ConfigError: an unknown name; lists the known ones.
    """
    if name is None:
        name = "tiny" if source == "digits" else "default"
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}", f"Choose among: {', '.join(PRESETS)}.")
    return replace(PRESETS[name], source=source)
