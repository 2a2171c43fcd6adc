"""A UNet of wide convolutions, for tensor cores: the network that learned fastest (docs/experiments.md, "The lab")."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.nn.conditioning import Labels, refuse_foreign_labels, refuse_impossible_conditions
from sfumato.nn.convblocks import (
    HEAD,
    LOG_NOISE_PERIODS,
    Conditioning,
    ConvBlock,
    Fold,
    Head,
    MergingBlock,
    Periods,
    Stem,
    Unfold,
)
from sfumato.nn.layers import Features


@dataclass(frozen=True)
class ConvNetConfig:
    """What a ConvNet is made of.

    Attributes:
        image_channels: channels of the images, in and out.
        width: channels of the first level; on a GPU a multiple of 64.
        multipliers: each level's channels in units of `width`; every further level has half the resolution.
        blocks: of each level, on the way down and again on the way up; one more is between both.
        attention_levels: the levels (0 = first) with self-attention after each block.
        dropout: probability, inside the blocks.
        classes: number of classes; 0 for a network without.
        columns: of each column of conditions how many values it has, 0 for a number; for a network without classes.
        augmentation: numbers in which it is told what was done to an image; 0 for a network that is never told.
        patch: pixels of the image a side of a pixel of the first level.
        architecture: what tells this description from others.

    Raises:
        ConfigError: no levels, a level without blocks, a width below 4, an attention level that does not exist or whose
            channels are no whole heads, a negative augmentation, or both classes and columns.
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
                f"width {self.width}, multipliers {self.multipliers}, {self.blocks} blocks and patches of {self.patch} "
                "do not make a network",
                "Choose a width of at least 4, and at least one level; all positive.",
            )
        if len(self.blocks) != len(self.multipliers):
            raise ConfigError(
                f"{len(self.multipliers)} multipliers and {len(self.blocks)} numbers of blocks do not go together",
                "Choose one of each for every level.",
            )
        if not set(self.attention_levels) <= set(range(len(self.multipliers))):
            raise ConfigError(
                f"attention at levels {self.attention_levels} of a network with {len(self.multipliers)}",
                f"Choose among 0 ... {len(self.multipliers) - 1}.",
            )
        for channels in (self.widths[level] for level in self.attention_levels):
            if channels % min(HEAD, channels):
                raise ConfigError(
                    f"{channels} channels are no whole heads of attention",
                    f"Choose up to {HEAD} channels, or a multiple of {HEAD}, for the levels with attention.",
                )
        refuse_impossible_conditions(self.classes, self.columns, self.augmentation)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    @property
    def embedding(self) -> int:
        """Features of the embedding of time and labels."""
        return 4 * self.width


class ConvNet(nn.Module):
    """Predicts an image-shaped output from a noisy image, its time and its labels. Takes images of any size.

    Args:
        config: what it is made of.
        periods: of the waves in which it is told times; they should suit the range of those times.
    """

    def __init__(self, config: ConvNetConfig, periods: Periods = LOG_NOISE_PERIODS) -> None:
        super().__init__()
        self.config = config
        widths, levels = config.widths, range(len(config.widths))
        self.embedding = Conditioning(periods, config.embedding, config.classes, config.columns, config.augmentation)
        self.stem = Stem(config.image_channels, widths[0], config.patch)
        self.down_levels = nn.ModuleList(_level(ConvBlock, config, level) for level in levels)
        self.folds = nn.ModuleList(Fold(here, below) for here, below in pairwise(widths))
        self.middle = ConvBlock(*_sizes(config, levels[-1]))
        self.up_levels = nn.ModuleList(_level(MergingBlock, config, level) for level in levels)
        self.unfolds = nn.ModuleList(Unfold(below, here) for here, below in pairwise(widths))
        self.head = Head(widths[0], config.image_channels, config.patch)

    def forward(
        self,
        x: Features,
        times: Float[Tensor, " n"],
        labels: Labels | None = None,
        augmentation: Float[Tensor, "n a"] | None = None,
    ) -> Features:
        """From noisy images (n, C, h, w), times (n,), and what is known of the images, to (n, C, h, w).

        Labels are classes (n,), -1 for none, or rows (n, k), NaN for what is not known; the augmentation is (n, a), 0
        for none.

        Raises:
            LabelError: the labels are not of the kind that the network was made for.
            ConfigError: it was told of augmentation and not made for that.
        """
        self._refuse_foreign(labels, augmentation)
        embedding = self.embedding(times, labels, augmentation)
        features, skips = self.stem(x), []
        for index, level in enumerate(self.down_levels):
            features = self.folds[index - 1](features) if index else features
            for block in level:
                features = block(features, embedding)
                skips.append(features)
        features = self.middle(features, embedding)
        for index, level in reversed(list(enumerate(self.up_levels))):
            for block in level:
                features = block(features, skips.pop(), embedding)
            features = self.unfolds[index - 1](features, *skips[-1].shape[1:3]) if index else features
        output: Tensor = self.head(features, *x.shape[2:])
        return output

    def _refuse_foreign(self, labels: Labels | None, augmentation: Float[Tensor, "n a"] | None) -> None:
        """Raises an error if the network was not made to be told these."""
        if labels is not None:
            refuse_foreign_labels(labels, self.config.classes, len(self.config.columns))
        if augmentation is not None and not self.config.augmentation:
            raise ConfigError(
                "a network that is never told of augmentation was told of it",
                "Call it without, or make it with ConvNetConfig(augmentation=...).",
            )


def _sizes(config: ConvNetConfig, level: int) -> tuple[int, int, float, bool]:
    """What a block of a level is made of."""
    return config.widths[level], config.embedding, config.dropout, level in config.attention_levels


def _level(kind: type[ConvBlock] | type[MergingBlock], config: ConvNetConfig, level: int) -> nn.ModuleList:
    """The blocks of a level, one way."""
    return nn.ModuleList(kind(*_sizes(config, level)) for _ in range(config.blocks[level]))
