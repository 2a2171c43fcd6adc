"""Blocks of the ConvNet, for tensor cores: no gains, no concatenations, few passes over memory.

Inputs and outputs of a block are contiguous features (n, h, w, c). Each block is a region that is compiled separately.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.networks.conditioning import NetworkLabels, RowEmbedding
from sfumato.networks.layers import Embedding, FeatureMap, Images, sinusoidal, zero_init
from sfumato.networks.region import Region

HEAD_CHANNELS = 64
"""Channels of an attention head, or all channels if there are fewer."""

WAVES = 128
"""Number of sines and cosines of the time embedding."""

Periods = tuple[float, float]
"""Shortest and longest period of the sines and cosines of the time embedding."""

LOG_NOISE_PERIODS: Periods = (1 / 8, 4.0)
"""Periods for EDM's c_noise, log(sigma) / 4."""

STEP_PERIODS: Periods = (2 * math.pi, 2e4 * math.pi)
"""Periods for timesteps, as in DDPM."""


def linear(features_in: int, features_out: int) -> nn.Linear:
    """A linear layer without bias."""
    return nn.Linear(features_in, features_out, bias=False)


def rms_norm(x: Float[Tensor, "*_ c"]) -> Float[Tensor, "*_ c"]:
    """RMSNorm without gain over the last dimension, at least in float32. arXiv 1910.07467, eq. 4."""
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    return (precise * torch.rsqrt(precise.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class PlainConv(nn.Conv2d):
    """A 3x3 convolution without bias, from (n, h, w, c) to (n, h, w, c_out)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1, bias=False)

    def forward(self, x: FeatureMap) -> Float[Tensor, "n h w _"]:
        """Applies the convolution to a channels-last view."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Conditioning(Region):
    """Embedding of times, labels and augmentation, of size (n, features).

    Args:
        periods: shortest and longest period of the sines and cosines.
        features: size of the embedding.
        classes: number of classes; 0 for none.
        columns: number of values of each column of conditions; 0 for a numeric column.
        augmentation: number of features that describe the augmentation; a linear map of them is added to the sines and
            cosines (EDM).
    """

    def __init__(
        self, periods: Periods, features: int, classes: int, columns: tuple[int, ...], augmentation: int
    ) -> None:
        super().__init__()
        self.periods, self.columns = periods, len(columns)
        self.augmentation = linear(augmentation, WAVES) if augmentation else None
        self.expand = nn.Linear(WAVES, features)
        self.mix = nn.Linear(features, features)
        self.class_embedding = nn.Embedding(classes + 1, features) if classes else None
        self.row_embedding = RowEmbedding(columns, features) if columns else None

    def forward(
        self, times: Float[Tensor, " n"], labels: NetworkLabels | None, augmentation: Float[Tensor, "n a"] | None
    ) -> Embedding:
        """Times (n,), labels (n,), (n, k) or None, and augmentation (n, a) or None, to (n, features)."""
        shortest, longest = self.periods
        waves = sinusoidal(times * (2 * math.pi / shortest), WAVES, longest / shortest).to(self.expand.weight.dtype)
        if self.augmentation is not None and augmentation is not None:
            waves = waves + self.augmentation(augmentation.to(waves.dtype))
        embedding: Tensor = self.mix(F.silu(self.expand(waves)))
        if self.class_embedding is not None:
            rows = torch.zeros_like(times, dtype=torch.int64) if labels is None else labels + 1
            embedding = embedding + self.class_embedding(rows)
        if self.row_embedding is not None:
            unknown = times.new_full((times.shape[0], self.columns), math.nan)
            embedding = embedding + self.row_embedding(unknown if labels is None else labels)
        return F.silu(embedding)


class Attention(nn.Module):
    """Multi-head self-attention with normalized queries and keys (QK norm, arXiv 2302.05442, section 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head = min(HEAD_CHANNELS, channels)
        self.query_key_value = linear(channels, 3 * channels)
        self.project = zero_init(linear(channels, channels))

    def forward(self, x: FeatureMap) -> FeatureMap:
        """(n, h, w, c) to (n, h, w, c), without the residual connection."""
        heads = self.query_key_value(x).flatten(1, 2).unflatten(2, (3, -1, self.head))
        query, key, value = heads.transpose(1, 3).unbind(2)
        attended = F.scaled_dot_product_attention(rms_norm(query), rms_norm(key), value)
        output: Tensor = self.project(attended.transpose(1, 2).reshape(x.shape))
        return output


class ConvBlock(Region):
    """Residual block: norm, 3x3, norm, modulation by the embedding, dropout, 3x3; then optional self-attention.

    Modulation is ADM's adaptive group normalization (arXiv 2105.05233, section 3.1) with `rms_norm`.
    """

    def __init__(self, channels: int, embedding: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.conv_in = PlainConv(channels, channels)
        self.condition = nn.Linear(embedding, 2 * channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zero_init(PlainConv(channels, channels))
        self.attention = Attention(channels) if attends else None

    def forward(self, x: FeatureMap, embedding: Embedding) -> FeatureMap:
        """(n, h, w, c) to (n, h, w, c)."""
        scale, shift = self.condition(embedding)[:, None, None].chunk(2, dim=-1)
        h = self.conv_in(F.silu(rms_norm(x)))
        h = F.silu(rms_norm(h) * (1 + scale) + shift)
        x = x + self.conv_out(self.dropout(h))
        return x if self.attention is None else x + self.attention(rms_norm(x))


class SkipBlock(Region):
    """A block that first adds a skip connection.

    Linear maps of both inputs are added, which equals a linear map of their concatenation. All 3x3 convolutions of a
    level then have the same shape.
    """

    def __init__(self, channels: int, embedding: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.merge_below = linear(channels, channels)
        self.merge_skip = linear(channels, channels)
        self.block = ConvBlock(channels, embedding, dropout, attends)

    def forward(self, x: FeatureMap, skip: FeatureMap, embedding: Embedding) -> FeatureMap:
        """Features and skip (n, h, w, c) to (n, h, w, c)."""
        output: Tensor = self.block(self.merge_below(x) + self.merge_skip(skip), embedding)
        return output


class FoldDown(Region):
    """Downsampling: halves height and width, rounding up, by a linear map of each square of 2x2 pixels to one pixel."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.map = linear(4 * channels_in, channels_out)

    def forward(self, x: FeatureMap) -> Float[Tensor, "n (h+1)//2 (w+1)//2 _"]:
        """(n, h, w, c) to (n, ceil(h / 2), ceil(w / 2), c_out); odd sizes are padded with zeros."""
        height, width = x.shape[1:3]
        even = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        squares = even.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3)
        smaller: Tensor = self.map(squares.flatten(3))
        return smaller


class FoldUp(Region):
    """Upsampling: the inverse of `FoldDown`, a linear map of each pixel to a square of 2x2 pixels."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.map = linear(channels_in, 4 * channels_out)

    def forward(self, x: FeatureMap, height: int, width: int) -> Float[Tensor, "n {height} {width} _"]:
        """(n, ceil(height / 2), ceil(width / 2), c) to (n, height, width, c_out)."""
        squares = self.map(x).unflatten(3, (2, 2, -1)).transpose(2, 3)
        larger: Tensor = squares.flatten(3, 4).flatten(1, 2)
        return larger[:, :height, :width].contiguous()


class ConvNetStem(Region):
    """Input layer: a 3x3 convolution of patches, padded to a multiple of 8 channels for tensor cores."""

    def __init__(self, image_channels: int, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.padding = -image_channels * patch**2 % 8
        self.conv = PlainConv(image_channels * patch**2 + self.padding, channels)

    def forward(self, images: Images) -> Float[Tensor, "n _ _ _"]:
        """(n, C, h, w) to (n, ceil(h / patch), ceil(w / patch), c), with zeros beyond the edge."""
        height, width = images.shape[2:]
        whole = F.pad(images, (0, -width % self.patch, 0, -height % self.patch))
        patches = F.pixel_unshuffle(whole, self.patch).permute(0, 2, 3, 1)
        features: Tensor = self.conv(F.pad(patches, (0, self.padding)))
        return features


class ConvNetHead(Region):
    """Output layer: norm, SiLU, 3x3 convolution with zero initialization, patches to pixels."""

    def __init__(self, channels: int, image_channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.used = image_channels * patch**2
        self.conv = zero_init(PlainConv(channels, self.used + -self.used % 8))

    def forward(self, x: FeatureMap, height: int, width: int) -> Float[Tensor, "n _ {height} {width}"]:
        """(n, ceil(height / patch), ceil(width / patch), c) to (n, C, height, width)."""
        patches = self.conv(F.silu(rms_norm(x)))[..., : self.used].permute(0, 3, 1, 2)
        return F.pixel_shuffle(patches, self.patch)[..., :height, :width].contiguous()
