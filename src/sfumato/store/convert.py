"""One image, from its content to what it becomes in a store."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sfumato.sources import BadImageError, depth_title, fitted, mode_title
from sfumato.sources.decode import Picture
from sfumato.sources.frame import GREY, RGB, RGBA
from sfumato.sources.pixels import Dtype
from sfumato.store.survey import Layout

WHITE = {"uint8": 255, "uint16": 65535, "float32": 1.0}
"""The brightest value of a depth, which also is what opacity is counted in."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""How bright red, green and blue look (ITU-R 601-2), as Pillow has it."""


def converted(picture: Picture, layout: Layout) -> np.ndarray:
    """An image: decoded, fitted, of the wanted channels and dtype.

    Returns:
        (C, H, W).

    Raises:
        BadImageError: It is damaged, or cannot become what is wanted.
    """
    pixels = fitted(picture.pixels(layout.frame), layout.frame)
    return in_channels(in_depth(pixels, layout.dtype), layout.channels).transpose(2, 0, 1)


def in_depth(pixels: np.ndarray, dtype: Dtype) -> np.ndarray:
    """The pixels, black as black and white as white, in another dtype.

    Raises:
        BadImageError: Floats outside [0, 1], whose black and white are unknown.
    """
    if pixels.dtype == dtype:
        return pixels
    if pixels.dtype.kind == "f" and (pixels.min() < 0 or pixels.max() > 1):
        raise BadImageError(f"it holds floats outside 0..1, and most of the images have {depth_title(dtype)}")
    scaled = pixels.astype(np.float32) * np.float32(WHITE[dtype] / WHITE[pixels.dtype.name])
    return scaled if dtype == "float32" else np.rint(scaled).astype(dtype)


def in_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """The pixels as grey, RGB or RGBA; transparency is composited on white where there is none to be.

    Raises:
        BadImageError: From or to another number of channels.
    """
    present = pixels.shape[2]
    if present == channels:
        return pixels
    if not {present, channels} <= {GREY, RGB, RGBA}:
        raise BadImageError(f"it has {mode_title(present)}, and most of the images {mode_title(channels)}")
    if pixels.dtype == np.uint8:
        return _eight_bits(pixels, channels)
    white = WHITE[pixels.dtype.name]
    colours, opacity = pixels[:, :, :RGB].astype(np.float32), np.float32(white)
    if present == RGBA:
        share = pixels[:, :, RGB:].astype(np.float32) / white
        colours = colours * share + white * (1 - share)
    if channels == GREY:
        changed = colours @ LUMA if colours.shape[2] == RGB else colours[:, :, 0]
        changed = changed[:, :, None]
    else:
        changed = np.broadcast_to(colours, (*colours.shape[:2], RGB))
        if channels == RGBA:
            changed = np.concatenate([changed, np.full_like(changed[:, :, :1], opacity)], axis=2)
    return changed if pixels.dtype.kind == "f" else np.rint(changed).astype(pixels.dtype)


def _eight_bits(pixels: np.ndarray, channels: int) -> np.ndarray:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == GREY else pixels)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = {GREY: "L", RGB: "RGB", RGBA: "RGBA"}[channels]
    return np.array(image.convert(mode)).reshape(image.height, image.width, channels)
