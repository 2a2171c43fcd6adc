"""Images as networks expect them: in RGB, and of the size they were trained on."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from sfumato.errors import DataError


def as_rgb(images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n 3 h w"]:
    """Images in [-1, 1] with three channels: grey is repeated, and transparent ones are laid on white.

    Raises:
        DataError: They have other than 1, 3 or 4 channels.
    """
    match images.shape[1]:
        case 1:
            return images.expand(-1, 3, -1, -1)
        case 3:
            return images
        case 4:
            opacity = (images[:, 3:] + 1) / 2
            return images[:, :3] * opacity + (1 - opacity)
        case channels:
            raise DataError(
                f"Images of {channels} channels are no pictures that a network of RGB images knows",
                "Take features=pixels, which know any channels.",
            )


def resized(
    images: Float32[Tensor, "n c h w"],
    height: int | None,
    width: int | None,
    mode: Literal["bilinear", "bicubic"] = "bilinear",
) -> Float32[Tensor, "n c height2 width2"]:
    """Images of this size, antialiased where they shrink; None keeps a side as it is."""
    size = (height or images.shape[2], width or images.shape[3])
    if size == tuple(images.shape[2:]):
        return images
    return F.interpolate(images, size, mode=mode, antialias=True, align_corners=False)
