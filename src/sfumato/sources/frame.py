"""Images made to fit: cropped, padded or stretched to one size, antialiased, at whatever depth they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Fit = Literal["crop", "pad", "resize"]
Box = tuple[float, float, float, float]

GREY, RGB, RGBA = 1, 3, 4
"""Channels of the images that viewers know."""

SHARPEST = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class Frame:
    """The size that every image is brought to.

    Attributes:
        width: In pixels.
        height: In pixels.
        fit: "crop" keeps the middle of the longer side, "pad" adds black (or transparent) borders, "resize" stretches.
    """

    width: int
    height: int
    fit: Fit = "crop"

    def least(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) that an image of width x height is resampled to, before it is cropped or padded."""
        scales = self.width / width, self.height / height
        match self.fit:
            case "crop":
                scale = max(scales)
            case "pad":
                scale = min(scales)
            case "resize":
                return self.width, self.height
        return max(1, round(width * scale)), max(1, round(height * scale))


def fitted(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    """The image at the size of the frame; untouched if it has that size.

    Colours weigh by their opacity, so that transparent pixels do not bleed.

    Args:
        pixels: (H, W, C) uint8, uint16 or float32; four channels are RGB and opacity.
        frame: The size, and the way to it.

    Returns:
        (frame.height, frame.width, C) of the same dtype.
    """
    height, width = pixels.shape[:2]
    if (width, height) == (frame.width, frame.height):
        return pixels
    match frame.fit:
        case "crop":
            return resampled(pixels, (frame.width, frame.height), _middle(width, height, frame))
        case "pad":
            return _padded(resampled(pixels, frame.least(width, height), (0, 0, width, height)), frame)
        case "resize":
            return resampled(pixels, (frame.width, frame.height), (0, 0, width, height))


def resampled(pixels: np.ndarray, size: tuple[int, int], box: Box) -> np.ndarray:
    """The part of the image within `box` (left, upper, right, lower), at `size` (width, height)."""
    channels = pixels.shape[2]
    if pixels.dtype == np.uint8 and channels in (GREY, RGB, RGBA):
        image = Image.fromarray(pixels[:, :, 0] if channels == GREY else pixels)
        return np.asarray(image.resize(size, SHARPEST, box)).reshape(size[1], size[0], channels)
    values = pixels.astype(np.float32)
    if channels == RGBA:
        return _rounded(_opacity_weighted(values, size, box), pixels)
    return _rounded(_each_channel(values, size, box), pixels)


def _each_channel(values: np.ndarray, size: tuple[int, int], box: Box) -> np.ndarray:
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(values, 2, 0)]
    return np.stack([np.asarray(plane.resize(size, SHARPEST, box)) for plane in planes], axis=2)


def _opacity_weighted(values: np.ndarray, size: tuple[int, int], box: Box) -> np.ndarray:
    opacity = values[:, :, 3:]
    weighted = _each_channel(np.concatenate([values[:, :, :3] * opacity, opacity], axis=2), size, box)
    colours = weighted[:, :, :3] / np.where(weighted[:, :, 3:] > 0, weighted[:, :, 3:], 1)
    return np.concatenate([colours, weighted[:, :, 3:]], axis=2)


def _rounded(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The values in the dtype of `like`, and within its range, which sharp filters overshoot."""
    low, high = like.min(), like.max()
    kept: np.ndarray = np.clip(values, low, high)
    return kept.astype(like.dtype) if like.dtype.kind == "f" else np.rint(kept).astype(like.dtype)


def _middle(width: int, height: int, frame: Frame) -> Box:
    """The largest box of the frame's shape about the centre."""
    scale = min(width / frame.width, height / frame.height)
    across, down = min(frame.width * scale, width), min(frame.height * scale, height)  # which rounding may exceed
    left, upper = (width - across) / 2, (height - down) / 2
    return left, upper, min(left + across, width), min(upper + down, height)


def _padded(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    height, width, channels = pixels.shape
    upper, left = (frame.height - height) // 2, (frame.width - width) // 2
    canvas = np.zeros((frame.height, frame.width, channels), pixels.dtype)
    canvas[upper : upper + height, left : left + width] = pixels
    return canvas
