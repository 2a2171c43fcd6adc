"""Random images that are all different, and a search among them."""

import torch
from torch import Tensor

from sfumato.metrics.memorization.search import Closest, Search


def blobs(count: int, seed: int, side: int = 16, channels: int = 3) -> Tensor:
    """Images of four soft discs of random places, sizes and colours: (count, channels, side, side) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    axis = torch.arange(side) / side
    images = 0.6 * uniform(count, channels, 1, 1) - 0.3
    for _ in range(4):
        down, right = uniform(2, count, 1, 1, 1)
        away = (axis[:, None] - down).square() + (axis - right).square()
        inside = torch.sigmoid(60 * (0.05 + 0.15 * uniform(count, 1, 1, 1) - away))
        images = torch.lerp(images, 2 * uniform(count, channels, 1, 1) - 1, inside)
    return images


def noise(like: Tensor, deviation: float, seed: int) -> Tensor:
    """Gaussian noise of the shape of `like`."""
    return deviation * torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def closest(queries: Tensor, base: Tensor, count: int, *, reach: int, flips: bool = True) -> Closest:
    """One search for the `count` images in `base` that are closest to each query."""
    return Search(base, reach=reach, flips=flips).closest(queries, count)
