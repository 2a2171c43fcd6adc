"""Pixels in arrays: which shapes and numbers are images, and how they are kept."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sfumato.data.sources.entry import BadImageError

Dtype = Literal["uint8", "uint16", "float32"]

MOST_SIXTEEN = 65535

HUGE, FEW_DIGITS = 1e30, 1e-5
"""Above `HUGE`, values of pixels without data are often declared with this relative error: -3.40282e+38."""

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
        case "u", 2:
            return "uint16"
        case (("f" | "u" | "i"), _):
            return "float32"
        case _:
            raise BadImageError(f"it holds {dtype}, which are no pixels")


def as_pixels(array: np.ndarray) -> np.ndarray:
    """The array in the dtype that it is kept in; True becomes 255, and floats may be NaN or infinite.

    Signed integers, and those of more than 16 bits, become floats: like those, they have no black and white of their
    own.

    Raises:
        BadImageError: A number does not fit into single precision.
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
    return np.asarray(array, dtype=kept)


def without_data(pixels: np.ndarray, nodata: float) -> np.ndarray:
    """Which pixels have the value of those without data, as their dtype rounds it; bool, of the same shape."""
    if pixels.dtype.kind != "f":
        return np.asarray(pixels == nodata)
    error = FEW_DIGITS * abs(nodata) if abs(nodata) > HUGE else 0.0
    with np.errstate(over="ignore"):
        low, high = np.array([nodata - error, nodata + error]).astype(pixels.dtype)
    return np.asarray((low <= pixels) & (pixels <= high))


def to_sixteen(pixels: np.ndarray, white: int) -> np.ndarray:
    """Integers in which `white` is white as uint16 in which 65535 is, rounded to the nearest."""
    if white == MOST_SIXTEEN:
        return np.asarray(pixels, np.uint16)
    table = np.rint(np.arange(white + 1) * (MOST_SIXTEEN / white)).astype(np.uint16)
    return np.asarray(table[np.minimum(pixels, white)])
