"""Small networks for torch.export."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from metrics.gaussians import draws

Function = Callable[[Tensor], Tensor | tuple[Tensor, ...]]
ANY = torch.export.Dim.DYNAMIC


class Network(nn.Module):
    """A function as a module, as torch.export requires."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Values of the function."""
        return self.function(images)


def means(images: Tensor) -> Tensor:
    """Mean of each channel."""
    return images.mean((2, 3))


def classifier(images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits: twice the means of the first two channels; features: the means."""
    return 2 * means(images)[:, :2], means(images)


def corner(images: Tensor) -> Tensor:
    """Pixel in the upper left corner, which shows whether an image was resized."""
    return images[:, :, 0, 0]


def images(count: int, channels: int, side: int, seed: int = 0) -> Tensor:
    """Random images in [-1, 1]."""
    return draws(count, channels * side * side, seed).clamp(-1, 1).reshape(count, channels, side, side)


def exported(function: Function, path: Path, example: Tensor, free: tuple[int, ...] = (0,)) -> Path:
    """Writes the function as a network in a .pt2 file; the dimensions in `free` have any length."""
    program = torch.export.export(Network(function), (example,), dynamic_shapes=(dict.fromkeys(free, ANY),))
    torch.export.save(program, path)
    return path
