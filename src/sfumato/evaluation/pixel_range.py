"""Reads images in the pixel range of the images that they are compared with."""

from dataclasses import replace

import numpy as np
import torch

from sfumato.data import ImageSet
from sfumato.data.cache.pixel_statistics import DEFAULT_RANGES, FULL_RANGES
from sfumato.data.sources import depth_title
from sfumato.errors import DataError
from sfumato.utils.depth import Depth


def in_range_of(reference: Depth, images: ImageSet, name: str) -> tuple[ImageSet, tuple[str, ...]]:
    """Reads images in the pixel range of a reference, so that equal values have equal brightness.

    Images of another dtype keep the black and white of their dtype; floats keep one of the usual ranges. Values
    outside the range are clipped.

    Returns the images, and a notice if values are clipped. `name` is the name of the images in messages.

    Raises:
        DataError: The dtypes differ, and black and white of one of them are unknown.
    """
    low, high = _matching_range(reference, images.depth, name)
    read = replace(images, depth=replace(images.depth, low=low, high=high))
    least, greatest, outside = _outside(images, low, high)
    if not outside:
        return read, ()
    return read, (
        f"Black is {low:g} and white is {high:g}, as in the data. {outside:,} of the {len(images):,} images of {name} "
        f"have values outside this range, from {least:g} to {greatest:g}, which are clipped.",
    )


def _matching_range(reference: Depth, own: Depth, name: str) -> tuple[float, float]:
    """Black and white of images that are compared with a reference."""
    if own.dtype == reference.dtype:
        return reference.range
    usual = DEFAULT_RANGES["float32"] if own.dtype == "float32" else (FULL_RANGES[own.dtype],)
    is_known = reference.is_whole or reference.range in DEFAULT_RANGES["float32"]
    candidates = [*(usual if is_known else ()), *([reference.range] if own.dtype == "float32" else [])]
    for low, high in candidates:
        if low <= own.low and own.high <= high:
            return low, high
    raise DataError(
        f"{name} has {depth_title(own.dtype)} from {own.low:g} to {own.high:g}, but the data has "
        f"{depth_title(reference.dtype)} from {reference.low:g} to {reference.high:g}: their black and white differ",
        "Save the samples with the dtype and range of the data.",
    )


def _outside(images: ImageSet, low: float, high: float) -> tuple[float, float, int]:
    """Smallest and largest value of all images, and number of images with values outside a range."""
    lows, highs = [], []
    for places in torch.arange(len(images)).split(256):
        pixels = images.select(places).images.flatten(1).numpy()
        lows.append(pixels.min(axis=1))
        highs.append(pixels.max(axis=1))
    least, greatest = np.concatenate(lows), np.concatenate(highs)
    return float(least.min()), float(greatest.max()), int(((least < low) | (greatest > high)).sum())
