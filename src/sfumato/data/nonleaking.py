"""Augmentation that does not leak into samples, for small data sets: EDM's (arXiv 2206.00364, appendix F.2, table 6).

An image is flipped, scaled, turned, stretched and moved, and the network is told how. Asked about an image to which
nothing was done, as when sampling, it draws what such images look like.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from sfumato.data.affine import resampled

Column = Float64[Tensor, " n"]

DRAWS = 12
"""Uniform numbers that the transforms of an image are made of."""

AUGMENTATION_FEATURES = 9
"""Numbers in which the network is told the transforms of an image."""

SCALE_STEP = 0.2
"""Standard deviation of the doublings by which an image is scaled, and stretched."""

SHIFT_STEP = 1 / 8
"""Standard deviation of the shift, each way, as a share of the size."""


class Transforms(NamedTuple):
    """What is done to each image, in this order; on the CPU, 0 for nothing.

    Attributes:
        flip_x: 1 for left to right.
        flip_y: 1 for top to bottom.
        scale: `SCALE_STEP` doublings of the size.
        turn: radians; positive from the x axis (right) towards the y axis (down).
        stretch: `SCALE_STEP` doublings of the length along an axis, and halvings across it.
        axis: of the stretch; radians, as those of `turn`.
        shift_x: `SHIFT_STEP` widths to the right.
        shift_y: `SHIFT_STEP` heights down.
    """

    flip_x: Column
    flip_y: Column
    scale: Column
    turn: Column
    stretch: Column
    axis: Column
    shift_x: Column
    shift_y: Column


def draw_transforms(draws: Float64[Tensor, "n 12"], probability: float) -> Transforms:
    """Random transforms: half of the images are flipped in x, and each other transform has a probability of its own.

    Args:
        draws: uniform in (0, 1), on the CPU.
        probability: of each transform (half of it for the flip in y), 0 to 1. EDM's: 0.12 for CIFAR-10, 0.15 for FFHQ
            and AFHQ.
    """
    mirrors, upends, *others = draws.unbind(1)
    scales, scale, turns, turn, stretches, stretch, axis, shifts, shift_x, shift_y = others

    def sometimes(chance: Column, value: Column) -> Column:
        return torch.where(chance < probability, value, 0.0)

    return Transforms(
        flip_x=(mirrors < 1 / 2).double(),
        flip_y=(upends < probability / 2).double(),
        scale=sometimes(scales, torch.special.ndtri(scale)),
        turn=sometimes(turns, math.pi * (2 * turn - 1)),
        stretch=sometimes(stretches, torch.special.ndtri(stretch)),
        axis=sometimes(stretches, math.pi * axis),
        shift_x=sometimes(shifts, torch.special.ndtri(shift_x)),
        shift_y=sometimes(shifts, torch.special.ndtri(shift_y)),
    )


def augmentation_labels(transforms: Transforms) -> Float32[Tensor, "n 9"]:
    """What a network is told of the transforms: 0 for what was not done, and enough to know the rest.

    The numbers are EDM's but for the axis of the stretch, of which we tell the cosine and sine of twice the angle: an
    axis is the same after half a turn, and EDM's numbers are the same for a stretch and for the opposite squeeze.
    """
    t = transforms
    stretch_x, stretch_y = t.stretch * (2 * t.axis).cos(), t.stretch * (2 * t.axis).sin()
    numbers = (t.flip_x, t.flip_y, t.scale, t.turn.cos() - 1, t.turn.sin(), stretch_x, stretch_y, t.shift_x, t.shift_y)
    return torch.stack(numbers, dim=1).float()


def apply_transforms(images: Float[Tensor, "n c h w"], transforms: Transforms) -> Float[Tensor, "n c h w"]:
    """The images with their transforms; beyond its borders an image goes on as its mirror image.

    Flips are exact. All else is one resampling, of those images alone that need it; which ones is known on the CPU, so
    that nothing is read back from a device.

    Args:
        images: in [-1, 1], on any device.
        transforms: one an image.

    Returns:
        Images in [-1, 1].
    """
    t, (height, width) = transforms, images.shape[2:]
    images = torch.where(_each(t.flip_x, images), images.flip(3), images)
    images = torch.where(_each(t.flip_y, images), images.flip(2), images)
    moved = torch.stack([t.scale, t.turn, t.stretch, t.shift_x, t.shift_y]).any(0).nonzero()[:, 0]
    places = moved.to(images.device, non_blocking=True)
    return images.index_copy(0, places, resampled(images[places], _sources(t, height, width)[moved]))


def _each(flips: Column, images: Float[Tensor, "n c h w"]) -> Tensor:
    return flips.bool().to(images.device, non_blocking=True)[:, None, None, None]


def _sources(t: Transforms, height: int, width: int) -> Float64[Tensor, "n 2 3"]:
    """The maps from where a pixel goes to where it comes from: the inverse of the scale, then turn, stretch and shift.

    Both are (x, y) in pixels from the centre.
    """
    axis, squeeze = _rotation(t.axis), torch.exp2(-SCALE_STEP * t.stretch)
    unstretch = axis @ torch.diag_embed(torch.stack([squeeze, 1 / squeeze], dim=1)) @ axis.mT
    linear = torch.exp2(-SCALE_STEP * t.scale)[:, None, None] * _rotation(-t.turn) @ unstretch
    shift = SHIFT_STEP * torch.stack([width * t.shift_x, height * t.shift_y], dim=1)
    return torch.cat([linear, -linear @ shift[:, :, None]], dim=2)


def _rotation(angle: Column) -> Float64[Tensor, "n 2 2"]:
    """By an angle from the x axis towards the y axis."""
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).reshape(-1, 2, 2)
