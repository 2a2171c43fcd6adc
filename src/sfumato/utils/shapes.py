"""Types of tensors, and conversion of time-dependent coefficients for a batch of images."""

import math

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

Images = Float[Tensor, "n c h w"]
"""Batch of images or noisy images; data are in [-1, 1]."""

Times = Float64[Tensor, "..."]
"""Diffusion times in [0, 1], 0 = clean, 1 = noise: one for the batch, shape (), or one per image, shape (n,)."""

Classes = Int64[Tensor, " n"]
"""Class index of each image; `UNLABELLED` if it has none."""

UNLABELLED = -1

AugmentationLabels = Float32[Tensor, "n a"]
"""Parameters of the augmentation of each image (`data.augmentation`); zeros if it was not augmented."""

Rows = Float32[Tensor, "n columns"]
"""Conditions of each image, encoded by `sfumato.data.conditions`; NaN if unknown."""

Labels = Classes | Rows
"""Conditioning of a model: class indices or rows of conditions."""


def unlabelled(labels: Labels) -> Labels:
    """Labels of the same type and number without information."""
    return torch.full_like(labels, math.nan if labels.is_floating_point() else UNLABELLED)


def over(coefficient: Times, images: Images) -> Float[Tensor, "*_"]:
    """Converts a float64 coefficient, shape () or (n,), to the dtype and device of `images`, to multiply them.

    The shape becomes () or (n, 1, 1, 1). The dtype is converted before the device, since not all devices support
    float64. A scalar on the CPU remains there: kernels accept it as an argument, while a copy would synchronise.
    """
    if coefficient.ndim == 0:
        return coefficient.to(images.dtype)
    return coefficient.reshape(-1, 1, 1, 1).to(images.dtype).to(images.device)


def for_each(coefficient: Times, images: Images) -> Float32[Tensor, " n"]:
    """Converts a float64 coefficient, shape () or (n,), to one float32 value per image, on the device of `images`.

    A scalar on the CPU is moved without synchronisation.
    """
    if coefficient.ndim == 0 and coefficient.device.type == "cpu":
        return torch.full((images.shape[0],), coefficient.item(), dtype=torch.float32, device=images.device)
    return coefficient.float().to(images.device).expand(images.shape[0])
