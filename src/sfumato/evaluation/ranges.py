"""The values of some images, read in the range of others that they are compared with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sfumato.data import ImageSet
from sfumato.data.cache.values import DEFAULT_RANGES, WHOLE
from sfumato.data.sources import depth_title
from sfumato.errors import DataError
from sfumato.utils.depth import Depth

PIECE = 256
"""Images whose values are read at a time."""


def read_as(reference: Depth, images: ImageSet, name: str) -> tuple[ImageSet, tuple[str, ...]]:
    """The images, their values read in the range of a reference: equal numbers are equally bright.

    Of another dtype they have the black and white of their dtype; floats one of the usual ranges. Values outside the
    range are clipped.

    Args:
        reference: How the pixels that they are compared with are written.
        images: Of any dtype.
        name: Of the images, for messages.

    Returns:
        The images, and sentences on what was decided.

    Raises:
        DataError: The dtypes differ, and black and white of one of them is unknown.
    """
    low, high = range_in(reference, images, name)
    read = replace(images, depth=replace(images.depth, low=low, high=high))
    least, greatest, outside = _outside(images, low, high)
    if not outside:
        return read, ()
    return read, (
        f"Values from {low:g} to {high:g} are taken as black and white, as in the data. In {outside:,} of the "
        f"{len(images):,} images of {name} there are others, from {least:g} to {greatest:g}, which are clipped.",
    )


def range_in(reference: Depth, images: ImageSet, name: str) -> tuple[float, float]:
    """Black and white of images that are compared with others; see `read_as`."""
    own = images.depth
    if own.dtype == reference.dtype:
        return reference.range
    usual = DEFAULT_RANGES["float32"] if own.dtype == "float32" else (WHOLE[own.dtype],)
    is_known = reference.is_whole or reference.range in DEFAULT_RANGES["float32"]
    candidates = [*(usual if is_known else ()), *([reference.range] if own.dtype == "float32" else [])]
    for low, high in candidates:
        if low <= own.low and own.high <= high:
            return low, high
    raise DataError(
        f"{name} has {depth_title(own.dtype)} from {own.low:g} to {own.high:g}, and the data "
        f"{depth_title(reference.dtype)} from {reference.low:g} to {reference.high:g}, so that black and white differ",
        "Save the samples in the numbers of the data.",
    )


def _outside(images: ImageSet, low: float, high: float) -> tuple[float, float, int]:
    """The least and the greatest value of all images, and how many images have values outside a range."""
    lows, highs = [], []
    for places in torch.arange(len(images)).split(PIECE):
        pixels = images.select(places).images.flatten(1).numpy()
        lows.append(pixels.min(axis=1))
        highs.append(pixels.max(axis=1))
    least, greatest = np.concatenate(lows), np.concatenate(highs)
    return float(least.min()), float(greatest.max()), int(((least < low) | (greatest > high)).sum())
