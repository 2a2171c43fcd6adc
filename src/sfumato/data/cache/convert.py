"""Converts a decoded image to the target format of a cache entry."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from sfumato.data.cache.pixel_statistics import ImageStatistics, image_statistics
from sfumato.data.cache.target_format import ChannelMode, TargetFormat
from sfumato.data.sources import BadImageError, ReadOptions, depth_title, mode_title, resize_image
from sfumato.data.sources.decode import Picture
from sfumato.data.sources.pixel_arrays import Dtype, without_data
from sfumato.data.sources.resizing import BAND, GREY, RGB, RGBA

WHITE = {"uint8": 255, "uint16": 65535, "float32": 1.0}
"""Value of white, and of full opacity, by dtype."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in the luma (ITU-R BT.601), as in Pillow."""


class Converted(NamedTuple):
    """A converted image.

    Attributes:
        pixels: (C, H, W).
        values: Statistics of its pixels before resizing.
    """

    pixels: np.ndarray
    values: ImageStatistics


def convert_image(picture: Picture, pixels: np.ndarray, target: TargetFormat, options: ReadOptions) -> Converted:
    """Converts a decoded image: fills missing data, resizes, and converts channels and dtype.

    Args:
        picture: The image.
        pixels: (H, W, C), decoded for the frame of the target.
        target: Target format.
        options: How the image is read.

    Raises:
        BadImageError: It holds no data, or cannot be converted.
    """
    shape = picture.info
    pixels, missing = fill_nodata(pixels, picture.nodata if options.nodata is None else options.nodata)
    values = image_statistics(convert_dtype(pixels, target.dtype), missing)
    present, wanted = ChannelMode(shape.channels, shape.opacity), target.mode
    if options.channels == "rgb" and present.channels > RGB and not present.opacity:
        pixels, present = pixels[:, :, :RGB], wanted  # the first three of several channels, as requested
    pixels = convert_dtype(resize_image(pixels, target.frame, shape.opacity), target.dtype)
    return Converted(convert_channels(pixels, present, wanted).transpose(2, 0, 1), values)


def fill_nodata(pixels: np.ndarray, nodata: float | None) -> tuple[np.ndarray, float]:
    """Replaces pixels without data by the mean of the others, channel by channel.

    Pixels without data are those that are not finite or equal to `nodata`.

    Args:
        pixels: (H, W, C).
        nodata: Value of pixels without data, in addition to values that are not finite.

    Returns:
        The image, and the fraction of values that were replaced.

    Raises:
        BadImageError: A channel has no data.
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


def convert_dtype(pixels: np.ndarray, dtype: Dtype) -> np.ndarray:
    """Converts pixels to another dtype; the range from black to white is kept.

    Raises:
        BadImageError: The pixels are floats outside [0, 1], whose range is unknown.
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


def convert_channels(pixels: np.ndarray, present: ChannelMode, wanted: ChannelMode) -> np.ndarray:
    """Converts pixels between grey, RGB and RGBA; transparency is composited on white if the result has no opacity.

    Raises:
        BadImageError: One of the two modes is not grey, RGB or RGBA.
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
