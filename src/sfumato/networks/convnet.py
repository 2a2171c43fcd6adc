"""ConvNet: a UNet of wide convolutions for tensor cores, the fastest in training (docs/experiments.md, "The lab")."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.networks.conditioning import NetworkLabels, check_conditions, check_inputs, check_size
from sfumato.networks.convblocks import (
    HEAD_CHANNELS,
    LOG_NOISE_PERIODS,
    Conditioning,
    ConvBlock,
    ConvNetHead,
    ConvNetStem,
    FoldDown,
    FoldUp,
    Periods,
    SkipBlock,
)
from sfumato.networks.layers import Embedding, FeatureMap, OtherFeatureMap


@dataclass(frozen=True)
class ConvNetConfig:
    """Architecture of a ConvNet.

    Attributes:
        image_channels: number of channels of the images.
        width: channels of the first level; on a GPU a multiple of 64.
        multipliers: channels of each level as multiples of `width`. Each level halves the resolution.
        blocks: number of blocks of each level, in the encoder and again in the decoder; one more is in the middle.
        attention_levels: levels (0 is the first) with self-attention after each block.
        dropout: dropout probability in the blocks.
        classes: number of classes; 0 for none.
        columns: number of values of each column of conditions, 0 for a numeric column; only without classes.
        augmentation: number of features that describe the augmentation; 0 for none.
        patch: patch size of the first level in pixels.
        architecture: name of the architecture.

    Raises:
        ConfigError: no levels, a level without blocks, a width below 4, an attention level that does not exist or whose
            channels cannot be divided into heads, a negative augmentation, or both classes and columns.
    """

    image_channels: int
    width: int
    multipliers: tuple[int, ...]
    blocks: tuple[int, ...]
    attention_levels: tuple[int, ...]
    dropout: float = 0.0
    classes: int = 0
    columns: tuple[int, ...] = ()
    augmentation: int = 0
    patch: int = 1
    architecture: Literal["convnet"] = "convnet"

    def __post_init__(self) -> None:
        if self.width < 4 or min(self.patch, *self.multipliers, *self.blocks, len(self.multipliers)) < 1:
            raise ConfigError(
                f"width {self.width}, multipliers {self.multipliers}, {self.blocks} blocks and patch size {self.patch} "
                "are out of range",
                "Choose a width of at least 4, at least one level, and positive numbers.",
            )
        if len(self.blocks) != len(self.multipliers):
            raise ConfigError(
                f"there are {len(self.multipliers)} multipliers but {len(self.blocks)} numbers of blocks",
                "Give one of each for every level.",
            )
        if not set(self.attention_levels) <= set(range(len(self.multipliers))):
            raise ConfigError(
                f"attention at levels {self.attention_levels} requires more than {len(self.multipliers)} levels",
                f"Choose among 0 ... {len(self.multipliers) - 1}.",
            )
        for channels in (self.widths[level] for level in self.attention_levels):
            if channels % min(HEAD_CHANNELS, channels):
                raise ConfigError(
                    f"{channels} channels cannot be divided into attention heads of {HEAD_CHANNELS}",
                    f"Choose up to {HEAD_CHANNELS} channels, or a multiple of {HEAD_CHANNELS}, with attention.",
                )
        check_size(max(self.widths), sum(self.blocks))
        check_conditions(self.classes, self.columns, self.augmentation)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    @property
    def embedding(self) -> int:
        """Size of the embedding of time and labels."""
        return 4 * self.width


class ConvNetDownLevel(nn.Module):
    """An encoder level: downsampling (except in the first level) and blocks."""

    def __init__(self, config: ConvNetConfig, index: int) -> None:
        super().__init__()
        self.fold = FoldDown(*config.widths[index - 1 : index + 1]) if index else nn.Identity()
        self.blocks = nn.ModuleList(ConvBlock(*_sizes(config, index)) for _ in range(config.blocks[index]))

    def forward(self, x: OtherFeatureMap, embedding: Embedding) -> list[OtherFeatureMap]:
        """Outputs of all blocks in order, for the skip connections."""
        outputs = [self.fold(x)]
        for block in self.blocks:
            outputs.append(block(outputs[-1], embedding))
        return outputs[1:]


class ConvNetUpLevel(nn.Module):
    """A decoder level: blocks and upsampling (except in the first level)."""

    def __init__(self, config: ConvNetConfig, index: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SkipBlock(*_sizes(config, index)) for _ in range(config.blocks[index]))
        self.unfold = FoldUp(*config.widths[index - 1 : index + 1][::-1]) if index else None

    def forward(self, x: OtherFeatureMap, skips: list[OtherFeatureMap], embedding: Embedding) -> OtherFeatureMap:
        """Each block removes the last of `skips`; the result has the size of the next one."""
        for block in self.blocks:
            x = block(x, skips.pop(), embedding)
        return x if self.unfold is None else self.unfold(x, *skips[-1].shape[1:3])


class ConvNet(nn.Module):
    """A UNet of wide convolutions, for images of any size.

    Args:
        config: architecture.
        periods: periods of the time embedding, for the time scale of the network.
    """

    def __init__(self, config: ConvNetConfig, periods: Periods = LOG_NOISE_PERIODS) -> None:
        super().__init__()
        self.config = config
        levels, width = range(len(config.widths)), config.widths[0]
        self.embedding = Conditioning(periods, config.embedding, config.classes, config.columns, config.augmentation)
        self.stem = ConvNetStem(config.image_channels, width, config.patch)
        self.down_levels = nn.ModuleList(ConvNetDownLevel(config, index) for index in levels)
        self.middle = ConvBlock(*_sizes(config, levels[-1]))
        self.up_levels = nn.ModuleList(ConvNetUpLevel(config, index) for index in reversed(levels))
        self.head = ConvNetHead(width, config.image_channels, config.patch)

    def forward(
        self,
        x: FeatureMap,
        times: Float[Tensor, " n"],
        labels: NetworkLabels | None = None,
        augmentation: Float[Tensor, "n a"] | None = None,
    ) -> FeatureMap:
        """Computes the output of the network.

        Args:
            x: (n, C, h, w) noisy images.
            times: (n,) times on the time scale of the network.
            labels: (n,) class indices (-1: none), (n, k) rows of conditions (NaN: unknown), or None.
            augmentation: (n, a) description of the augmentation (0: none), or None.

        Returns:
            (n, C, h, w) output.

        Raises:
            LabelError: labels of the wrong shape.
            ConfigError: the network has no input for the augmentation.
        """
        config = self.config
        check_inputs(labels, augmentation, config.classes, len(config.columns), config.augmentation)
        embedding = self.embedding(times, labels, augmentation)
        features, skips = self.stem(x), []
        for level in self.down_levels:
            skips += level(features, embedding)
            features = skips[-1]
        features = self.middle(features, embedding)
        for level in self.up_levels:
            features = level(features, skips, embedding)
        output: Tensor = self.head(features, *x.shape[2:])
        return output


def _sizes(config: ConvNetConfig, level: int) -> tuple[int, int, float, bool]:
    """Arguments of the blocks of a level."""
    return config.widths[level], config.embedding, config.dropout, level in config.attention_levels
