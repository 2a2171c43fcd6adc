"""Augmentation: flips, translations, and EDM's non-leaking augmentation for small data sets.

Non-leaking augmentation (EDM, arXiv 2206.00364, appendix F.2, table 6) flips, scales, rotates, stretches and shifts
images, and gives the parameters to the network as augmentation labels. At sampling time all labels are 0, so that
samples look like the original images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from sfumato.data.affine import affine_resample
from sfumato.data.rng import Purpose, uniform
from sfumato.utils.shapes import AugmentationLabels, Images

PerImage = Float64[Tensor, " n"]

DRAWS = 12
"""Uniform random numbers per image for its transforms."""

AUGMENTATION_FEATURES = 9
"""Size of the augmentation labels."""

SCALE_STEP = 0.2
"""Standard deviation of log2 of the scale factor and of the stretch factor."""

SHIFT_STEP = 1 / 8
"""Standard deviation of the shift along each axis, as a fraction of the image size."""


def augmented(
    x_0: Images, flip: bool, translate: int, probability: float, seed: int, start: int
) -> tuple[Images, AugmentationLabels | None]:
    """Augments a batch of training images.

    Args:
        x_0: images at the positions `start`, `start + 1`, ... of the endless stream of epochs, on any device.
        flip: flips each image horizontally with probability 1/2.
        translate: largest shift in pixels; 0 for none.
        probability: of each non-leaking transform, see `draw_transforms`; 0 disables them.
        seed: seed of the run.
        start: number of images seen before this batch.

    Returns:
        The augmented images, and their augmentation labels; None if `probability` is 0.
    """

    def draws(purpose: Purpose, width: int) -> Float64[Tensor, "_ _"]:
        return uniform(seed, purpose, start, len(x_0), width)

    if flip:
        x_0 = flipped(x_0, draws(Purpose.FLIP, 1)[:, 0])
    if translate:
        x_0 = translated(x_0, draws(Purpose.TRANSLATION, 2), translate)
    if not probability:
        return x_0, None
    transforms = draw_transforms(draws(Purpose.NONLEAKING, DRAWS), probability)
    labels = augmentation_labels(transforms).to(x_0.device, non_blocking=True)
    return apply_transforms(x_0, transforms), labels


def flipped(images: Float[Tensor, "n c h w"], draws: Float64[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """Flips images horizontally with probability 1/2.

    Args:
        images: on any device.
        draws: uniform in (0, 1), on the CPU; an image is flipped if its number is below 1/2.
    """
    flips = (draws < 0.5).to(images.device, non_blocking=True)
    return torch.where(flips[:, None, None, None], images.flip(3), images)


def translated(images: Float[Tensor, "n c h w"], draws: Float64[Tensor, "n 2"], reach: int) -> Float[Tensor, "n c h w"]:
    """Shifts each image by whole pixels; new pixels repeat the edge.

    Args:
        images: on any device.
        draws: uniform in (0, 1), on the CPU; they select the shift to the right and the shift down.
        reach: largest shift in pixels, from 0; all shifts from -reach to reach are equally likely.
    """
    right, down = ((2 * reach + 1) * draws - reach).floor().long().to(images.device, non_blocking=True).unbind(1)
    n, c, h, w = (torch.arange(size, device=images.device) for size in images.shape)
    rows = (h - down[:, None]).clamp(0, images.shape[2] - 1)
    columns = (w - right[:, None]).clamp(0, images.shape[3] - 1)
    return images[n[:, None, None, None], c[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]


class Transforms(NamedTuple):
    """Transforms of each image in the order in which they are applied; on the CPU, 0 for identity.

    Attributes:
        flip_x: 1 for a horizontal flip.
        flip_y: 1 for a vertical flip.
        scale: log2 of the scale factor, in units of `SCALE_STEP`.
        turn: rotation in radians; positive from the x axis (right) towards the y axis (down).
        stretch: log2 of the stretch factor along `axis`, in units of `SCALE_STEP`; the perpendicular axis shrinks by
            the same factor.
        axis: direction of the stretch in radians, measured as `turn`.
        shift_x: shift to the right, in units of `SHIFT_STEP` widths.
        shift_y: shift down, in units of `SHIFT_STEP` heights.
    """

    flip_x: PerImage
    flip_y: PerImage
    scale: PerImage
    turn: PerImage
    stretch: PerImage
    axis: PerImage
    shift_x: PerImage
    shift_y: PerImage


def draw_transforms(draws: Float64[Tensor, "n 12"], probability: float) -> Transforms:
    """Samples random transforms: a horizontal flip with probability 1/2, each other transform with `probability`.

    Args:
        draws: uniform in (0, 1), on the CPU.
        probability: of each transform (half of it for the vertical flip), 0 to 1. EDM uses 0.12 for CIFAR-10 and 0.15
            for FFHQ and AFHQ.
    """
    mirrors, upends, *others = draws.unbind(1)
    scales, scale, turns, turn, stretches, stretch, axis, shifts, shift_x, shift_y = others

    def sometimes(chance: PerImage, value: PerImage) -> PerImage:
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
    """Augmentation labels for the network; all 0 for an image without transforms.

    They are EDM's labels with one change: the stretch is multiplied by the cosine and sine of twice the angle of its
    axis. An axis is the same after half a turn, and EDM's labels do not distinguish a stretch from its inverse.
    """
    t = transforms
    stretch_x, stretch_y = t.stretch * (2 * t.axis).cos(), t.stretch * (2 * t.axis).sin()
    numbers = (t.flip_x, t.flip_y, t.scale, t.turn.cos() - 1, t.turn.sin(), stretch_x, stretch_y, t.shift_x, t.shift_y)
    return torch.stack(numbers, dim=1).float()


def apply_transforms(images: Float[Tensor, "n c h w"], transforms: Transforms) -> Float[Tensor, "n c h w"]:
    """Applies transforms to images; the border is extended by reflection.

    Flips are exact. The other transforms are one resampling, only of the images that need it. These images are selected
    on the CPU, which avoids a synchronization with the device.

    Args:
        images: in [-1, 1], on any device.
        transforms: one for each image.

    Returns:
        The transformed images, in [-1, 1].
    """
    t, (height, width) = transforms, images.shape[2:]
    images = torch.where(_each(t.flip_x, images), images.flip(3), images)
    images = torch.where(_each(t.flip_y, images), images.flip(2), images)
    moved = torch.stack([t.scale, t.turn, t.stretch, t.shift_x, t.shift_y]).any(0).nonzero()[:, 0]
    places = moved.to(images.device, non_blocking=True)
    return images.index_copy(0, places, affine_resample(images[places], _sources(t, height, width)[moved]))


def _each(flips: PerImage, images: Float[Tensor, "n c h w"]) -> Tensor:
    return flips.bool().to(images.device, non_blocking=True)[:, None, None, None]


def _sources(t: Transforms, height: int, width: int) -> Float64[Tensor, "n 2 3"]:
    """Maps from output to input coordinates: the inverse of scaling, rotation, stretching and shifting in this order.

    Coordinates are (x, y) in pixels from the centre.
    """
    axis, squeeze = _rotation(t.axis), torch.exp2(-SCALE_STEP * t.stretch)
    unstretch = axis @ torch.diag_embed(torch.stack([squeeze, 1 / squeeze], dim=1)) @ axis.mT
    linear = torch.exp2(-SCALE_STEP * t.scale)[:, None, None] * _rotation(-t.turn) @ unstretch
    shift = SHIFT_STEP * torch.stack([width * t.shift_x, height * t.shift_y], dim=1)
    return torch.cat([linear, -linear @ shift[:, :, None]], dim=2)


def _rotation(angle: PerImage) -> Float64[Tensor, "n 2 2"]:
    """Rotation matrices from the x axis towards the y axis."""
    return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).reshape(-1, 2, 2)
