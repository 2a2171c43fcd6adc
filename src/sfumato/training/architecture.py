"""The model that a configuration means for some images."""

import math

from sfumato.data import ImageSet, nonleaking
from sfumato.data.labels import LABEL, name_and_kind
from sfumato.errors import ConfigError
from sfumato.models import ModelConfig
from sfumato.networks.convnet import ConvNetConfig
from sfumato.networks.unet import UNetConfig
from sfumato.training.config import TrainConfig


def model_for(config: TrainConfig, images: ImageSet) -> ModelConfig:
    """The model that `config`, in which nothing is left open, means for these images.

    Raises:
        ConfigError: the settings make no network or no schedule.
    """
    diffusion = config.diffusion
    return ModelConfig(
        network=_network(config, images),
        schedule=diffusion.schedule,
        zero_terminal_snr=diffusion.zero_terminal_snr,
        shift=diffusion.shift,
        parametrization=diffusion.parametrization,
        image_shape=images.image_shape,
        label_names=images.label_names,
        columns=images.columns,
        label_column=_label_column(config) if images.label_names else LABEL,
        depth=images.depth,
    )


def _label_column(config: TrainConfig) -> str:
    return name_and_kind(next(iter(config.data.condition), LABEL))[0]


def _network(config: TrainConfig, images: ImageSet) -> UNetConfig | ConvNetConfig:
    """The network: `attention` at "about r pixels" is the level whose longer side is nearest to r on a log scale."""
    asked = config.network
    width, multipliers, blocks, patch = asked.width, asked.multipliers, asked.blocks, asked.patch
    if width is None or multipliers is None or blocks is None or patch is None:
        raise ConfigError(
            "the settings leave the size of the network open",
            "Settle it by `sfumato.training.autoconfig.planned`, or give it.",
        )
    channels, *sides = images.image_shape
    level_sides = [max(sides) / patch / 2**level for level in range(len(multipliers))]
    attends = tuple(
        i for i, side in enumerate(level_sides) if any(round(math.log2(side / r)) == 0 for r in asked.attention)
    )
    classes, columns = len(images.label_names), tuple(column.size for column in images.columns)
    told = nonleaking.AUGMENTATION_FEATURES if config.data.augment else 0
    if asked.backbone == "convnet":
        each = blocks * len(multipliers) if len(blocks) == 1 else blocks
        return ConvNetConfig(channels, width, multipliers, each, attends, asked.dropout, classes, columns, told, patch)
    if len(set(blocks)) > 1:
        raise ConfigError(f"--blocks {blocks} of the unet", "Give one number, or choose --backbone convnet.")
    return UNetConfig(channels, width, multipliers, blocks[0], attends, asked.dropout, classes, columns, told)
