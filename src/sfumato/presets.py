"""Named configurations, each with what it is for."""

from dataclasses import replace

from sfumato.errors import ConfigError
from sfumato.training.config import (
    NetworkConfig,
    OptimizationConfig,
    TrainConfig,
)

PRESETS: dict[str, TrainConfig] = {
    # The CIFAR-10 network and optimizer of DDPM (arXiv 2006.11239, appendix B).
    "ddpm": TrainConfig(source="", preset="ddpm"),
    # Images of 8 to 16 pixels, in minutes on two CPU cores.
    "tiny": TrainConfig(
        source="",
        preset="tiny",
        network=NetworkConfig(width=32, multipliers=(1, 2), blocks=1, attention=(4,), dropout=0.0),
        optimization=OptimizationConfig(images=80_000, batch=64, learning_rate=2e-3, warmup=6_400, ema=0.995),
    ),
}


def preset_for(source: str, name: str | None = None) -> TrainConfig:
    """The named preset, or without a name the one that suits `source`.

    Raises:
        ConfigError: an unknown name; lists the known ones.
    """
    if name is None:
        name = "tiny" if source == "digits" else "ddpm"
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}", f"Choose among: {', '.join(PRESETS)}.")
    return replace(PRESETS[name], source=source)
