"""The built-in data set: scikit-learn's handwritten digits."""

from __future__ import annotations

import numpy as np
import torch

from sfumato.data.cache.convert import convert_channels
from sfumato.data.cache.target_format import CHANNEL_MODES
from sfumato.data.sources import Frame, ReadOptions, resized

DIGITS = "digits"
BRIGHTEST = 16


def load_digits(options: ReadOptions) -> tuple[torch.Tensor, list[int]]:
    """1,797 handwritten digits, white on black; by default grey and 8x8 pixels.

    Returns:
        Images, uint8, (1797, C, H, W), and their labels, 0 to 9.
    """
    from sklearn import datasets  # slow to import

    digits = datasets.load_digits()
    grey = np.rint(digits.images * (255 / BRIGHTEST)).astype(np.uint8)[..., None]
    frame = Frame(8, 8) if options.size is None else Frame(*options.size, options.fit)
    grey_kind = CHANNEL_MODES["grey"]
    kind = CHANNEL_MODES.get(options.channels, grey_kind)
    pixels = np.stack([convert_channels(resized(image, frame, opacity=False), grey_kind, kind) for image in grey])
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, 3, 1))), digits.target.tolist()
