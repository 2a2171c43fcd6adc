"""Images under an affine map, in one resampling: enlarged, looked up, and shrunk without aliasing."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

ENLARGED = 4
"""Samples a pixel, each way, between which an image is interpolated linearly."""

SUPERSAMPLED = 2
"""Samples a pixel, each way, that are looked up and averaged into the new pixel: so an image may shrink by as much."""

LOBES = 5
"""Of Lanczos's kernel. With these three numbers, at least 97 % of every frequency up to 0.7 of the highest is kept."""


def resampled(images: Float[Tensor, "n c h w"], sources: Float64[Tensor, "n 2 3"]) -> Float[Tensor, "n c h w"]:
    """Images, each moved by an affine map of its own; beyond its borders an image goes on as its mirror image.

    Args:
        images: in [-1, 1], on any device; nothing is read back from it.
        sources: from where a pixel goes to where it comes from, both (x, y) in pixels from the centre of the image, x
            to the right and y down; on the CPU.

    Returns:
        The moved images, clamped to [-1, 1].
    """
    height, width = images.shape[2:]
    larger = _weighted(images, _enlarging(height), _enlarging(width))
    places = _places(sources.to(images.dtype).to(images.device, non_blocking=True), height, width)
    looked_up = F.grid_sample(larger, places, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _weighted(looked_up, _shrinking(height), _shrinking(width)).clamp(-1, 1)


def _places(sources: Float[Tensor, "n 2 3"], height: int, width: int) -> Float[Tensor, "n _ _ 2"]:
    """Where each sample comes from, borders at -1 and 1; samples reach `LOBES` pixels beyond the borders."""
    x, y = (_samples(size, SUPERSAMPLED, LOBES).to(sources) + (1 - size) / 2 for size in (width, height))
    goals = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1)
    linear, shift = sources[:, None, None, :, :2], sources[:, None, None, :, 2]
    return ((linear * goals[..., None, :]).sum(-1) + shift) * sources.new_tensor([2 / width, 2 / height])


def _weighted(
    images: Float[Tensor, "n c h w"], rows: Float64[Tensor, "_ h"], columns: Float64[Tensor, "_ w"]
) -> Float[Tensor, "n c _ _"]:
    """Weighted sums of pixels: each new row of the old ones, each new column of the old ones."""
    rows, columns = (weights.to(images.dtype).to(images.device, non_blocking=True) for weights in (rows, columns))
    return rows @ images @ columns.T


@lru_cache(maxsize=8)
def _enlarging(size: int) -> Float64[Tensor, "_ {size}"]:
    """What each of `ENLARGED` times as many samples takes of `size` pixels and their mirror images."""
    pixels = torch.arange(-LOBES, size + LOBES)
    mirrored = torch.minimum(pixels % (2 * size), -(pixels + 1) % (2 * size))
    weights = _lanczos(_samples(size, ENLARGED, 0)[:, None] - pixels)
    return torch.zeros(ENLARGED * size, size, dtype=torch.float64).index_add(1, mirrored, weights)


@lru_cache(maxsize=8)
def _shrinking(size: int) -> Float64[Tensor, "{size} _"]:
    """What each of `size` pixels takes of the samples in and around the image."""
    return _lanczos(torch.arange(size)[:, None] - _samples(size, SUPERSAMPLED, LOBES))


def _samples(size: int, times: int, beyond: int) -> Float64[Tensor, " _"]:
    """Where samples lie, `times` a pixel, from `beyond` pixels before the first of `size` pixels to as many behind."""
    return (torch.arange(times * (size + 2 * beyond), dtype=torch.float64) + 0.5) / times - 0.5 - beyond


def _lanczos(distances: Float64[Tensor, "m k"]) -> Float64[Tensor, "m k"]:
    """Lanczos's kernel sinc(x) sinc(x / lobes) at distances in pixels, scaled so that each row adds up to 1."""
    kernel = torch.sinc(distances) * torch.sinc(distances / LOBES) * (distances.abs() < LOBES)
    return kernel / kernel.sum(1, keepdim=True)
