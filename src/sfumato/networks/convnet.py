"""A UNet of wide convolutions, for tensor cores: the network that learned fastest (docs/experiments.md, "The lab")."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.networks.conditioning import Labels, check_conditions, check_labels
from sfumato.networks.convblocks import (
    HEAD,
    LOG_NOISE_PERIODS,
    Conditioning,
    ConvBlock,
    FoldDown,
    FoldUp,
    Head,
    Periods,
    SkipBlock,
    Stem,
)
from sfumato.networks.layers import Embedding, Features, OtherFeatures


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
        check_conditions(self.classes, self.columns, self.augmentation)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    @property
    def embedding(self) -> int:
        """Features of the embedding of time and labels."""
        return 4 * self.width


class DownLevel(nn.Module):
    """The fold that leads to a level (none to the first), and its blocks on the way down."""

    def __init__(self, config: ConvNetConfig, index: int) -> None:
        super().__init__()
        self.fold = FoldDown(*config.widths[index - 1 : index + 1]) if index else nn.Identity()
        self.blocks = nn.ModuleList(ConvBlock(*_sizes(config, index)) for _ in range(config.blocks[index]))

    def forward(self, x: OtherFeatures, embedding: Embedding) -> list[OtherFeatures]:
        """The output of every block, in order: the skips of the way up."""
        outputs = [self.fold(x)]
        for block in self.blocks:
            outputs.append(block(outputs[-1], embedding))
        return outputs[1:]


class UpLevel(nn.Module):
    """The blocks of a level on the way up, and the unfolding that leads from it (none from the first)."""

    def __init__(self, config: ConvNetConfig, index: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SkipBlock(*_sizes(config, index)) for _ in range(config.blocks[index]))
        self.unfold = FoldUp(*config.widths[index - 1 : index + 1][::-1]) if index else None

    def forward(self, x: OtherFeatures, skips: list[OtherFeatures], embedding: Embedding) -> OtherFeatures:
        """Each block takes the latest of the skips, and removes it; the result has the size of the next one."""
        for block in self.blocks:
            x = block(x, skips.pop(), embedding)
        return x if self.unfold is None else self.unfold(x, *skips[-1].shape[1:3])


class ConvNet(nn.Module):
    """Predicts an image-shaped output from a noisy image, its time and its labels. Takes images of any size.

    Args:
        config: what it is made of.
        periods: of the waves in which it is told times; they should suit the range of those times.
    """

    def __init__(self, config: ConvNetConfig, periods: Periods = LOG_NOISE_PERIODS) -> None:
        super().__init__()
        self.config = config
        levels, width = range(len(config.widths)), config.widths[0]
        self.embedding = Conditioning(periods, config.embedding, config.classes, config.columns, config.augmentation)
        self.stem = Stem(config.image_channels, width, config.patch)
        self.down_levels = nn.ModuleList(DownLevel(config, index) for index in levels)
        self.middle = ConvBlock(*_sizes(config, levels[-1]))
        self.up_levels = nn.ModuleList(UpLevel(config, index) for index in reversed(levels))
        self.head = Head(width, config.image_channels, config.patch)

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
        self._check_foreign(labels, augmentation)
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

    def _check_foreign(self, labels: Labels | None, augmentation: Float[Tensor, "n a"] | None) -> None:
        """Raises an error if the network was not made to be told these."""
        if labels is not None:
            check_labels(labels, self.config.classes, len(self.config.columns))
        if augmentation is not None and not self.config.augmentation:
            raise ConfigError(
                "a network that is never told of augmentation was told of it",
                "Call it without, or make it with ConvNetConfig(augmentation=...).",
            )


def _sizes(config: ConvNetConfig, level: int) -> tuple[int, int, float, bool]:
    """What a block of a level is made of."""
    return config.widths[level], config.embedding, config.dropout, level in config.attention_levels
