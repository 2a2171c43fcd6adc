"""The blocks of the ConvNet, written for tensor cores: no gains, no concatenations, few passes over memory.

Features are contiguous (n, h, w, c) at the border of every block, which is compiled on its own.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.networks.conditioning import Labels, RowEmbedding
from sfumato.networks.layers import Embedding, sinusoidal, zero_init
from sfumato.networks.region import Region

Images = Float[Tensor, "n k height width"]
Features = Float[Tensor, "n h w c"]
OtherFeatures = Float[Tensor, "n _ _ _"]
"""Of the same images as `Features` beside it, but of other channels or another size."""

HEAD = 64
"""Channels of an attention head, where there are as many."""

WAVES = 128
"""Sines and cosines in which a time is told."""

Periods = tuple[float, float]
"""The shortest and the longest of the waves in which times are told."""

LOG_NOISE_PERIODS: Periods = (1 / 8, 4.0)
"""For times of order 1 on a logarithmic scale: EDM's c_noise, log(sigma) / 4."""

STEP_PERIODS: Periods = (2 * math.pi, 2e4 * math.pi)
"""For times that count steps to some thousands: those of DDPM's network."""


def linear(features_in: int, features_out: int) -> nn.Linear:
    """A linear layer without bias."""
    return nn.Linear(features_in, features_out, bias=False)


def rms_norm(x: Float[Tensor, "*_ c"]) -> Float[Tensor, "*_ c"]:
    """x by the root mean square of its last dimension, in float32 or better. RMSNorm, arXiv 1910.07467, eq. 4."""
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    return (precise * torch.rsqrt(precise.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class Conv(nn.Conv2d):
    """A 3x3 convolution without bias, from (n, h, w, c) to (n, h, w, c_out)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1, bias=False)

    def forward(self, x: Features) -> Float[Tensor, "n h w _"]:
        """The same memory seen as channels-last, there and back."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Conditioning(Region):
    """Times and what is known of the images to (n, features): waves through two layers, and tables beside them.

    Args:
        periods: of the waves.
        features: of the result.
        classes: number of classes; 0 for none.
        columns: of each column of conditions how many values it has, 0 for a number.
        augmentation: numbers in which augmentation is told; EDM adds a linear map of them to the waves.
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
        self, times: Float[Tensor, " n"], labels: Labels | None, augmentation: Float[Tensor, "n a"] | None
    ) -> Embedding:
        """Times (n,), labels (n,) or (n, k), and augmentation (n, a), None for nothing, to (n, features)."""
        shortest, longest = self.periods
        waves = sinusoidal(times * (2 * math.pi / shortest), WAVES, longest / shortest).to(self.expand.weight.dtype)
        if self.augmentation is not None and augmentation is not None:
            waves = waves + self.augmentation(augmentation.to(waves.dtype))
        embedding: Tensor = self.mix(F.silu(self.expand(waves)))
        if self.class_embedding is not None:
            rows = torch.zeros_like(times, dtype=torch.int64) if labels is None else labels + 1
            embedding = embedding + self.class_embedding(rows)
        if self.row_embedding is not None:
            unknown = times.new_full((len(times), self.columns), math.nan)
            embedding = embedding + self.row_embedding(unknown if labels is None else labels)
        return F.silu(embedding)


class Attention(nn.Module):
    """Multi-head self-attention with normalised queries and keys (QK norm, arXiv 2302.05442, section 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head = min(HEAD, channels)
        self.query_key_value = linear(channels, 3 * channels)
        self.project = zero_init(linear(channels, channels))

    def forward(self, x: Features) -> Features:
        """(n, h, w, c) to the same, to be added."""
        heads = self.query_key_value(x).flatten(1, 2).unflatten(2, (3, -1, self.head))
        query, key, value = heads.transpose(1, 3).unbind(2)
        attended = F.scaled_dot_product_attention(rms_norm(query), rms_norm(key), value)
        output: Tensor = self.project(attended.transpose(1, 2).reshape(x.shape))
        return output


class ConvBlock(Region):
    """Norm, 3x3, norm, modulation by time and labels, dropout, 3x3, beside the identity; then attention, if any.

    Modulation is ADM's adaptive group normalisation (arXiv 2105.05233, section 3.1) with the norm above.
    """

    def __init__(self, channels: int, embedding: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.conv_in = Conv(channels, channels)
        self.condition = nn.Linear(embedding, 2 * channels)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zero_init(Conv(channels, channels))
        self.attention = Attention(channels) if attends else None

    def forward(self, x: Features, embedding: Embedding) -> Features:
        """(n, h, w, c) to the same."""
        scale, shift = self.condition(embedding)[:, None, None].chunk(2, dim=-1)
        h = self.conv_in(F.silu(rms_norm(x)))
        h = F.silu(rms_norm(h) * (1 + scale) + shift)
        x = x + self.conv_out(self.dropout(h))
        return x if self.attention is None else x + self.attention(rms_norm(x))


class SkipBlock(Region):
    """A block that mixes in a skip connection first.

    A linear map of each is the same as one of both side by side, and needs no concatenation; so all 3x3s of a level
    have one shape.
    """

    def __init__(self, channels: int, embedding: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.merge_below = linear(channels, channels)
        self.merge_skip = linear(channels, channels)
        self.block = ConvBlock(channels, embedding, dropout, attends)

    def forward(self, x: Features, skip: Features, embedding: Embedding) -> Features:
        """(n, h, w, c) and the same to the same."""
        output: Tensor = self.block(self.merge_below(x) + self.merge_skip(skip), embedding)
        return output


class FoldDown(Region):
    """Halves height and width, rounding up: squares of 2x2 pixels become one, through a linear map."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.map = linear(4 * channels_in, channels_out)

    def forward(self, x: Features) -> Float[Tensor, "n (h+1)//2 (w+1)//2 _"]:
        """(n, h, w, c) to (n, ceil(h / 2), ceil(w / 2), c_out), with zeros beyond an odd edge."""
        height, width = x.shape[1:3]
        even = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        squares = even.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3)
        smaller: Tensor = self.map(squares.flatten(3))
        return smaller


class FoldUp(Region):
    """The way back: a pixel becomes a square of 2x2, through a linear map."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.map = linear(channels_in, 4 * channels_out)

    def forward(self, x: Features, height: int, width: int) -> Float[Tensor, "n {height} {width} _"]:
        """(n, ceil(height / 2), ceil(width / 2), c) to (n, height, width, c_out)."""
        squares = self.map(x).unflatten(3, (2, 2, -1)).transpose(2, 3)
        larger: Tensor = squares.flatten(3, 4).flatten(1, 2)
        return larger[:, :height, :width].contiguous()


class Stem(Region):
    """Images to the first features: a 3x3 convolution of patches, padded to 8 n channels, which tensor cores need."""

    def __init__(self, image_channels: int, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.padding = -image_channels * patch**2 % 8
        self.conv = Conv(image_channels * patch**2 + self.padding, channels)

    def forward(self, images: Images) -> Float[Tensor, "n _ _ _"]:
        """(n, C, h, w) to (n, ceil(h / patch), ceil(w / patch), c), with zeros beyond the edge."""
        height, width = images.shape[2:]
        whole = F.pad(images, (0, -width % self.patch, 0, -height % self.patch))
        patches = F.pixel_unshuffle(whole, self.patch).permute(0, 2, 3, 1)
        features: Tensor = self.conv(F.pad(patches, (0, self.padding)))
        return features


class Head(Region):
    """Features to images, zero at first: norm, SiLU, 3x3, and patches laid out as pixels."""

    def __init__(self, channels: int, image_channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.used = image_channels * patch**2
        self.conv = zero_init(Conv(channels, self.used + -self.used % 8))

    def forward(self, x: Features, height: int, width: int) -> Float[Tensor, "n _ {height} {width}"]:
        """(n, ceil(height / patch), ceil(width / patch), c) to (n, C, height, width)."""
        patches = self.conv(F.silu(rms_norm(x)))[..., : self.used].permute(0, 3, 1, 2)
        return F.pixel_shuffle(patches, self.patch)[..., :height, :width].contiguous()
