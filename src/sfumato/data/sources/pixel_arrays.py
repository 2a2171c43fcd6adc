"""Decoded pixels as arrays: shapes, dtypes, orientation and alpha."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sfumato.data.sources.resizing import BAND
from sfumato.errors import BadImageError

Dtype = Literal["uint8", "uint16", "float32"]

HUGE, FEW_DIGITS = 1e30, 1e-5
"""Values above `HUGE` for missing data are often declared with this relative error: -3.40282e+38."""

MOST_FIRST = 64
"""Largest length of a first axis that is interpreted as channels."""


MODES = {(1, False): "grey", (3, False): "RGB", (4, True): "RGBA"}
DEPTHS: dict[Dtype, str] = {"uint8": "8 bits", "uint16": "16 bits", "float32": "floats"}


def mode_title(channels: int, opacity: bool = False) -> str:
    """Name of a number of channels, of which the last of four may be opacity."""
    return MODES.get((channels, opacity), f"{channels} channels")


def depth_title(dtype: Dtype) -> str:
    """Name of a dtype for messages."""
    return DEPTHS[dtype]


def channels_last(array: np.ndarray) -> np.ndarray:
    """Converts (H, W), (H, W, C) or (C, H, W) to (H, W, C): the shorter of the first and last axis is the channels.

    Raises:
        BadImageError: The array has another shape.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape:
        raise BadImageError(f"its array has the shape {array.shape}, which is not that of one image")
    first, _, last = array.shape
    return np.moveaxis(array, 0, 2) if first < last and first <= MOST_FIRST else array


def kept_dtype(dtype: np.dtype[np.generic]) -> Dtype:
    """Dtype in which numbers of `dtype` are stored: "uint8", "uint16" or "float32".

    Raises:
        BadImageError: The dtype is not numeric.
    """
    match dtype.kind, dtype.itemsize:
        case ("b", _) | ("u", 1):
            return "uint8"
        case "u", 2:
            return "uint16"
        case (("f" | "u" | "i"), _):
            return "float32"
        case _:
            raise BadImageError(f"it holds {dtype}, which are not pixel values")


def as_pixels(array: np.ndarray) -> np.ndarray:
    """Converts an array to the dtype in which it is stored; True becomes 255, and floats may be NaN or infinite.

    Signed integers and integers of more than 16 bits become floats, since they have no standard value range either.

    Raises:
        BadImageError: A number does not fit into float32.
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
    """Mask of pixels without data, compared with the rounding of their dtype; bool, of the same shape."""
    if pixels.dtype.kind != "f":
        return np.asarray(pixels == nodata)
    error = FEW_DIGITS * abs(nodata) if abs(nodata) > HUGE else 0.0
    with np.errstate(over="ignore"):
        low, high = np.array([nodata - error, nodata + error]).astype(pixels.dtype)
    return np.asarray((low <= pixels) & (pixels <= high))


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
"""EXIF orientation: number of counterclockwise quarter turns, and whether to mirror horizontally afterwards."""


def apply_orientation(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation to pixels (H, W, C); invalid orientations are ignored."""
    turns, mirrored = TURNS.get(orientation, (0, False))
    pixels = np.rot90(pixels, turns)
    return pixels[:, ::-1] if mirrored else pixels


def oriented_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """(width, height) after an EXIF orientation is applied."""
    return (height, width) if TURNS.get(orientation, (0, False))[0] % 2 else (width, height)


def unpremultiplied(pixels: np.ndarray) -> np.ndarray:
    """Converts premultiplied alpha to straight alpha; fully transparent pixels become 0.

    Args:
        pixels: (H, W, C) uint8, uint16 or float32, with opacity in the last channel.

    Returns:
        Pixels of the same shape and dtype.
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


def grey_alpha_to_rgba(pixels: np.ndarray) -> np.ndarray:
    """Converts grey with alpha, (H, W, 2), to RGBA."""
    return pixels[:, :, [0, 0, 0, 1]]
