"""Images of which one half is lit: how brightly is a number, and which half a category."""

import numpy as np
import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.data.labels import encoded
from sfumato.data.sources import Cell


def lit_halves(count: int, *names: str) -> ImageSet:
    """Grey images of 8x8 with the columns `light`, 0 to 1, and `side`, or those named; every tenth cell is empty."""
    random = np.random.default_rng(0)
    light, right = random.uniform(0.2, 1.0, count), random.integers(0, 2, count)
    images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    for image, value, side in zip(images, light, right, strict=True):
        image[..., 4 * side : 4 * side + 4] = round(255 * value)
    lights: list[Cell] = [None if i % 10 == 3 else float(value) for i, value in enumerate(light)]
    sides: list[Cell] = [None if i % 10 == 7 else ("left", "right")[side] for i, side in enumerate(right)]
    cells = {"light": lights, "side": sides}
    known = encoded({name: cells[name] for name in names or cells})
    return ImageSet.of(images, known.labels, known.label_names, known.columns)


def halves(images: Tensor) -> tuple[Tensor, Tensor]:
    """How brightly the left and the right half of each image is lit, 0 to 1; images (n, 1, 8, 8) in [-1, 1]."""
    left, right = ((half.mean((1, 2, 3)) + 1) / 2 for half in images.chunk(2, 3))
    return left, right
