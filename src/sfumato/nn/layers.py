"""The blocks of the UNet: time embedding, residual block, self-attention, and the changes of resolution."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.errors import ConfigError

Features = Float[Tensor, "n c h w"]
OtherFeatures = Float[Tensor, "n _ _ _"]
"""Of the same images as `Features` beside it, but of other channels or another size."""

Embedding = Float[Tensor, "n e"]


def zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """The layer with zero weights, so that the branch it ends starts as nothing. (DDPM: init_scale = 0.)"""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with 32 groups, or fewer, such that they divide the channels and have four or more each.

    A group of one channel would subtract whatever a residual block adds to that channel: its time and its class.
    """
    groups = next(n for n in (32, 16, 8, 4, 2, 1) if channels % n == 0 and (channels >= 4 * n or n == 1))
    return nn.GroupNorm(groups, channels, eps=1e-6)


def sinusoidal(times: Float[Tensor, " n"], dimensions: int, slowest: float = 10_000.0) -> Embedding:
    """Sines, then cosines, of the times at `dimensions` / 2 frequencies from 1 down to 1 / `slowest`.

    "Attention is all you need", section 3.5, in DDPM's layout.
    """
    half = dimensions // 2
    exponents = torch.arange(half, device=times.device, dtype=torch.float32) / (half - 1)
    angles = times.float()[:, None] * torch.exp(-math.log(slowest) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(nn.Module):
    """Times (n,) to (n, features): the sinusoidal embedding through two layers.

    Args:
        dimensions: of the sinusoidal embedding.
        features: of the result.
        augmentation: numbers in which augmentation is told; EDM adds a linear map of them to the sinusoidal embedding.
    """

    def __init__(self, dimensions: int, features: int, augmentation: int = 0) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.augmentation = nn.Linear(augmentation, dimensions, bias=False) if augmentation else None
        self.expand = nn.Linear(dimensions, features)
        self.mix = nn.Linear(features, features)

    def forward(self, times: Float[Tensor, " n"], augmentation: Float[Tensor, "n a"] | None = None) -> Embedding:
        """Times (n,) and what was done to the images (n, a) (None: nothing) to (n, features)."""
        waves = sinusoidal(times, self.dimensions).to(self.expand.weight.dtype)
        if augmentation is not None:
            if self.augmentation is None:
                raise ConfigError(
                    "a network that is never told of augmentation was told of it",
                    "Call it without, or make it with UNetConfig(augmentation=...).",
                )
            waves = waves + self.augmentation(augmentation.to(waves.dtype))
        embedded: Tensor = self.mix(F.silu(self.expand(waves)))
        return embedded


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around the embedding of time and class, beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = group_norm(channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.condition = nn.Linear(embedding, channels_out)
        self.norm_out = group_norm(channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zeroed(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        self.shortcut = nn.Identity() if channels_in == channels_out else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Features, embedding: Embedding) -> Float[Tensor, "n _ h w"]:
        """(n, channels_in, h, w) to (n, channels_out, h, w)."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = h + self.condition(F.silu(embedding))[:, :, None, None]
        h = self.conv_out(self.dropout(F.silu(self.norm_out(h))))
        residual: Tensor = self.shortcut(x) + h
        return residual


class SelfAttention(nn.Module):
    """Single-head self-attention over the pixels, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Features) -> Features:
        """(n, c, h, w) to the same."""
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        query, key, value = self.query_key_value(pixels)[:, None].chunk(3, dim=-1)
        attended = F.scaled_dot_product_attention(query, key, value)[:, 0]
        residual: Tensor = x + self.project(attended).transpose(1, 2).reshape(x.shape)
        return residual


class Downsample(nn.Module):
    """Halves height and width, rounding up, by a strided 3x3 convolution padded like TensorFlow's SAME (as in DDPM)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Features) -> Float[Tensor, "n c (h+1)//2 (w+1)//2"]:
        """(n, c, h, w) to (n, c, ceil(h / 2), ceil(w / 2))."""
        height, width = x.shape[-2:]
        smaller: Tensor = self.conv(F.pad(x, (width % 2, 1, height % 2, 1)))
        return smaller


class Upsample(nn.Module):
    """Enlarges to a given size by nearest neighbours and a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Features, size: tuple[int, int]) -> Float[Tensor, "n c {size[0]} {size[1]}"]:
        """(n, c, h, w) to (n, c, *size)."""
        larger: Tensor = self.conv(F.interpolate(x, size=size, mode="nearest"))
        return larger
