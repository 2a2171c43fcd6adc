"""Helpers for the tests of decoders."""

from __future__ import annotations

import numpy as np

from sfumato.data.sources import ImageInfo
from sfumato.data.sources.decode import open_image
from sfumato.data.sources.entry import Content
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.resizing import Frame


def read_info(content: Content, options: ReadOptions = DEFAULT_OPTIONS) -> ImageInfo:
    """Properties of an image from its header."""
    return open_image(content, options).info


def decode_pixels(content: Content, frame: Frame | None = None, options: ReadOptions = DEFAULT_OPTIONS) -> np.ndarray:
    """Pixels of an image."""
    return open_image(content, options).pixels(frame)


def shape_is_true(content: Content, options: ReadOptions = DEFAULT_OPTIONS) -> np.ndarray:
    """Decodes an image and checks that its header matches the pixels."""
    pixels = decode_pixels(content, options=options)
    shape = read_info(content, options)
    assert (shape.height, shape.width, shape.channels) == pixels.shape
    assert shape.dtype == pixels.dtype.name
    return pixels


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation, without `Image.Transpose`."""
    flipped = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}
    across = pixels.swapaxes(0, 1)
    return (flipped | {5: across, 6: across[:, ::-1], 7: across[::-1, ::-1], 8: across[::-1]})[orientation]
