"""The UNet of DDPM (arXiv 2006.11239, appendix B). Exported by sfumato; needs PyTorch and diffusers."""

import math
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


class SfumatoUNet(ModelMixin, ConfigMixin):
    """UNet with self-attention at some levels.

    Args:
        image_channels: channels of the images.
        width: channels of the first level.
        multipliers: channels of each level as multiples of `width`. Each level halves the resolution.
        blocks: residual blocks per level.
        attention_levels: levels (0 is full resolution) with self-attention after each block.
        dropout: dropout probability.
        classes: number of classes; 0 for none.
        columns: number of values of each column of conditions, 0 for a numeric column.
    """

    code: ClassVar[str] = Path(__file__).read_text(encoding="utf-8")

    @register_to_config
    def __init__(
        self,
        image_channels: int,
        width: int,
        multipliers: tuple[int, ...],
        blocks: int,
        attention_levels: tuple[int, ...],
        dropout: float = 0.0,
        classes: int = 0,
        columns: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        widths, embedding = [width * multiplier for multiplier in multipliers], 4 * width
        self.time_embedding = TimeEmbedding(width, embedding)
        self.class_embedding = nn.Embedding(classes + 1, embedding) if classes else None
        self.row_embedding = RowEmbedding(columns, embedding) if columns else None
        self.stem = nn.Conv2d(image_channels, width, 3, padding=1)

        skips = [width]  # channels of the skip connections
        self.down_levels = nn.ModuleList()
        for index, channels in enumerate(widths):
            inputs = [skips[-1], *[channels] * (blocks - 1)]
            is_last = index == len(widths) - 1
            self.down_levels.append(DownLevel(inputs, channels, embedding, dropout, index in attention_levels, is_last))
            skips += [channels] * (blocks if is_last else blocks + 1)

        self.middle_in = ResidualBlock(widths[-1], widths[-1], embedding, dropout)
        self.middle_attention = SelfAttention(widths[-1])
        self.middle_out = ResidualBlock(widths[-1], widths[-1], embedding, dropout)

        self.up_levels = nn.ModuleList()
        below = widths[-1]
        for index, channels in reversed(list(enumerate(widths))):
            inputs = [features + skips.pop() for features in [below, *[channels] * blocks]]
            is_last = index == 0
            self.up_levels.append(UpLevel(inputs, channels, embedding, dropout, index in attention_levels, is_last))
            below = channels

        self.norm = group_norm(width)
        self.head = nn.Conv2d(width, image_channels, 3, padding=1)

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """Output of the network.

        Args:
            x: (n, C, h, w) noisy images.
            times: (n,) times on the scale of the network.
            labels: (n,) class indices (-1: none), (n, k) rows of conditions (NaN: unknown), or None.
        """
        embedding = F.silu(self.embed(times, labels))
        skips = [self.stem(x)]
        for level in self.down_levels:
            skips += level(skips[-1], embedding)
        x = self.middle_out(self.middle_attention(self.middle_in(skips[-1], embedding)), embedding)
        for level in self.up_levels:
            x = level(x, skips, embedding)
        return self.head(F.silu(self.norm(x)))

    def embed(self, times: Tensor, labels: Tensor | None) -> Tensor:
        """(n, e) embedding of times and labels. Row 0 of the class table is for images without class."""
        embedding: Tensor = self.time_embedding(times)
        if self.class_embedding is not None:
            classes = torch.full_like(times, -1, dtype=torch.int64) if labels is None else labels
            embedding = embedding + self.class_embedding(classes + 1)
        if self.row_embedding is not None:
            unknown = times.new_full((len(times), len(self.config.columns)), math.nan)
            embedding = embedding + self.row_embedding(unknown if labels is None else labels)
        return embedding


class Level(nn.Module):
    """Residual blocks of one resolution, each followed by self-attention or nothing."""

    def __init__(self, inputs: list[int], channels: int, embedding: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(c, channels, embedding, dropout) for c in inputs)
        self.attentions = nn.ModuleList(SelfAttention(channels) if attends else nn.Identity() for _ in inputs)


class DownLevel(Level):
    """Blocks and downsampling (except in the last level)."""

    def __init__(
        self, inputs: list[int], channels: int, embedding: int, dropout: float, attends: bool, is_last: bool
    ) -> None:
        super().__init__(inputs, channels, embedding, dropout, attends)
        self.downsample = None if is_last else Downsample(channels)

    def forward(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        """Outputs of all blocks and of the downsampling in order, for the skip connections."""
        outputs = []
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(x, embedding))
            outputs.append(x)
        return outputs if self.downsample is None else [*outputs, self.downsample(x)]


class UpLevel(Level):
    """Blocks and upsampling (except in the last level)."""

    def __init__(
        self, inputs: list[int], channels: int, embedding: int, dropout: float, attends: bool, is_last: bool
    ) -> None:
        super().__init__(inputs, channels, embedding, dropout, attends)
        self.upsample = None if is_last else Upsample(channels)

    def forward(self, x: Tensor, skips: list[Tensor], embedding: Tensor) -> Tensor:
        """Each block removes the last of `skips`; the result has the size of the next one."""
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(torch.cat([x, skips.pop()], dim=1), embedding))
        return x if self.upsample is None else self.upsample(x, skips[-1].shape[2:])


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, between which the embedding is added, and a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = group_norm(channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.condition = nn.Linear(embedding, channels_out)
        self.norm_out = group_norm(channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.shortcut = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(n, c, h, w) to (n, channels_out, h, w)."""
        h = self.conv_in(F.silu(self.norm_in(x))) + self.condition(embedding)[:, :, None, None]
        h = self.conv_out(self.dropout(F.silu(self.norm_out(h))))
        return self.shortcut(x) + h


class SelfAttention(nn.Module):
    """Single-head self-attention over the pixels, with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, h, w)."""
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        query, key, value = self.query_key_value(pixels)[:, None].chunk(3, dim=-1)
        attended = self.project(F.scaled_dot_product_attention(query, key, value)[:, 0])
        return x + attended.transpose(1, 2).reshape(x.shape)


class Downsample(nn.Module):
    """Halves height and width, rounding up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, ceil(h / 2), ceil(w / 2))."""
        height, width = x.shape[2:]
        return self.conv(F.pad(x, (width % 2, 1, height % 2, 1)))


class Upsample(nn.Module):
    """Doubles height and width by nearest neighbors, crops to odd sizes, and applies a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """(n, c, h, w) to (n, c, height, width)."""
        height, width = size
        return self.conv(F.interpolate(x, scale_factor=2.0)[:, :, :height, :width])


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time, and two linear layers."""

    def __init__(self, dimensions: int, features: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.expand = nn.Linear(dimensions, features)
        self.mix = nn.Linear(features, features)

    def forward(self, times: Tensor) -> Tensor:
        """(n,) to (n, features)."""
        half = self.dimensions // 2
        exponents = torch.arange(half, device=times.device, dtype=torch.float32) / (half - 1)
        angles = times.float()[:, None] * torch.exp(-math.log(10_000) * exponents)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).to(self.expand.weight.dtype)
        return self.mix(F.silu(self.expand(waves)))


class RowEmbedding(nn.Module):
    """Embedding of rows of conditions: the sum of the embeddings of the columns. NaN is an unknown value."""

    def __init__(self, columns: tuple[int, ...], features: int) -> None:
        super().__init__()
        self.columns = nn.ModuleList(
            nn.Embedding(values + 1, features) if values else nn.Linear(2, features, bias=False) for values in columns
        )

    def forward(self, rows: Tensor) -> Tensor:
        """(n, k) to (n, features)."""
        embedded = [self.embed(column, codes) for column, codes in zip(self.columns, rows.T, strict=True)]
        return torch.stack(embedded).sum(0)

    def embed(self, column: nn.Module, codes: Tensor) -> Tensor:
        """A category by its index (row 0: unknown), or a number as (value, 1) (unknown: zeros)."""
        if isinstance(column, nn.Embedding):
            return column(codes.nan_to_num(-1).long() + 1)
        return column(torch.stack([codes.nan_to_num(0), ~codes.isnan()], 1).to(next(column.parameters()).dtype))


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalization with at most 32 groups of at least four channels."""
    groups = next(n for n in (32, 16, 8, 4, 2, 1) if channels % n == 0 and (channels >= 4 * n or n == 1))
    return nn.GroupNorm(groups, channels, eps=1e-6)
