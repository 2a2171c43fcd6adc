"""The data set that needs no folder: scikit-learn's handwritten digits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from sfumato.data.cache.convert import in_channels
from sfumato.data.cache.survey import BY_NAME
from sfumato.data.sources import Frame, ReadOptions, fitted

DIGITS = "digits"
BRIGHTEST = 16


class Digits(NamedTuple):
    """1,797 handwritten digits.

    Attributes:
        images: uint8, (1797, C, H, W), bright on black.
        labels: int64, (1797,).
    """

    images: torch.Tensor
    labels: torch.Tensor


def load_digits(options: ReadOptions) -> Digits:
    """Load the digits; they are grey and of 8 pixels a side, unless something else is chosen."""
    from sklearn import datasets  # takes a second to import

    digits = datasets.load_digits()
    grey = np.rint(digits.images * (255 / BRIGHTEST)).astype(np.uint8)[..., None]
    frame = Frame(8, 8) if options.size is None else Frame(*options.size, options.fit)
    grey_kind = BY_NAME["grey"]
    kind = BY_NAME.get(options.channels, grey_kind)
    pixels = np.stack([in_channels(fitted(image, frame, opacity=False), grey_kind, kind) for image in grey])
    images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, 3, 1)))
    return Digits(images, torch.from_numpy(digits.target.astype(np.int64)))
