"""Pixels in arrays: which shapes and numbers are images, and how they are kept."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sfumato.sources.entry import BadImageError

Dtype = Literal["uint8", "uint16", "float32"]

MOST_SIXTEEN = 65535

MOST_FIRST = 64
"""A first axis that is shorter than the last is the channels, if it is at most this long."""


MODES = {(1, False): "grey", (3, False): "RGB", (4, True): "RGBA"}
DEPTHS: dict[Dtype, str] = {"uint8": "8 bits", "uint16": "16 bits", "float32": "floats"}


def mode_title(channels: int, opacity: bool = False) -> str:
    """Channels as a person calls them.

    Args:
        channels: How many there are.
        opacity: Whether the last of four is opacity.
    """
    return MODES.get((channels, opacity), f"{channels} channels")


def depth_title(dtype: Dtype) -> str:
    """A dtype, as a person calls it."""
    return DEPTHS[dtype]


def arranged(array: np.ndarray) -> np.ndarray:
    """An array of (H, W), (H, W, C) or (C, H, W) as (H, W, C): the shorter end is the channels.

    Raises:
        BadImageError: Its shape is none of these.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape:
        raise BadImageError(f"its array has the shape {array.shape}, which is not that of one image")
    first, _, last = array.shape
    return np.moveaxis(array, 0, 2) if first < last and first <= MOST_FIRST else array


def kept_dtype(dtype: np.dtype[np.generic]) -> Dtype:
    """The dtype that numbers of `dtype` are kept in: "uint8", "uint16" or "float32".

    Raises:
        BadImageError: They are no pixels.
    """
    match dtype.kind, dtype.itemsize:
        case ("b", _) | ("u", 1):
            return "uint8"
        case "f", _:
            return "float32"
        case (("u" | "i"), _):
            return "uint16"
        case _:
            raise BadImageError(f"it holds {dtype}, which are no pixels")


def as_pixels(array: np.ndarray) -> np.ndarray:
    """The array in the dtype that it is kept in; True becomes 255, and floats may be NaN or infinite.

    Raises:
        BadImageError: A number does not fit into 16 bits or single precision.
    """
    kept = kept_dtype(array.dtype)
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if kept == "float32" and array.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            single = array.astype(np.float32)
        if (np.isinf(single) & np.isfinite(array)).any():
            raise BadImageError("its values are too large for 32-bit floats; scale them down")
        return single
    if kept == "uint16" and array.dtype != np.uint16 and (array.min() < 0 or array.max() > MOST_SIXTEEN):
        raise BadImageError("its values lie outside 0..65535; save it with 8 or 16 bits, or as floats")
    return np.asarray(array, dtype=kept)


def to_sixteen(pixels: np.ndarray, white: int) -> np.ndarray:
    """Integers in which `white` is white as uint16 in which 65535 is, rounded to the nearest."""
    if white == MOST_SIXTEEN:
        return np.asarray(pixels, np.uint16)
    table = np.rint(np.arange(white + 1) * (MOST_SIXTEEN / white)).astype(np.uint16)
    return np.asarray(table[np.minimum(pixels, white)])
