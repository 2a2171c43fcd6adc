"""Features that need no network: a fixed random projection of small images."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.metrics.features.base import Features, NetworkOutput
from sfumato.metrics.features.fitting import resized

SIDE = 32
WIDTH = 512
KEY = 6


class PixelFeatures(Features):
    """512 sums of all pixels of the image at 32x32, each with a random sign.

    Distances between images are kept, with a standard deviation of 3 % (Achlioptas, "Database-friendly random
    projections", 2003). So the features tell brightness, colour and coarse shapes, and nothing of what is seen.
    """

    name = "pixels"
    width = WIDTH

    def _look(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        small = resized(images, SIDE, SIDE).flatten(1)
        return NetworkOutput(small @ projection(images.shape[1]).to(images.device), None)


@lru_cache(maxsize=4)
def projection(channels: int) -> Float32[Tensor, "pixels 512"]:
    """The signs of each pixel of images with so many channels, over the root of 512.

    They are the raw bits of Philox, which numpy keeps the same in all its versions.
    """
    words = channels * SIDE * SIDE * WIDTH // 64
    raw = np.random.Philox(key=np.array([KEY, channels], dtype=np.uint64)).random_raw(words)
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8)).reshape(-1, WIDTH)
    signs = bits.astype(np.float32) * 2 - 1
    return torch.from_numpy(signs / np.float32(WIDTH**0.5))
