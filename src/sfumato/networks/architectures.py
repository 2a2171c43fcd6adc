"""Registry of architectures: the network configurations in model files, and the networks built from them."""

from typing import Annotated

from pydantic import Discriminator, Tag
from torch import nn

from sfumato.networks.convblocks import LOG_NOISE_PERIODS, STEP_PERIODS
from sfumato.networks.convnet import ConvNet, ConvNetConfig
from sfumato.networks.custom import CustomConfig, build_custom
from sfumato.networks.unet import UNet, UNetConfig
from sfumato.utils.imports import is_import_path

STEP, LOG_NOISE = "step", "log-noise"
"""Time scales of networks: 0 to 1000 as in DDPM, or log(sigma / alpha) / 4 as in EDM."""


def _architecture(network: object) -> object:
    """Name of the architecture in a model file; files without a name describe a UNet."""
    name = network.get("architecture", "unet") if isinstance(network, dict) else "unet"
    return "custom" if isinstance(name, str) and is_import_path(name) else name


Architecture = Annotated[
    Annotated[UNetConfig, Tag("unet")]
    | Annotated[ConvNetConfig, Tag("convnet")]
    | Annotated[CustomConfig, Tag("custom")],
    Discriminator(
        _architecture,
        custom_error_type="unknown_architecture",
        custom_error_message="Its architecture is unknown: it should be convnet, an import path, or missing (a UNet)",
    ),
]
"""Configuration of a network of any architecture."""


def build_network(config: UNetConfig | ConvNetConfig | CustomConfig, time_input: str) -> nn.Module:
    """Builds a network with new weights.

    Args:
        config: configuration of the network.
        time_input: `STEP` or `LOG_NOISE`, the time scale of a ConvNet.

    Raises:
        ConfigError: a custom network that is not registered or cannot be built.
    """
    if isinstance(config, CustomConfig):
        return build_custom(config)
    if isinstance(config, UNetConfig):
        return UNet(config)
    return ConvNet(config, LOG_NOISE_PERIODS if time_input == LOG_NOISE else STEP_PERIODS)
