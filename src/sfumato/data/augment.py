"""Changes that leave an image about as likely as it was. All are off unless asked for, and samples show them too."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def flipped(images: Float[Tensor, "n c h w"], draws: Float64[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """Half of the images, left to right.

    Args:
        images: on any device.
        draws: uniform in (0, 1), on the CPU; an image is flipped where its draw is below 1/2.
    """
    flips = (draws < 0.5).to(images.device, non_blocking=True)
    return torch.where(flips[:, None, None, None], images.flip(3), images)


def translated(images: Float[Tensor, "n c h w"], draws: Float64[Tensor, "n 2"], reach: int) -> Float[Tensor, "n c h w"]:
    """Each image, moved by whole pixels; what enters repeats the pixels of the edge.

    Args:
        images: on any device.
        draws: uniform in (0, 1), on the CPU: how far to the right and how far down.
        reach: the farthest move, from 0; every move of -reach ... reach is as likely.
    """
    right, down = ((2 * reach + 1) * draws - reach).floor().long().to(images.device, non_blocking=True).unbind(1)
    n, c, h, w = (torch.arange(size, device=images.device) for size in images.shape)
    rows = (h - down[:, None]).clamp(0, images.shape[2] - 1)
    columns = (w - right[:, None]).clamp(0, images.shape[3] - 1)
    return images[n[:, None, None, None], c[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
