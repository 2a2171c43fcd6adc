"""How much an image varies from coarse to fine: its power spectrum, averaged over directions, by octaves."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float64
from torch import Tensor

BANDS = ("coarse structure", "structure", "detail", "fine detail")
"""Octaves of the frequency, the lowest with all below: up to 1/16, 1/8, 1/4 and all cycles a pixel."""

EDGES = (0.0, 1 / 16, 1 / 8, 1 / 4, 1.0)


def band_powers(grey: Float64[Tensor, "n h w"]) -> Float64[Tensor, "n bands"]:
    """The mean square of what each band adds to images, apart from their mean; 0 where a size has no such band.

    By Parseval, an image's variance is the sum of its bands.
    """
    height, width = grey.shape[1:]
    power = torch.fft.fft2(grey).abs().square() / (height * width) ** 2
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)).to(grey)
    pairs = pairwise(EDGES)
    return torch.stack([power[:, (frequency > low) & (frequency <= high)].sum(1) for low, high in pairs], 1)
