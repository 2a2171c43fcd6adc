"""The built-in data set of handwritten digits.

`digits.npz` holds the test set of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI
Machine Learning Repository, doi:10.24432/C50P49, licensed CC BY 4.0; unchanged, with values from 0 to 16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sfumato.data.labels import LABEL
from sfumato.data.sources import Frame, ReadOptions, resize_image

BRIGHTEST = 16


def load_digits(options: ReadOptions) -> tuple[torch.Tensor, dict[str, list[int]]]:
    """1,797 handwritten digits, grey, white on black; by default 8x8 pixels.

    Returns:
        Images, uint8, (1797, 1, H, W), and their column `label`, 0 to 9.
    """
    with np.load(Path(__file__).with_name("digits.npz")) as digits:
        stored, labels = digits["images"], digits["labels"]
    grey = np.rint(stored * (255 / BRIGHTEST)).astype(np.uint8)[..., None]
    frame = Frame(8, 8) if options.size is None else Frame(*options.size, options.fit)
    pixels = np.stack([resize_image(image, frame, opacity=False) for image in grey])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), {LABEL: labels.tolist()}
