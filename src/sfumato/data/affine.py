"""Antialiased resampling of images under affine maps: upsample, interpolate, downsample."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

ENLARGED = 4
"""Upsampling factor per axis before linear interpolation."""

SUPERSAMPLED = 2
"""Samples per output pixel and axis that are averaged: images can shrink by this factor without aliasing."""

LOBES = 5
"""Lobes of the Lanczos kernel. With these three values, at least 97 % of each frequency up to 0.7 Nyquist is kept."""


def affine_resample(images: Float[Tensor, "n c h w"], sources: Float64[Tensor, "n 2 3"]) -> Float[Tensor, "n c h w"]:
    """Applies one affine map to each image; the border is extended by reflection.

    Args:
        images: in [-1, 1], on any device; causes no device-to-host copy.
        sources: maps from output to input coordinates on the CPU; coordinates are (x, y) in pixels from the image
            centre, x to the right and y down.

    Returns:
        The resampled images, clamped to [-1, 1].
    """
    height, width = images.shape[2:]
    larger = _weighted(images, _enlarging(height), _enlarging(width))
    places = _places(sources.to(images.dtype).to(images.device, non_blocking=True), height, width)
    interpolated = F.grid_sample(larger, places, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _weighted(interpolated, _shrinking(height), _shrinking(width)).clamp(-1, 1)


def _places(sources: Float[Tensor, "n 2 3"], height: int, width: int) -> Float[Tensor, "n _ _ 2"]:
    """Input coordinates of each sample, scaled so that the borders are -1 and 1; includes `LOBES` pixels of padding."""
    x, y = (_samples(size, SUPERSAMPLED, LOBES).to(sources) + (1 - size) / 2 for size in (width, height))
    goals = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1)
    linear, shift = sources[:, None, None, :, :2], sources[:, None, None, :, 2]
    return ((linear * goals[..., None, :]).sum(-1) + shift) * sources.new_tensor([2 / width, 2 / height])


def _weighted(
    images: Float[Tensor, "n c h w"], rows: Float64[Tensor, "_ h"], columns: Float64[Tensor, "_ w"]
) -> Float[Tensor, "n c _ _"]:
    """Multiplies the pixels by weight matrices along the rows and along the columns."""
    rows, columns = (weights.to(images.dtype).to(images.device, non_blocking=True) for weights in (rows, columns))
    return rows @ images @ columns.T


@lru_cache(maxsize=8)
def _enlarging(size: int) -> Float64[Tensor, "_ {size}"]:
    """Weights that upsample `size` pixels, extended by reflection, by the factor `ENLARGED`."""
    pixels = torch.arange(-LOBES, size + LOBES)
    mirrored = torch.minimum(pixels % (2 * size), -(pixels + 1) % (2 * size))
    weights = _lanczos(_samples(size, ENLARGED, 0)[:, None] - pixels)
    return torch.zeros(ENLARGED * size, size, dtype=torch.float64).index_add(1, mirrored, weights)


@lru_cache(maxsize=8)
def _shrinking(size: int) -> Float64[Tensor, "{size} _"]:
    """Weights that downsample the samples in and around the image to `size` pixels."""
    return _lanczos(torch.arange(size)[:, None] - _samples(size, SUPERSAMPLED, LOBES))


def _samples(size: int, times: int, beyond: int) -> Float64[Tensor, " _"]:
    """Positions of `times` samples per pixel, from `beyond` pixels before the first to `beyond` after the last one."""
    return (torch.arange(times * (size + 2 * beyond), dtype=torch.float64) + 0.5) / times - 0.5 - beyond


def _lanczos(distances: Float64[Tensor, "m k"]) -> Float64[Tensor, "m k"]:
    """Lanczos kernel sinc(x) sinc(x / lobes) at distances in pixels, normalised so that each row sums to 1."""
    kernel = torch.sinc(distances) * torch.sinc(distances / LOBES) * (distances.abs() < LOBES)
    return kernel / kernel.sum(1, keepdim=True)
