"""The tensors that travel between the rooms, by name, and how a coefficient of time meets a batch of images."""

import math

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

Images = Float[Tensor, "n c h w"]
"""A batch of images, or of their noisy versions; data lie in [-1, 1]."""

Times = Float64[Tensor, "..."]
"""Diffusion times in [0, 1], 0 = clean, 1 = noise: one for the batch, shape (), or one an image, shape (n,)."""

Classes = Int64[Tensor, " n"]
"""Class indices, one an image; `UNLABELLED` where an image has none."""

UNLABELLED = -1

AugmentationLabels = Float32[Tensor, "n a"]
"""What was done to each image, as `data.nonleaking.told` says it; zeros where nothing was."""

Rows = Float32[Tensor, "n columns"]
"""Conditions, a row an image, as `sfumato.data.conditions` encodes them; NaN where one is not known."""

Labels = Classes | Rows
"""What a model is told of images: classes or rows, whichever it was trained with."""


def unlabelled(labels: Labels) -> Labels:
    """As many labels of the same kind, none of which says anything."""
    return torch.full_like(labels, math.nan if labels.is_floating_point() else UNLABELLED)


def over(coefficient: Times, images: Images) -> Float[Tensor, "*_"]:
    """A float64 coefficient, shape () or (n,), made to multiply `images`: of their dtype, and on their device.

    Its shape becomes () or (n, 1, 1, 1). The cast comes before the move, since not every device knows float64. One
    number for all images stays on the CPU if it is there: it goes to the device inside the instruction that uses it,
    whereas a copy would make the host wait for everything before.
    """
    if coefficient.ndim == 0:
        return coefficient.to(images.dtype)
    return coefficient.reshape(-1, 1, 1, 1).to(images.dtype).to(images.device)


def for_each(coefficient: Times, images: Images) -> Float32[Tensor, " n"]:
    """A float64 coefficient, shape () or (n,), as float32, one for each of `images`, on their device.

    One number on the CPU for all images goes there as `over` says.
    """
    if coefficient.ndim == 0 and coefficient.device.type == "cpu":
        return torch.full((len(images),), coefficient.item(), dtype=torch.float32, device=images.device)
    return coefficient.float().to(images.device).expand(len(images))
