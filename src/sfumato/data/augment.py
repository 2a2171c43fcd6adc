"""Changes that leave an image as likely as it was. All are off unless asked for."""

import torch
from jaxtyping import Float
from torch import Tensor


def mirrored(images: Float[Tensor, "n c h w"], probability: float = 0.5) -> Float[Tensor, "n c h w"]:
    """Each image, flipped left to right at `probability`; drawn from torch's CPU generator."""
    flips = torch.rand(len(images)) < probability
    return torch.where(flips.to(images.device)[:, None, None, None], images.flip(3), images)
