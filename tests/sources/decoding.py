"""What the tests of decoding share."""

from __future__ import annotations

import numpy as np

from sfumato.sources.decode import Shape, pixels_of, shape_of
from sfumato.sources.entry import Content


def shape_is_true(content: Content) -> np.ndarray:
    """The pixels, whose header has promised just what they are."""
    pixels = pixels_of(content)
    height, width, channels = pixels.shape
    assert shape_of(content) == Shape(width, height, channels, pixels.dtype.name)  # type: ignore[arg-type]
    return pixels


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as EXIF says, of which `Image.Transpose` knows nothing."""
    flipped = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}
    across = pixels.swapaxes(0, 1)
    return (flipped | {5: across, 6: across[:, ::-1], 7: across[::-1, ::-1], 8: across[::-1]})[orientation]
