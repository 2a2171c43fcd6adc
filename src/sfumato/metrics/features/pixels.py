"""Pixel features: a fixed random projection of downscaled images, without a network."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.metrics.features.base import Features, NetworkOutput, resized

SIDE = 32
WIDTH = 512
KEY = 6


class PixelFeatures(Features):
    """512 sums of the pixels of the image at 32x32 with random signs.

    The projection preserves distances between images, with a standard deviation of 3 % (Achlioptas, "Database-friendly
    random projections", 2003). The features describe brightness, colour and coarse shapes, but not the content.
    """

    name = "pixels"

    def _outputs(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        small = resized(images, SIDE, SIDE).flatten(1)
        return NetworkOutput(small @ projection(images.shape[1]).to(images.device), None)


@lru_cache(maxsize=4)
def projection(channels: int) -> Float32[Tensor, "pixels 512"]:
    """Random signs divided by the square root of 512, for images of this number of channels.

    The signs are the raw bits of Philox, which are the same in all versions of numpy.
    """
    words = channels * SIDE * SIDE * WIDTH // 64
    raw = np.random.Philox(key=np.array([KEY, channels], dtype=np.uint64)).random_raw(words)
    bits = np.unpackbits(raw.astype("<u8").view(np.uint8)).reshape(-1, WIDTH)
    signs = bits.astype(np.float32) * 2 - 1
    return torch.from_numpy(signs / np.float32(WIDTH**0.5))
