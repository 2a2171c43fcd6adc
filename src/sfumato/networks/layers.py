"""Blocks of the UNet: time embedding, residual block, self-attention, downsampling and upsampling.

Inputs and outputs of a block are contiguous features (n, h, w, c). Each block is a region that is compiled separately.
Convolutions use a channels-last view and are fastest with channels-last weights
(`network.to(memory_format=torch.channels_last)`).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.networks.region import Region

Images = Float[Tensor, "n k height width"]
FeatureMap = Float[Tensor, "n h w c"]
OtherFeatureMap = Float[Tensor, "n _ _ _"]
"""Feature map with another number of channels or another size than `FeatureMap` in the same signature."""

Embedding = Float[Tensor, "n e"]

ALIGNMENT = 8
"""Tensor cores need a multiple of this number of channels."""


def zero_init(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """Initializes the last layer of a residual branch with zeros. (DDPM: init_scale = 0.)"""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def groups_of(channels: int) -> int:
    """Number of groups for GroupNorm: at most 32, with at least four channels each.

    A group of one channel would remove the time and class embedding that a residual block adds to the channel.
    """
    return next(n for n in (32, 16, 8, 4, 2, 1) if channels % n == 0 and (channels >= 4 * n or n == 1))


def in_float32(x: OtherFeatureMap) -> OtherFeatureMap:
    """x, at least in float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def sinusoidal(times: Float[Tensor, " n"], dimensions: int, slowest: float = 10_000.0) -> Embedding:
    """Sinusoidal embedding: sines, then cosines, at `dimensions` / 2 frequencies from 1 to 1 / `slowest`.

    "Attention is all you need" (arXiv 1706.03762), section 3.5, in the order of DDPM.
    """
    half = dimensions // 2
    exponents = torch.arange(half, device=times.device, dtype=torch.float32) / (half - 1)
    angles = times.float()[:, None] * torch.exp(-math.log(slowest) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TimeEmbedding(Region):
    """Time embedding: sinusoidal embedding and two linear layers.

    Args:
        dimensions: size of the sinusoidal embedding.
        features: size of the result.
        augmentation: number of features that describe the augmentation; a linear map of them is added to the sinusoidal
            embedding (EDM).
    """

    def __init__(self, dimensions: int, features: int, augmentation: int = 0) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.augmentation = nn.Linear(augmentation, dimensions, bias=False) if augmentation else None
        self.expand = nn.Linear(dimensions, features)
        self.mix = nn.Linear(features, features)

    def forward(self, times: Float[Tensor, " n"], augmentation: Float[Tensor, "n a"] | None = None) -> Embedding:
        """Times (n,) and the description of the augmentation (n, a) or None, to (n, features)."""
        waves = sinusoidal(times, self.dimensions).to(self.expand.weight.dtype)
        if self.augmentation is not None and augmentation is not None:
            waves = waves + self.augmentation(augmentation.to(waves.dtype))
        embedded: Tensor = self.mix(F.silu(self.expand(waves)))
        return embedded


class GroupNorm(nn.GroupNorm):
    """Group normalization (arXiv 1803.08494) of concatenated features, followed by an elementwise function.

    Computed at least in float32. Eager code uses PyTorch's kernel, which is fastest on a CPU; compiled code follows the
    formula and reads (n, h, w, c) in order.

    Args:
        channels: total number of channels.
        then: elementwise function.
    """

    def __init__(self, channels: int, then: Callable[[Tensor], Tensor] = F.silu) -> None:
        super().__init__(groups_of(channels), channels, eps=1e-6)
        self.then = then

    def forward(self, *parts: OtherFeatureMap) -> OtherFeatureMap:
        """Features (n, h, w, c_i) to (n, h, w, sum of c_i)."""
        is_compiled = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
        return self.compiled(*parts) if is_compiled else self.eager(*parts)

    def eager(self, *parts: OtherFeatureMap) -> OtherFeatureMap:
        """With PyTorch's kernel, on a channels-last view."""
        x = torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
        return self.then(super().forward(in_float32(x).permute(0, 3, 1, 2))).permute(0, 2, 3, 1).to(x.dtype)

    def compiled(self, *parts: OtherFeatureMap) -> OtherFeatureMap:
        """x -> scale x + shift with scale and shift for each image and channel, without concatenating the inputs."""
        moments = [torch.var_mean(in_float32(part), (1, 2), correction=0) for part in parts]
        scale, shift = self._affine(*(torch.cat(of_parts, dim=1) for of_parts in zip(*moments, strict=True)))
        sizes = [part.shape[-1] for part in parts]
        pieces = zip(parts, scale.split(sizes, dim=1), shift.split(sizes, dim=1), strict=True)
        normed = [self.then(in_float32(x) * a[:, None, None] + b[:, None, None]) for x, a, b in pieces]
        return torch.cat(normed, dim=-1).to(parts[0].dtype)

    def _affine(self, variance: Embedding, mean: Embedding) -> tuple[Embedding, Embedding]:
        """Scale and shift (n, c) from the variance and mean (n, c) of each channel.

        The mean of a group is the mean of the means; its variance is the mean of the variances plus the variance of the
        means.
        """
        variances, means = (of.unflatten(1, (self.num_groups, -1)) for of in (variance, mean))
        between, center = torch.var_mean(means, 2, correction=0, keepdim=True)
        deviation = (variances.mean(2, keepdim=True) + between + self.eps).rsqrt()
        scale = deviation * self.weight.unflatten(0, (self.num_groups, -1))
        return scale.flatten(1), self.bias - (center * scale).flatten(1)


class Conv(nn.Conv2d):
    """A 3x3 convolution, (n, h, w, c) to (n, h, w, c_out)."""

    bias: Tensor

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x: FeatureMap) -> Float[Tensor, "n h w _"]:
        """Applies the convolution to a channels-last view."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()


class Shortcut(nn.Conv2d):
    """A 1x1 convolution of concatenated features, computed as a sum of linear maps."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 1)

    def forward(self, *parts: OtherFeatureMap) -> OtherFeatureMap:
        """Features (n, h, w, c_i) to (n, h, w, channels_out)."""
        weights = self.weight.flatten(1).split([part.shape[-1] for part in parts], dim=1)
        first, *others = (F.linear(x, w, b) for x, w, b in zip(parts, weights, (self.bias, None), strict=False))
        return sum(others, first)


class ResidualBlock(Region):
    """Residual block: two 3x3 convolutions, between which the embedding is added, and a shortcut.

    Takes one or two features, the second from a skip connection; `channels_in` is their total number of channels.
    """

    def __init__(self, channels_in: int, channels_out: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm_in = GroupNorm(channels_in)
        self.conv_in = Conv(channels_in, channels_out)
        self.condition = nn.Linear(embedding, channels_out)
        self.norm_out = GroupNorm(channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zero_init(Conv(channels_out, channels_out))
        self.shortcut = nn.Identity() if channels_in == channels_out else Shortcut(channels_in, channels_out)

    def forward(self, embedding: Embedding, *parts: OtherFeatureMap) -> OtherFeatureMap:
        """Embedding (n, e) after its last SiLU, and features (n, h, w, c_i), to (n, h, w, channels_out)."""
        h = self.conv_in(self.norm_in(*parts)) + self.condition(embedding)[:, None, None]
        h = self.conv_out(self.dropout(self.norm_out(h)))
        residual: Tensor = self.shortcut(*parts) + h
        return residual


class SelfAttention(Region):
    """Single-head self-attention over the pixels, with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(channels, then=nn.Identity())
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = zero_init(nn.Linear(channels, channels))

    def forward(self, x: FeatureMap) -> FeatureMap:
        """(n, h, w, c) to (n, h, w, c)."""
        pixels = self.norm(x).flatten(1, 2)
        query, key, value = self.query_key_value(pixels)[:, None].chunk(3, dim=-1)
        attended = F.scaled_dot_product_attention(query, key, value)[:, 0]
        residual: Tensor = x + self.project(attended).reshape(x.shape)
        return residual


class Downsample(Region):
    """Halves height and width, rounding up, by a strided 3x3 convolution with TensorFlow's SAME padding (DDPM)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: FeatureMap) -> Float[Tensor, "n (h+1)//2 (w+1)//2 c"]:
        """(n, h, w, c) to (n, ceil(h / 2), ceil(w / 2), c)."""
        height, width = x.shape[1:3]
        padded = F.pad(x, (0, 0, width % 2, 1, height % 2, 1))
        smaller: Tensor = self.conv(padded.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return smaller.contiguous()


class Upsample(Region):
    """Doubles height and width by nearest neighbors and a 3x3 convolution; crops to odd sizes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels, channels)

    def forward(self, x: FeatureMap, height: int, width: int) -> Float[Tensor, "n {height} {width} c"]:
        """(n, ceil(height / 2), ceil(width / 2), c) to (n, height, width, c)."""
        squares = x[:, :, None, :, None].expand(-1, -1, 2, -1, 2, -1)
        larger: Tensor = self.conv(squares.flatten(3, 4).flatten(1, 2)[:, :height, :width])
        return larger


class UNetStem(Conv, Region):
    """Input layer: a 3x3 convolution."""

    def forward(self, images: Images) -> Float[Tensor, "n height width _"]:
        """(n, C, height, width) to (n, height, width, c)."""
        missing = -self.in_channels % ALIGNMENT
        x = F.pad(images.permute(0, 2, 3, 1), (0, missing)).permute(0, 3, 1, 2)
        weight = F.pad(self.weight, (0, 0, 0, 0, 0, missing))
        return F.conv2d(x, weight, self.bias, padding=1).permute(0, 2, 3, 1).contiguous()


class LastNorm(GroupNorm, Region):
    """Norm before the output layer, a separate region because its weights are separate."""


class UNetHead(Conv, Region):
    """Output layer: a 3x3 convolution."""

    def forward(self, x: FeatureMap) -> Float[Tensor, "n _ h w"]:
        """(n, h, w, c) to (n, C, h, w)."""
        missing = -self.out_channels % ALIGNMENT
        weight = F.pad(self.weight, (0, 0, 0, 0, 0, 0, 0, missing))
        bias = F.pad(self.bias, (0, missing))
        images = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1)
        return images[:, : self.out_channels].contiguous()
