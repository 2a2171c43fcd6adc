"""Small grey copies of images, and perceptual hashes of them."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.data import ImageSet

SIDE = 32
"""The height and width of a thumbnail."""

HASH_SIDE = 8
"""A perceptual hash has this many bits squared."""

MOST_VALUES = 1 << 22
"""Values of images that are read at a time, unless a single image has more."""


def thumbnails(images: ImageSet) -> Tensor:
    """The images in grey, at 32x32 pixels: float32 in [0, 1], (N, 1024), for N of at least 1."""
    size = max(1, MOST_VALUES // prod(images.image_shape))
    small = []
    for places in torch.arange(len(images)).split(size):
        grey = images.select(places).floats()[:, :3].mean(1, keepdim=True)
        small.append(F.interpolate(grey, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False))
    return (torch.cat(small).flatten(1) + 1) / 2


def perceptual_hashes(thumbs: Tensor) -> np.ndarray:
    """64 bits for each thumbnail (N, 1024): which of its lowest frequencies are above their median; uint64, (N,)."""
    basis = _cosines()
    frequencies = torch.einsum("ui,nij,vj->nuv", basis, thumbs.reshape(-1, SIDE, SIDE), basis).flatten(1)
    bits = frequencies > frequencies[:, 1:].median(dim=1, keepdim=True).values
    packed: np.ndarray = np.packbits(bits.numpy(), axis=1).view(">u8")[:, 0].astype(np.uint64)
    return packed


def _cosines() -> Tensor:
    """The first rows of the discrete cosine transform (DCT-II), (8, 32)."""
    frequency, place = torch.arange(HASH_SIDE)[:, None], torch.arange(SIDE)[None]
    return torch.cos(torch.pi * frequency * (2 * place + 1) / (2 * SIDE))
