"""The UNet of DDPM (arXiv 2006.11239, appendix B), with the same blocks as `UNet2DModel` of diffusers."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.networks.conditioning import NetworkLabels, RowEmbedding, check_conditions, check_inputs, check_size
from sfumato.networks.layers import (
    Downsample,
    Embedding,
    FeatureMap,
    Images,
    LastNorm,
    OtherFeatureMap,
    ResidualBlock,
    SelfAttention,
    TimeEmbedding,
    UNetHead,
    UNetStem,
    Upsample,
    zero_init,
)


@dataclass(frozen=True)
class UNetConfig:
    """Architecture of a UNet.

    Attributes:
        image_channels: number of channels of the images.
        width: channels of the first level.
        multipliers: channels of each level as multiples of `width`. Each level halves the resolution.
        blocks: number of residual blocks per level.
        attention_levels: levels (0 is full resolution) with self-attention after each block.
        dropout: dropout probability in the residual blocks.
        classes: number of classes; 0 for none.
        columns: number of values of each column of conditions, 0 for a numeric column; only without classes.
        augmentation: number of features that describe the augmentation; 0 for none.

    Raises:
        ConfigError: no levels, an odd width, an attention level that does not exist, a negative augmentation, or both
            classes and columns.
    """

    image_channels: int
    width: int
    multipliers: tuple[int, ...]
    blocks: int
    attention_levels: tuple[int, ...]
    dropout: float
    classes: int
    columns: tuple[int, ...] = ()
    augmentation: int = 0

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 2 or self.blocks < 1 or min(self.multipliers, default=0) < 1:
            raise ConfigError(
                f"width {self.width}, multipliers {self.multipliers} and {self.blocks} blocks are out of range",
                "Choose an even width of at least 4, at least one level and one block, and positive multipliers.",
            )
        if not set(self.attention_levels) <= set(range(len(self.multipliers))):
            raise ConfigError(
                f"attention at levels {self.attention_levels} requires more than {len(self.multipliers)} levels",
                f"Choose among 0 ... {len(self.multipliers) - 1}.",
            )
        check_size(self.width * max(self.multipliers), self.blocks * len(self.multipliers))
        check_conditions(self.classes, self.columns, self.augmentation)

    @property
    def embedding(self) -> int:
        """Size of the embedding of time and labels."""
        return 4 * self.width


class UNetLevel(nn.Module):
    """Residual blocks of one resolution, with optional self-attention after each."""

    def __init__(self, config: UNetConfig, index: int, channels_in: list[int]) -> None:
        super().__init__()
        channels = config.width * config.multipliers[index]
        attends = index in config.attention_levels
        self.blocks = nn.ModuleList(ResidualBlock(c, channels, config.embedding, config.dropout) for c in channels_in)
        self.attentions = nn.ModuleList(SelfAttention(channels) if attends else nn.Identity() for _ in channels_in)


class UNetDownLevel(UNetLevel):
    """An encoder level: blocks and downsampling (except in the last level)."""

    def __init__(self, config: UNetConfig, index: int, channels_in: list[int]) -> None:
        super().__init__(config, index, channels_in)
        is_last = index == len(config.multipliers) - 1
        self.downsample = None if is_last else Downsample(config.width * config.multipliers[index])

    def forward(self, x: FeatureMap, embedding: Embedding) -> list[OtherFeatureMap]:
        """Outputs of all blocks and of the downsampling in order, for the skip connections."""
        outputs = []
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(embedding, x))
            outputs.append(x)
        if self.downsample is not None:
            outputs.append(self.downsample(x))
        return outputs


class UNetUpLevel(UNetLevel):
    """A decoder level: blocks and upsampling (except in the first level)."""

    def __init__(self, config: UNetConfig, index: int, channels_in: list[int]) -> None:
        super().__init__(config, index, channels_in)
        self.upsample = None if index == 0 else Upsample(config.width * config.multipliers[index])

    def forward(self, x: FeatureMap, skips: list[OtherFeatureMap], embedding: Embedding) -> OtherFeatureMap:
        """Each block removes the last of `skips`; the result has the size of the next one."""
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(embedding, x, skips.pop()))
        return x if self.upsample is None else self.upsample(x, *skips[-1].shape[1:3])


class UNet(nn.Module):
    """The UNet of DDPM, for images of any size.

    Args:
        config: architecture.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * m for m in config.multipliers]
        self.time_embedding = TimeEmbedding(config.width, config.embedding, config.augmentation)
        self.class_embedding = nn.Embedding(config.classes + 1, config.embedding) if config.classes else None
        self.row_embedding = RowEmbedding(config.columns, config.embedding) if config.columns else None
        self.stem = UNetStem(config.image_channels, config.width)

        skips = [config.width]
        self.down_levels = nn.ModuleList()
        for index, channels in enumerate(widths):
            self.down_levels.append(UNetDownLevel(config, index, [skips[-1], *[channels] * (config.blocks - 1)]))
            skips += [channels] * (config.blocks + (index < len(widths) - 1))

        self.middle_in = ResidualBlock(widths[-1], widths[-1], config.embedding, config.dropout)
        self.middle_attention = SelfAttention(widths[-1])
        self.middle_out = ResidualBlock(widths[-1], widths[-1], config.embedding, config.dropout)

        self.up_levels = nn.ModuleList()
        below = widths[-1]
        for index, channels in reversed(list(enumerate(widths))):
            from_below = [below, *[channels] * config.blocks]
            self.up_levels.append(UNetUpLevel(config, index, [c + skips.pop() for c in from_below]))
            below = channels

        self.norm = LastNorm(widths[0])
        self.head = zero_init(UNetHead(widths[0], config.image_channels))

    def forward(
        self,
        x: Images,
        times: Float[Tensor, " n"],
        labels: NetworkLabels | None = None,
        augmentation: Float[Tensor, "n a"] | None = None,
    ) -> Images:
        """Computes the output of the network.

        Args:
            x: (n, C, h, w) noisy images.
            times: (n,) times on DDPM's scale, 0 to 1000.
            labels: (n,) class indices (-1: none), (n, k) rows of conditions (NaN: unknown), or None.
            augmentation: (n, a) description of the augmentation (0: none), or None.

        Returns:
            (n, C, h, w) output.

        Raises:
            LabelError: labels of the wrong shape.
            ConfigError: the network has no input for the augmentation.
        """
        embedding = self._embed(times, labels, augmentation)
        skips = [self.stem(x)]
        for level in self.down_levels:
            skips += level(skips[-1], embedding)
        x = self.middle_out(embedding, self.middle_attention(self.middle_in(embedding, skips[-1])))
        for level in self.up_levels:
            x = level(x, skips, embedding)
        output: Tensor = self.head(self.norm(x))
        return output

    def _embed(
        self, times: Float[Tensor, " n"], labels: NetworkLabels | None, augmentation: Float[Tensor, "n a"] | None
    ) -> Embedding:
        """Embedding of time, augmentation and labels; row 0 of the class table is for images without class."""
        config = self.config
        check_inputs(labels, augmentation, config.classes, len(config.columns), config.augmentation)
        embedding: Tensor = self.time_embedding(times, augmentation)
        if self.class_embedding is not None:
            rows = torch.zeros(times.shape[0], dtype=torch.int64, device=times.device) if labels is None else labels + 1
            embedding = embedding + self.class_embedding(rows)
        if self.row_embedding is not None:
            unknown = times.new_full((times.shape[0], len(config.columns)), math.nan)
            embedding = embedding + self.row_embedding(unknown if labels is None else labels)
        return F.silu(embedding)
