"""The ConvNet written out in one function, from a dictionary of weights: readable, slow, and independent of sfumato.

Channels come first, (n, c, h, w), as in papers. Convolutions and matrix products are the only functions of layers that
it uses.
"""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def convnet(
    weights: Weights,
    x: Tensor,
    times: Tensor,
    labels: Tensor | None = None,
    augmentation: Tensor | None = None,
    *,
    blocks: tuple[int, ...],
    attention_levels: tuple[int, ...],
    patch: int,
    periods: tuple[float, float],
    dropout: Callable[[Tensor], Tensor] = lambda h: h,
) -> Tensor:
    """The output (n, C, h, w) for noisy images (n, C, h, w) at times (n,).

    Args:
        weights: the state of a `ConvNet`.
        x: noisy images.
        times: of each image.
        labels: classes (n,), -1 for none, or rows (n, k), NaN for what is not known.
        augmentation: (n, a).
        blocks: of each level.
        attention_levels: levels whose blocks end with attention.
        patch: pixels a side of a patch.
        periods: the shortest and the longest of the waves.
        dropout: what is done to the features (n, c, h, w) before the second convolution of each block.
    """
    vector = condition(weights, times, labels, augmentation, periods)
    levels = range(len(blocks))

    def block(name: str, h: Tensor, level: int) -> Tensor:
        return conv_block(weights, name, h, vector, dropout, level in attention_levels)

    h, skips = stem(weights, x, patch), []
    for level in levels:
        if level > 0:
            h = fold(weights[f"down_levels.{level}.fold.map.weight"], h)
        for number in range(blocks[level]):
            h = block(f"down_levels.{level}.blocks.{number}", h, level)
            skips.append(h)
    h = block("middle", h, levels[-1])
    for place, level in enumerate(reversed(levels)):
        for number in range(blocks[level]):
            name = f"up_levels.{place}.blocks.{number}"
            merge = torch.cat([weights[f"{name}.merge_below.weight"], weights[f"{name}.merge_skip.weight"]], dim=1)
            h = channels_mapped(merge, torch.cat([h, skips[-1]], dim=1))  # the latest skip first
            del skips[-1]
            h = block(f"{name}.block", h, level)
        if level > 0:
            h = unfold(weights[f"up_levels.{place}.unfold.map.weight"], h)[
                ..., : skips[-1].shape[2], : skips[-1].shape[3]
            ]
    assert not skips
    return head(weights, h, patch, x.shape[1])[..., : x.shape[2], : x.shape[3]]


def condition(
    weights: Weights, times: Tensor, labels: Tensor | None, augmentation: Tensor | None, periods: tuple[float, float]
) -> Tensor:
    """The vector (n, features) that every block sees: time, augmentation and labels."""
    shortest, longest = periods
    each = [shortest * (longest / shortest) ** (k / 63) for k in range(64)]
    angles = [2 * math.pi * times / period for period in each]
    waves = torch.stack([a.sin() for a in angles] + [a.cos() for a in angles], dim=1)
    if augmentation is not None:
        waves = waves + augmentation @ weights["embedding.augmentation.weight"].T
    hidden = waves @ weights["embedding.expand.weight"].T + weights["embedding.expand.bias"]
    vector = silu(hidden) @ weights["embedding.mix.weight"].T + weights["embedding.mix.bias"]
    if "embedding.class_embedding.weight" in weights:
        classes = [-1] * len(times) if labels is None else labels.tolist()
        vector = vector + torch.stack([weights["embedding.class_embedding.weight"][1 + c] for c in classes])
    if "embedding.row_embedding.columns.0.weight" in weights:
        assert labels is not None
        vector = vector + torch.stack([row_vector(weights, row.tolist()) for row in labels])
    return silu(vector)


def row_vector(weights: Weights, row: list[float]) -> Tensor:
    """The sum of the vectors of an image's columns: a table's row, or a number times a vector plus another."""
    total = torch.zeros(())
    for column, code in enumerate(row):
        table = weights[f"embedding.row_embedding.columns.{column}.weight"]
        if table.shape[1] != 2:
            total = total + table[0 if math.isnan(code) else 1 + int(code)]
        elif not math.isnan(code):
            total = total + code * table[:, 0] + table[:, 1]
    return total


def conv_block(
    weights: Weights, name: str, x: Tensor, vector: Tensor, dropout: Callable[[Tensor], Tensor], attends: bool
) -> Tensor:
    """x + conv(dropout(silu(modulated norm of conv(silu(norm x))))), then x + attention of norm x."""
    both = vector @ weights[f"{name}.condition.weight"].T + weights[f"{name}.condition.bias"]
    channels = x.shape[1]
    scale, shift = both[:, :channels, None, None], both[:, channels:, None, None]
    h = F.conv2d(silu(rms_normed(x)), weights[f"{name}.conv_in.weight"], padding=1)
    h = dropout(silu(rms_normed(h) * (1 + scale) + shift))
    x = x + F.conv2d(h, weights[f"{name}.conv_out.weight"], padding=1)
    return x + attention(weights, f"{name}.attention", rms_normed(x)) if attends else x


def attention(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Softmax attention between all places, head by head, of queries and keys divided by their root mean square."""
    n, channels, height, width = x.shape
    size = min(64, channels)
    places = x.flatten(2).mT  # (n, places, channels)
    query, key, value = (places @ part.T for part in weights[f"{name}.query_key_value.weight"].chunk(3))
    found = []
    for first in range(0, channels, size):
        q, k, v = (of_all[:, :, first : first + size] for of_all in (query, key, value))
        q, k = (of / (of.square().mean(2, keepdim=True) + 1e-6).sqrt() for of in (q, k))
        found.append(torch.einsum("nij,njc->nic", torch.einsum("nic,njc->nij", q, k).div(size**0.5).softmax(2), v))
    projected = torch.cat(found, dim=2) @ weights[f"{name}.project.weight"].T
    return projected.mT.reshape(n, channels, height, width)


def stem(weights: Weights, images: Tensor, patch: int) -> Tensor:
    """A 3x3 convolution of patches: pixel (i, j) of channel c of a patch is its channel c patch^2 + i patch + j."""
    height, width = (patch * math.ceil(side / patch) for side in images.shape[2:])
    whole = images.new_zeros(*images.shape[:2], height, width)
    whole[..., : images.shape[2], : images.shape[3]] = images
    patches = torch.cat(
        [
            whole[:, c : c + 1, i::patch, j::patch]
            for c in range(images.shape[1])
            for i in range(patch)
            for j in range(patch)
        ],
        dim=1,
    )
    return F.conv2d(patches, weights["stem.conv.weight"][:, : patches.shape[1]], padding=1)


def head(weights: Weights, x: Tensor, patch: int, image_channels: int) -> Tensor:
    """Norm, SiLU, and a 3x3 convolution to patches, laid out as in `stem`."""
    patches = F.conv2d(silu(rms_normed(x)), weights["head.conv.weight"], padding=1)
    images = x.new_zeros(len(x), image_channels, patch * x.shape[2], patch * x.shape[3])
    for c in range(image_channels):
        for i in range(patch):
            for j in range(patch):
                images[:, c, i::patch, j::patch] = patches[:, c * patch**2 + i * patch + j]
    return images


def fold(weight: Tensor, x: Tensor) -> Tensor:
    """Squares of 2x2 places to one, by rows: a linear map of the channels of all four."""
    whole = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    four = [whole[:, :, i::2, j::2] for i in range(2) for j in range(2)]
    return channels_mapped(weight, torch.cat(four, dim=1))


def unfold(weight: Tensor, x: Tensor) -> Tensor:
    """One place to a square of 2x2, by rows: a linear map for each."""
    parts = weight.chunk(4)
    larger = x.new_zeros(len(x), len(parts[0]), 2 * x.shape[2], 2 * x.shape[3])
    for place, part in enumerate(parts):
        larger[:, :, place // 2 :: 2, place % 2 :: 2] = channels_mapped(part, x)
    return larger


def channels_mapped(weight: Tensor, x: Tensor) -> Tensor:
    """A linear map of the channels of each place."""
    return torch.einsum("oc,nchw->nohw", weight, x)


def rms_normed(x: Tensor) -> Tensor:
    """Each place by the root mean square of its channels."""
    return x / (x.square().mean(1, keepdim=True) + 1e-6).sqrt()


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x)."""
    return x / (1 + (-x).exp())
