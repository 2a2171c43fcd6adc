"""Candidate networks, written for tensor cores: channels in multiples of 64, channels-last, few passes over memory.

Called as (images (n, 3, h, w), times (n,), labels (n,) or None), like `sfumato.networks.UNet`. Inside, features are
contiguous (n, h, w, c), so that whatever crosses the border of a compiled region, gradients too, has one layout. The
classes named in `REGIONS` are compiled one module at a time: modules of the same shape share one compilation.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.networks.layers import Downsample, ResidualBlock, SelfAttention, Upsample
from sfumato.networks.unet import UNet, UNetConfig

HEAD = 64
"""Channels of an attention head."""


def zeroed(layer: nn.Module) -> nn.Module:
    """The layer with zero weights, so that the branch it ends starts as nothing."""
    nn.init.zeros_(layer.weight)
    return layer


def linear(features_in: int, features_out: int) -> nn.Linear:
    """A linear layer without bias."""
    return nn.Linear(features_in, features_out, bias=False)


def normalised(x: Tensor) -> Tensor:
    """x by the root mean square of its last dimension, in float32, without a gain. RMSNorm, arXiv 1910.07467, eq. 4."""
    return (x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class Conv(nn.Conv2d):
    """A 3x3 convolution without bias, (n, h, w, c) to (n, h, w, c_out)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """cuDNN sees the same memory as channels-last."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Conditioning(nn.Module):
    """Time and class to (n, features): Fourier features of the time, two layers, a table of classes."""

    def __init__(self, features: int, classes: int, waves: int = 128) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.logspace(-2, 3, waves // 2, base=2.0))
        self.expand = nn.Linear(waves, features)
        self.mix = nn.Linear(features, features)
        self.table = nn.Embedding(classes + 1, features) if classes else None

    def forward(self, times: Tensor, labels: Tensor | None) -> Tensor:
        """(n,) and (n,) with -1 for no class, or None, to (n, features)."""
        angles = times.float()[:, None] * self.frequencies
        embedding = self.mix(F.silu(self.expand(torch.cat([angles.sin(), angles.cos()], dim=1))))
        if self.table is not None and labels is not None:
            embedding = embedding + self.table(labels + 1)
        return F.silu(embedding)


class Attention(nn.Module):
    """Multi-head self-attention with normalised queries and keys (QK norm, arXiv 2302.05442, section 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query_key_value = linear(channels, 3 * channels)
        self.project = zeroed(linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(n, h, w, c) to the same, to be added."""
        n, h, w, c = x.shape
        query_key, value = self.query_key_value(x).split([2 * c, c], dim=-1)
        query, key = normalised(query_key.view(n, h * w, 2, c // HEAD, HEAD)).transpose(1, 3).unbind(2)
        value = value.view(n, h * w, c // HEAD, HEAD).transpose(1, 2)
        return self.project(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(x.shape))


class ConvBlock(nn.Module):
    """Norm, 3x3, norm, modulation by time and class, 3x3, beside the identity; then attention, if any.

    With `skips` it first mixes a skip connection in: a linear map of each instead of one of both side by side, which
    is the same and needs no concatenation, so that all 3x3s of a level have one shape.
    """

    def __init__(self, channels: int, embedding: int, attends: bool, skips: bool) -> None:
        super().__init__()
        self.merge_below = linear(channels, channels) if skips else None
        self.merge_skip = linear(channels, channels) if skips else None
        self.conv_in = Conv(channels, channels)
        self.condition = nn.Linear(embedding, 2 * channels)
        self.conv_out = zeroed(Conv(channels, channels))
        self.attention = Attention(channels) if attends else None

    def forward(self, x: Tensor, embedding: Tensor, skip: Tensor | None = None) -> Tensor:
        """(n, h, w, c) to the same."""
        if self.merge_below is not None:
            x = self.merge_below(x) + self.merge_skip(skip)
        scale, shift = self.condition(embedding)[:, None, None].chunk(2, dim=-1)
        h = self.conv_in(F.silu(normalised(x)))
        x = x + self.conv_out(F.silu(normalised(h) * (1 + scale) + shift))
        return x if self.attention is None else x + self.attention(normalised(x))


class Fold(nn.Module):
    """Squares of `side` pixels become one, through a linear map. (n, h, w, c) to (n, h / side, w / side, c_out)."""

    def __init__(self, channels_in: int, channels_out: int, side: int = 2) -> None:
        super().__init__()
        self.side = side
        self.map = linear(side * side * channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """A strided convolution whose kernels do not overlap."""
        n, h, w, c = x.shape
        squares = x.view(n, h // self.side, self.side, w // self.side, self.side, c).transpose(2, 3)
        return self.map(squares.reshape(n, h // self.side, w // self.side, -1))


class Unfold(nn.Module):
    """The way back: (n, h, w, c) to (n, h * side, w * side, c_out)."""

    def __init__(self, channels_in: int, channels_out: int, side: int = 2) -> None:
        super().__init__()
        self.side = side
        self.map = linear(channels_in, side * side * channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """A linear map, and pixels laid out as squares."""
        n, h, w, _ = x.shape
        squares = self.map(x).view(n, h, w, self.side, self.side, -1).transpose(2, 3)
        return squares.reshape(n, h * self.side, w * self.side, -1)


class Stem(nn.Module):
    """Images (n, 3, h, w) to features (n, h / patch, w / patch, c): a 3x3 convolution of patches.

    The channels are padded with zeros to a multiple of 8, which tensor cores need.
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.padding = -3 * patch**2 % 8
        self.conv = Conv(3 * patch**2 + self.padding, channels)

    def forward(self, images: Tensor) -> Tensor:
        """The first features."""
        patches = F.pixel_unshuffle(images, self.patch).permute(0, 2, 3, 1)
        return self.conv(F.pad(patches, (0, self.padding)))


class Head(nn.Module):
    """Features (n, h / patch, w / patch, c) to images (n, 3, h, w), zero at first."""

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.conv = zeroed(Conv(channels, 3 * patch**2 + -3 * patch**2 % 8))

    def forward(self, x: Tensor) -> Tensor:
        """Norm, SiLU, 3x3, and patches laid out as pixels."""
        patches = self.conv(F.silu(normalised(x)))[..., : 3 * self.patch**2]
        return F.pixel_shuffle(patches.permute(0, 3, 1, 2), self.patch)


@dataclass(frozen=True)
class ConvNetConfig:
    """A UNet for tensor cores.

    Attributes:
        widths: channels of each level, multiples of 64; every further level halves the resolution.
        depths: blocks of each level, on the way down and again on the way up.
        attends: whether the blocks of a level attend.
        patch: pixels of the image per side of a pixel of the first level.
        middle: blocks at the bottom, between both ways.
        classes: 0 for none.
        embedding: features of time and class.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    attends: tuple[bool, ...]
    patch: int = 1
    middle: int = 1
    classes: int = 0
    embedding: int = 512


class ConvNet(nn.Module):
    """The UNet of a `ConvNetConfig`. Height and width must be divisible by patch * 2^(levels - 1)."""

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = Conditioning(config.embedding, config.classes)
        self.stem = Stem(config.widths[0], config.patch)
        self.down_levels = nn.ModuleList(self._blocks(i, depth, False) for i, depth in enumerate(config.depths))
        self.folds = nn.ModuleList(Fold(a, b) for a, b in pairwise(config.widths))
        self.middle = self._blocks(-1, config.middle, False)
        self.up_levels = nn.ModuleList(self._blocks(i, depth, True) for i, depth in enumerate(config.depths))
        self.unfolds = nn.ModuleList(Unfold(b, a) for a, b in pairwise(config.widths))
        self.head = Head(config.widths[0], config.patch)

    def _blocks(self, level: int, count: int, skips: bool) -> nn.ModuleList:
        c = self.config
        return nn.ModuleList(ConvBlock(c.widths[level], c.embedding, c.attends[level], skips) for _ in range(count))

    def forward(self, images: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """(n, 3, h, w), (n,) and (n,) to (n, 3, h, w)."""
        embedding = self.embed(times, labels)
        x, skips = self.stem(images), []
        for index, level in enumerate(self.down_levels):
            x = self.folds[index - 1](x) if index else x
            for block in level:
                x = block(x, embedding)
                skips.append(x)
        for block in self.middle:
            x = block(x, embedding)
        for index in reversed(range(len(self.up_levels))):
            for block in self.up_levels[index]:
                x = block(x, embedding, skips.pop())
            x = self.unfolds[index - 1](x) if index else x
        return self.head(x)


def rotations(side: int, head: int) -> Tensor:
    """cos and sin of 2-D rotary positions, an axis a half: (2, side^2, head / 2). RoFormer, 2104.09864, eq. 34."""
    angles = torch.arange(side)[:, None] * 100.0 ** -torch.linspace(0, 1, head // 4)
    rows, columns = angles[:, None].expand(-1, side, -1), angles[None].expand(side, -1, -1)
    both = torch.cat([rows, columns], dim=-1).flatten(0, 1)
    return torch.stack([both.cos(), both.sin()])


def rotated(x: Tensor, turn: Tensor) -> Tensor:
    """(n, heads, tokens, head), each pair of channels turned by its position's angles."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = turn.to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class TransformerBlock(nn.Module):
    """Attention and SwiGLU (arXiv 2002.05202), each normalised, modulated and gated by time and class.

    The modulation is shared by all blocks but for a table of each (PixArt-alpha, arXiv 2310.00426).
    """

    def __init__(self, width: int, skips: bool) -> None:
        super().__init__()
        hidden = -(-width * 8 // (3 * 64)) * 64
        self.merge = linear(2 * width, width) if skips else None
        self.table = nn.Parameter(torch.zeros(6, width))
        self.query_key_value = linear(width, 3 * width)
        self.project = linear(width, width)
        self.expand = linear(width, 2 * hidden)
        self.reduce = linear(hidden, width)

    def forward(self, x: Tensor, shared: Tensor, turn: Tensor, skip: Tensor | None = None) -> Tensor:
        """(n, tokens, width), modulation (n, 6, width), rotations, and a skip connection, to (n, tokens, width)."""
        if self.merge is not None:
            x = self.merge(torch.cat([x, skip], dim=-1))
        n, tokens, width = x.shape
        a_scale, a_shift, a_gate, m_scale, m_shift, m_gate = (shared + self.table).to(x.dtype)[:, :, None].unbind(1)
        qkv = self.query_key_value(normalised(x) * (1 + a_scale) + a_shift)
        query, key, value = qkv.view(n, tokens, 3, width // HEAD, HEAD).permute(2, 0, 3, 1, 4)
        query, key = rotated(normalised(query), turn), rotated(normalised(key), turn)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, tokens, width)
        x = x + a_gate * self.project(mixed)
        gate, up = self.expand(normalised(x) * (1 + m_scale) + m_shift).chunk(2, dim=-1)
        return x + m_gate * self.reduce(F.silu(gate) * up)


class Transformer(nn.Module):
    """A diffusion transformer over patches, with long skips from the first half to the second (U-ViT, 2209.12152)."""

    def __init__(self, width: int, depth: int, classes: int = 0, patch: int = 2, side: int = 16) -> None:
        super().__init__()
        self.patch, image = patch, 3 * patch**2
        self.register_buffer("turn", rotations(side, HEAD))
        self.embed = Conditioning(width, classes)
        self.modulate = zeroed(nn.Linear(width, 6 * width))
        self.stem = nn.Linear(image, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, skips=i >= (depth + 1) // 2) for i in range(depth))
        self.head = zeroed(linear(width, image))

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """(n, 3, h, w), (n,) and (n,) to (n, 3, h, w)."""
        side = x.shape[-1] // self.patch
        shared = self.modulate(self.embed(times, labels)).unflatten(1, (6, -1))
        x, skips = self.stem(F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)), []
        for block in self.blocks:
            x = block(x, shared, self.turn, skips.pop() if block.merge is not None else None)
            if len(skips) < len(self.blocks) // 2 and block.merge is None:
                skips.append(x)
        x = self.head(normalised(x)).transpose(1, 2).unflatten(2, (side, side))
        return F.pixel_shuffle(x, self.patch)


def ddpm(classes: int = 0) -> UNet:
    """The network of DDPM for CIFAR-10, 35.7 M parameters: the baseline."""
    return UNet(UNetConfig(3, 128, (1, 2, 2, 2), 2, (1,), 0.1, classes))


REGIONS = (ConvBlock, Fold, Unfold, Stem, Head, TransformerBlock, ResidualBlock, SelfAttention, Downsample, Upsample)
"""What is compiled: these modules, each on its own."""
