"""Images turned upright, as EXIF and TIFF write it down."""

from __future__ import annotations

import numpy as np

TURNS = {
    1: (0, False),
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}
"""EXIF orientation: quarter turns counterclockwise, then whether to mirror left and right."""


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels (H, W, C) upright; an orientation that is none of EXIF's turns nothing."""
    turns, mirrored = TURNS.get(orientation, (0, False))
    pixels = np.rot90(pixels, turns)
    return pixels[:, ::-1] if mirrored else pixels


def turned_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """The (width, height) of the upright image."""
    return (height, width) if TURNS.get(orientation, (0, False))[0] % 2 else (width, height)
