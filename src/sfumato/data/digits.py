"""The data set that needs no folder: scikit-learn's handwritten digits."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from sfumato.data.decode import Channels, fit, to_array
from sfumato.data.imageset import ImageSet

BRIGHTEST = 16


def load_digits(size: int | None, channels: Channels, labels: bool) -> ImageSet:
    """Load 1,797 handwritten digits, bright on black, 8 pixels a side.

    Args:
        size: The side to resize to; None keeps 8.
        channels: "grey" is what they are; the others are converted.
        labels: Whether to label each image with its digit.

    Returns:
        Images named "0" to "9", or unlabelled ones.
    """
    from sklearn import datasets  # takes a second to import

    digits = datasets.load_digits()
    grey = np.rint(digits.images * (255 / BRIGHTEST)).astype(np.uint8)
    pixels = np.stack([to_array(fit(Image.fromarray(image), size), channels) for image in grey])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    if not labels:
        return ImageSet(images, None)
    return ImageSet(images, torch.from_numpy(digits.target.astype(np.int64)), tuple("0123456789"))
