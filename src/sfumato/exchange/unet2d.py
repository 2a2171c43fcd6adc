"""Configuration of our UNet as a `UNet2DModel` of diffusers, in both directions, where both are the same network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfumato.errors import ConfigError, RunError
from sfumato.models import MAX_SIDE
from sfumato.networks.conditioning import check_size
from sfumato.networks.unet import UNet, UNetConfig


@dataclass(frozen=True)
class UNet2DSettings:
    """Settings of a `UNet2DModel`, with the defaults of diffusers."""

    sample_size: int | tuple[int, int] | None = None
    in_channels: int = 3
    out_channels: int = 3
    center_input_sample: bool = False
    time_embedding_type: str = "positional"
    time_embedding_dim: int | None = None
    freq_shift: int = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[str, ...] = ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D")
    mid_block_type: str | None = "UNetMidBlock2D"
    up_block_types: tuple[str, ...] = ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D")
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = 2
    mid_block_scale_factor: float = 1
    downsample_padding: int = 1
    downsample_type: str = "conv"
    upsample_type: str = "conv"
    dropout: float = 0.0
    act_fn: str = "silu"
    attention_head_dim: int | None = 8
    norm_num_groups: int | None = 32
    attn_norm_num_groups: int | None = None
    norm_eps: float = 1e-5
    resnet_time_scale_shift: str = "default"
    add_attention: bool = True
    class_embed_type: str | None = None
    num_class_embeds: int | None = None

    def __post_init__(self) -> None:
        check_size(max(self.block_out_channels, default=0), self.layers_per_block * len(self.block_out_channels))
        if not 1 <= min(self.image_shape) <= max(self.image_shape) <= MAX_SIDE:
            raise ConfigError(
                f"the sample_size is {self.sample_size} and in_channels is {self.in_channels}",
                f"Give a height, a width and a number of channels up to {MAX_SIDE}.",
            )
        if min((self.layers_per_block, *self.block_out_channels)) < 1 or not self.block_out_channels:
            raise ConfigError(
                f"block_out_channels {self.block_out_channels} and {self.layers_per_block} layers per block are out of "
                "range",
                "Give positive numbers.",
            )
        if not 0 <= self.dropout <= 1:
            raise ConfigError(f"the dropout is {self.dropout}", "Give a probability.")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images; H and W are 0 if they are not known."""
        size = self.sample_size or 0
        height, width = (size, size) if isinstance(size, int) else size
        return self.in_channels, height, width


def check_settings(settings: UNet2DSettings, file: Path) -> None:
    """Raises `RunError` if the network has other inputs or outputs than a noisy image, a timestep and a class."""
    if settings.out_channels not in (settings.in_channels, 2 * settings.in_channels):
        raise RunError(
            f"{file} describes a network from {settings.in_channels} to {settings.out_channels} channels, as for "
            "super-resolution or inpainting",
            "Choose a model that generates images from noise alone: as many outputs as inputs, or twice as many with "
            "learned variances.",
        )
    if settings.class_embed_type is not None:
        raise RunError(
            f"{file} has the conditioning {settings.class_embed_type!r}, which sfumato does not support",
            "Choose a model without conditioning, or with classes.",
        )
    if settings.time_embedding_type != "positional":
        raise RunError(
            f"{file} has the time embedding {settings.time_embedding_type!r}, which sfumato does not support",
            "Choose a model with positional time embeddings, such as hf:google/ddpm-cifar10-32.",
        )


SAME: dict[str, Any] = {
    "act_fn": "silu",
    "add_attention": True,
    "center_input_sample": False,
    "class_embed_type": None,
    "downsample_padding": 0,
    "downsample_type": "conv",
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2D",
    "norm_eps": 1e-6,
    "num_class_embeds": None,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
    "upsample_type": "conv",
}
"""Settings of a `UNet2DModel` that is our UNet."""

PLAIN, ATTENTION = {"DownBlock2D", "UpBlock2D"}, {"AttnDownBlock2D", "AttnUpBlock2D"}


def unet2d_config(network: UNetConfig, size: tuple[int, ...]) -> dict[str, Any] | None:
    """Configuration of the `UNet2DModel` that is the same network as ours for images of a size, or None.

    A `UNet2DModel` has the same number of groups in all its norms, while ours has at least four channels in each group.
    It needs sizes that all levels can halve.
    """
    levels, groups = len(network.multipliers), _groups(network)
    if groups is None or network.classes or network.columns or any(side % 2 ** (levels - 1) for side in size):
        return None
    attends = [level in network.attention_levels for level in range(levels)]
    return SAME | {
        "_class_name": "UNet2DModel",
        "sample_size": size[0] if size[0] == size[1] else list(size),
        "in_channels": network.image_channels,
        "out_channels": network.image_channels,
        "block_out_channels": [network.width * multiplier for multiplier in network.multipliers],
        "layers_per_block": network.blocks,
        "down_block_types": ["AttnDownBlock2D" if attention else "DownBlock2D" for attention in attends],
        "up_block_types": ["AttnUpBlock2D" if attention else "UpBlock2D" for attention in reversed(attends)],
        "attention_head_dim": None,
        "norm_num_groups": groups,
        "dropout": network.dropout,
    }


def our_config(settings: UNet2DSettings) -> UNetConfig | None:
    """The configuration of our UNet that is the same network as a `UNet2DModel`, or None."""
    widths = settings.block_out_channels
    attends = [kind in ATTENTION for kind in settings.down_block_types]
    is_other = (
        any(getattr(settings, name) != value for name, value in SAME.items())
        or not {*settings.down_block_types, *settings.up_block_types} <= PLAIN | ATTENTION
        or attends != [kind in ATTENTION for kind in reversed(settings.up_block_types)]
        or len(attends) != len(widths)
        or settings.in_channels != settings.out_channels
        or any(width % widths[0] for width in widths)
        or settings.time_embedding_dim not in (None, 4 * widths[0])
        or settings.attn_norm_num_groups not in (None, settings.norm_num_groups)
    )
    if is_other:
        return None
    multipliers = tuple(width // widths[0] for width in widths)
    levels = tuple(level for level, attention in enumerate(attends) if attention)
    try:
        network = UNetConfig(
            settings.in_channels, widths[0], multipliers, settings.layers_per_block, levels, settings.dropout, 0
        )
    except ConfigError:
        return None
    head, attention_widths = settings.attention_head_dim, {widths[-1], *(widths[level] for level in levels)}
    has_one_head = head is None or attention_widths == {head}
    return network if has_one_head and _groups(network) == settings.norm_num_groups else None


def _groups(network: UNetConfig) -> int | None:
    """Number of groups of all norms, or None if they differ."""
    with torch.device("meta"):
        groups = {part.num_groups for part in UNet(network).modules() if isinstance(part, nn.GroupNorm)}
    return groups.pop() if len(groups) == 1 else None
