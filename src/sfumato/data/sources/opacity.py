"""Opacity: what a file declares as such, and colours that were multiplied by it."""

from __future__ import annotations

import numpy as np

BAND = 64
"""Rows that are divided at once."""


def straight(pixels: np.ndarray) -> np.ndarray:
    """Premultiplied colours divided by their opacity; those of wholly transparent pixels are 0.

    Args:
        pixels: (H, W, C) uint8, uint16 or float32, whose last channel is opacity.

    Returns:
        The same shape and dtype.
    """
    white = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    result = np.array(pixels, order="C")
    for top in range(0, len(pixels), BAND):
        rows = pixels[top : top + BAND].astype(np.float64)
        opacity = rows[:, :, -1:]
        colours = np.divide(rows[:, :, :-1] * white, opacity, out=np.zeros_like(rows[:, :, :-1]), where=opacity > 0)
        if pixels.dtype.kind != "f":
            colours = np.rint(colours.clip(0, white))
        result[top : top + BAND, :, :-1] = colours
    return result


def coloured(pixels: np.ndarray) -> np.ndarray:
    """Grey with opacity, (H, W, 2), as RGBA."""
    return pixels[:, :, [0, 0, 0, 1]]


def from_inks(pixels: np.ndarray) -> np.ndarray:
    """Inks without a profile, (H, W, 4) uint16 CMYK, as RGB: each colour is what its ink and black let through."""
    inks = pixels.astype(np.float32) / 65535
    return np.rint(65535 * (1 - inks[:, :, :3]) * (1 - inks[:, :, 3:])).astype(np.uint16)
