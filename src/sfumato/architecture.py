"""The model that a configuration means for some images."""

import math

from sfumato.data import ImageSet, nonleaking
from sfumato.models import ModelConfig
from sfumato.nn.convnet import ConvNetConfig
from sfumato.nn.unet import UNetConfig
from sfumato.training.config import NetworkConfig, TrainConfig


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
        label_column=next(iter(config.data.condition), "label") if images.label_names else "label",
        depth=images.depth,
    )


def _network(config: TrainConfig, images: ImageSet) -> UNetConfig | ConvNetConfig:
    network = config.network
    width, multipliers, blocks, patch = network.width, network.multipliers, network.blocks, network.patch
    if width is None or multipliers is None or blocks is None or patch is None:
        raise ConfigError("the network is left open", "Settle it by `sfumato.rules.planned`, or give every setting.")
    channels, height, width = images.image_shape
    attention = _attention_levels(network, max(height, width))
    conditions = {"classes": len(images.label_names), "columns": tuple(column.size for column in images.columns)}
