"""One image, from its content to what it becomes in a store."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from sfumato.data.cache.survey import Kind, Layout
from sfumato.data.cache.values import Values, values_of
from sfumato.data.sources import BadImageError, ReadOptions, depth_title, fitted, mode_title
from sfumato.data.sources.decode import Picture
from sfumato.data.sources.frame import BAND, GREY, RGB, RGBA
from sfumato.data.sources.pixels import Dtype, without_data

WHITE = {"uint8": 255, "uint16": 65535, "float32": 1.0}
"""The brightest value of a depth, which also is what opacity is counted in."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""The share of red, green and blue in brightness (ITU-R 601-2), as in Pillow."""


class Converted(NamedTuple):
    """An image as a store keeps it.

    Attributes:
        pixels: (C, H, W).
        values: Of its pixels before it was resized.
    """

    pixels: np.ndarray
    values: Values


def converted(picture: Picture, pixels: np.ndarray, layout: Layout, options: ReadOptions) -> Converted:
    """A decoded image: its gaps filled, resized, in the channels and dtype of the layout.

    Args:
        picture: The image.
        pixels: (H, W, C), as it was decoded for the frame of the layout.
        layout: What it becomes.
        options: How it is read.

    Raises:
        BadImageError: It holds no data, or cannot become what the layout is.
    """
    shape = picture.shape
    pixels, missing = filled(pixels, picture.nodata if options.nodata is None else options.nodata)
    values = values_of(in_depth(pixels, layout.dtype), missing)
    present, wanted = Kind(shape.channels, shape.opacity), layout.kind
    if options.channels == "rgb" and present.channels > RGB and not present.opacity:
        pixels, present = pixels[:, :, :RGB], wanted  # the first three of several plain channels, as requested
    pixels = in_depth(fitted(pixels, layout.frame, shape.opacity), layout.dtype)
    return Converted(in_channels(pixels, present, wanted).transpose(2, 0, 1), values)


def filled(pixels: np.ndarray, nodata: float | None) -> tuple[np.ndarray, float]:
    """An image whose pixels without data have the mean of the others, channel by channel.

    Pixels have no data if they are not finite, or equal `nodata`.

    Args:
        pixels: (H, W, C).
        nodata: The value of pixels without data, beside those that are not finite.

    Returns:
        The image, and the share of values that were filled.

    Raises:
        BadImageError: A channel has no data at all.
    """
    gaps = ~np.isfinite(pixels) if pixels.dtype.kind == "f" else np.zeros((), bool)
    if nodata is not None:
        gaps = gaps | without_data(pixels, nodata)
    if not gaps.any():
        return pixels, 0.0
    if gaps.all(axis=(0, 1)).any():
        raise BadImageError("it has no data" if gaps.all() else "one of its channels has no data")
    means = np.mean(pixels, axis=(0, 1), where=~gaps, dtype=np.float64)
    means = means if pixels.dtype.kind == "f" else np.rint(means)
    return np.where(gaps, means.astype(pixels.dtype), pixels), float(gaps.mean())


def in_depth(pixels: np.ndarray, dtype: Dtype) -> np.ndarray:
    """The pixels, black as black and white as white, in another dtype.

    Raises:
        BadImageError: Floats, or integers that are kept as such, outside [0, 1], whose black and white are unknown.
    """
    if pixels.dtype == dtype:
        return pixels
    if pixels.dtype.kind == "f" and (pixels.min() < 0 or pixels.max() > 1):
        raise BadImageError(f"it holds numbers outside 0..1, and most of the images have {depth_title(dtype)}")
    factor = np.float32(WHITE[dtype] / WHITE[pixels.dtype.name])
    result = np.empty(pixels.shape, dtype)
    for top in range(0, len(pixels), BAND):
        scaled = pixels[top : top + BAND].astype(np.float32) * factor
        result[top : top + BAND] = scaled if dtype == "float32" else np.rint(scaled)
    return result


def in_channels(pixels: np.ndarray, present: Kind, wanted: Kind) -> np.ndarray:
    """The pixels as grey, RGB or RGBA; transparency is composited on white where the result has none.

    Raises:
        BadImageError: From or to other channels than these.
    """
    if present == wanted:
        return pixels
    if not (present.is_viewable and wanted.is_viewable):
        raise BadImageError(f"it has {mode_title(*present)}, and most of the images have {mode_title(*wanted)}")
    if pixels.dtype == np.uint8:
        return _eight_bits(pixels, wanted.channels)
    white = WHITE[pixels.dtype.name]
    colours, opacity = pixels[:, :, :RGB].astype(np.float32), np.float32(white)
    if present.opacity:
        share = pixels[:, :, RGB:].astype(np.float32) / white
        colours = colours * share + white * (1 - share)
    if wanted.channels == GREY:
        changed = colours @ LUMA if colours.shape[2] == RGB else colours[:, :, 0]
        changed = changed[:, :, None]
    else:
        changed = np.broadcast_to(colours, (*colours.shape[:2], RGB))
        if wanted.opacity:
            changed = np.concatenate([changed, np.full_like(changed[:, :, :1], opacity)], axis=2)
    return changed if pixels.dtype.kind == "f" else np.rint(changed).astype(pixels.dtype)


def _eight_bits(pixels: np.ndarray, channels: int) -> np.ndarray:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == GREY else pixels)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = {GREY: "L", RGB: "RGB", RGBA: "RGBA"}[channels]
    return np.array(image.convert(mode)).reshape(image.height, image.width, channels)
