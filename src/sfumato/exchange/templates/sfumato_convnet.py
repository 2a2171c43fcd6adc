"""ConvNet: a UNet of wide convolutions. Exported by sfumato; needs PyTorch and diffusers."""

import math
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

WAVES = 128
"""Number of sines and cosines of the time embedding."""


class SfumatoConvNet(ModelMixin, ConfigMixin):
    """UNet of residual blocks with RMSNorm and modulation by the embedding of time and labels.

    Args:
        image_channels: channels of the images.
        width: channels of the first level.
        multipliers: channels of each level as multiples of `width`. Each level halves the resolution.
        blocks: number of blocks of each level, in the encoder and again in the decoder.
        attention_levels: levels (0 is the first) with self-attention after each block.
        periods: shortest and longest period of the sines and cosines of the time embedding.
        dropout: dropout probability.
        classes: number of classes; 0 for none.
        columns: number of values of each column of conditions, 0 for a numeric column.
        patch: patch size of the first level in pixels.
    """

    code: ClassVar[str] = Path(__file__).read_text(encoding="utf-8")

    @register_to_config
    def __init__(
        self,
        image_channels: int,
        width: int,
        multipliers: tuple[int, ...],
        blocks: tuple[int, ...],
        attention_levels: tuple[int, ...],
        periods: tuple[float, float],
        dropout: float = 0.0,
        classes: int = 0,
        columns: tuple[int, ...] = (),
        patch: int = 1,
    ) -> None:
        super().__init__()
        widths, embedding = [width * multiplier for multiplier in multipliers], 4 * width
        self.embedding = Conditioning(periods, embedding, classes, columns)
        self.stem = Stem(image_channels, width, patch)
        self.down_levels = nn.ModuleList()
        for level, channels in enumerate(widths):
            fold = None if level == 0 else FoldDown(widths[level - 1], channels)
            attends = level in attention_levels
            self.down_levels.append(DownLevel(fold, blocks[level], channels, embedding, dropout, attends))
        self.middle = Block(widths[-1], embedding, dropout, len(widths) - 1 in attention_levels)
        self.up_levels = nn.ModuleList()
        for level, channels in reversed(list(enumerate(widths))):
            unfold = None if level == 0 else FoldUp(channels, widths[level - 1])
            attends = level in attention_levels
            self.up_levels.append(UpLevel(unfold, blocks[level], channels, embedding, dropout, attends))
        self.head = Head(width, image_channels, patch)

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """Output of the network.

        Args:
            x: (n, C, h, w) noisy images.
            times: (n,) times on the scale of the network.
            labels: (n,) class indices (-1: none), (n, k) rows of conditions (NaN: unknown), or None.
        """
        embedding = self.embedding(times, labels)
        features = self.stem(x)
        skips: list[Tensor] = []
        for level in self.down_levels:
            skips += level(features, embedding)
            features = skips[-1]
        features = self.middle(features, embedding)
        for level in self.up_levels:
            features = level(features, skips, embedding)
        return self.head(features, x.shape[2:])


class DownLevel(nn.Module):
    """Downsampling (except in the first level) and blocks."""

    def __init__(
        self, fold: nn.Module | None, blocks: int, channels: int, embedding: int, dropout: float, attends: bool
    ) -> None:
        super().__init__()
        self.fold = fold
        self.blocks = nn.ModuleList(Block(channels, embedding, dropout, attends) for _ in range(blocks))

    def forward(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        """Outputs of all blocks in order, for the skip connections."""
        outputs = [x if self.fold is None else self.fold(x)]
        for block in self.blocks:
            outputs.append(block(outputs[-1], embedding))
        return outputs[1:]


class UpLevel(nn.Module):
    """Blocks and upsampling (except in the first level)."""

    def __init__(
        self, unfold: nn.Module | None, blocks: int, channels: int, embedding: int, dropout: float, attends: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SkipBlock(channels, embedding, dropout, attends) for _ in range(blocks))
        self.unfold = unfold

    def forward(self, x: Tensor, skips: list[Tensor], embedding: Tensor) -> Tensor:
        """Each block removes the last of `skips`; the result has the size of the next one."""
        for block in self.blocks:
            x = block(x, skips.pop(), embedding)
        return x if self.unfold is None else self.unfold(x, skips[-1].shape[2:])


class Conditioning(nn.Module):
    """Embedding of times and labels. Row 0 of the class table is for images without class."""

    def __init__(self, periods: tuple[float, float], features: int, classes: int, columns: tuple[int, ...]) -> None:
        super().__init__()
        self.periods, self.columns = periods, len(columns)
        self.expand = nn.Linear(WAVES, features)
        self.mix = nn.Linear(features, features)
        self.class_embedding = nn.Embedding(classes + 1, features) if classes else None
        self.row_embedding = RowEmbedding(columns, features) if columns else None

    def forward(self, times: Tensor, labels: Tensor | None) -> Tensor:
        """(n,) times and labels to (n, features)."""
        shortest, longest = self.periods
        exponents = torch.arange(WAVES // 2, device=times.device, dtype=torch.float32) / (WAVES // 2 - 1)
        angles = (times.float() * (2 * math.pi / shortest))[:, None] * torch.exp(
            -math.log(longest / shortest) * exponents
        )
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).to(self.expand.weight.dtype)
        embedding: Tensor = self.mix(F.silu(self.expand(waves)))
        if self.class_embedding is not None:
            classes = torch.full_like(times, -1, dtype=torch.int64) if labels is None else labels
            embedding = embedding + self.class_embedding(classes + 1)
        if self.row_embedding is not None:
            unknown = times.new_full((len(times), self.columns), math.nan)
            embedding = embedding + self.row_embedding(unknown if labels is None else labels)
        return F.silu(embedding)


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


class Block(nn.Module):
    """Residual block: norm, 3x3, norm, modulation by the embedding, dropout, 3x3; then optional self-attention."""

    def __init__(self, channels: int, embedding: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.conv_in = conv(channels, channels)
        self.condition = nn.Linear(embedding, 2 * channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = conv(channels, channels)
        self.attention = Attention(channels) if attends else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, h, w)."""
        scale, shift = self.condition(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv_in(F.silu(rms_norm(x, 1)))
        h = F.silu(rms_norm(h, 1) * (1 + scale) + shift)
        x = x + self.conv_out(self.dropout(h))
        return x if self.attention is None else x + self.attention(rms_norm(x, 1))


class SkipBlock(nn.Module):
    """A block that first adds linear maps of its input and of a skip connection."""

    def __init__(self, channels: int, embedding: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.merge_below = nn.Linear(channels, channels, bias=False)
        self.merge_skip = nn.Linear(channels, channels, bias=False)
        self.block = Block(channels, embedding, dropout, attends)

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, h, w)."""
        merged = self.merge_below(x.movedim(1, 3)) + self.merge_skip(skip.movedim(1, 3))
        return self.block(merged.movedim(3, 1), embedding)


class Attention(nn.Module):
    """Multi-head self-attention with normalized queries and keys, heads of at most 64 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head = min(64, channels)
        self.query_key_value = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, h, w), without the residual connection."""
        pixels = x.flatten(2).transpose(1, 2)
        heads = self.query_key_value(pixels).unflatten(2, (3, -1, self.head)).transpose(1, 3)
        query, key, value = heads.unbind(2)
        attended = F.scaled_dot_product_attention(rms_norm(query, -1), rms_norm(key, -1), value)
        output = self.project(attended.transpose(1, 2).reshape(pixels.shape))
        return output.transpose(1, 2).reshape(x.shape)


class FoldDown(nn.Module):
    """Halves height and width, rounding up, by a linear map of each square of 2x2 pixels to one pixel."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.map = nn.Linear(4 * channels_in, channels_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c_out, ceil(h / 2), ceil(w / 2)); odd sizes are padded with zeros."""
        even = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)).movedim(1, 3)
        squares = even.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3)
        return self.map(squares.flatten(3)).movedim(3, 1)


class FoldUp(nn.Module):
    """Doubles height and width by a linear map of each pixel to a square of 2x2 pixels."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.map = nn.Linear(channels_in, 4 * channels_out, bias=False)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """(n, c, h, w) to (n, c_out, height, width)."""
        squares = self.map(x.movedim(1, 3)).unflatten(3, (2, 2, -1)).transpose(2, 3)
        larger: Tensor = squares.flatten(3, 4).flatten(1, 2)[:, : size[0], : size[1]]
        return larger.movedim(3, 1)


class Stem(nn.Module):
    """Input layer: a 3x3 convolution of patches, padded to a multiple of 8 channels."""

    def __init__(self, image_channels: int, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.padding = -image_channels * patch**2 % 8
        self.conv = conv(image_channels * patch**2 + self.padding, channels)

    def forward(self, images: Tensor) -> Tensor:
        """(n, C, h, w) to (n, c, ceil(h / patch), ceil(w / patch)), with zeros beyond the edge."""
        height, width = images.shape[2:]
        whole = F.pad(images, (0, -width % self.patch, 0, -height % self.patch))
        patches = F.pixel_unshuffle(whole, self.patch)
        return self.conv(F.pad(patches, (0, 0, 0, 0, 0, self.padding)))


class Head(nn.Module):
    """Output layer: norm, SiLU, 3x3 convolution, patches to pixels."""

    def __init__(self, channels: int, image_channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.used = image_channels * patch**2
        self.conv = conv(channels, self.used + -self.used % 8)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """(n, c, ceil(height / patch), ceil(width / patch)) to (n, C, height, width)."""
        patches = self.conv(F.silu(rms_norm(x, 1)))[:, : self.used]
        return F.pixel_shuffle(patches, self.patch)[:, :, : size[0], : size[1]]


def conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 3x3 convolution without bias."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)


def rms_norm(x: Tensor, dimension: int) -> Tensor:
    """RMSNorm without gain over one dimension, in float32."""
    precise = x.float()
    return (precise * torch.rsqrt(precise.square().mean(dimension, keepdim=True) + 1e-6)).to(x.dtype)
