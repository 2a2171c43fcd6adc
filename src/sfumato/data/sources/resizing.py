"""Antialiased resizing of images of any bit depth to one size, with cropping or padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Fit = Literal["crop", "pad", "resize"]
Box = tuple[float, float, float, float]

GREY, RGB, RGBA = 1, 3, 4
"""Number of channels of grey, RGB and RGBA images."""

SHARPEST = Image.Resampling.LANCZOS

BAND = 256
"""Rows that are converted to floats at a time, which limits the memory for large images."""


@dataclass(frozen=True)
class Frame:
    """Target size of images.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        fit: "crop" keeps the centre of the longer side, "pad" adds black or transparent borders, "resize" changes the
            aspect ratio.
    """

    width: int
    height: int
    fit: Fit = "crop"

    def least(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) to which an image of this size is resampled before it is cropped or padded."""
        scales = self.width / width, self.height / height
        match self.fit:
            case "crop":
                scale = max(scales)
            case "pad":
                scale = min(scales)
            case "resize":
                return self.width, self.height
        return max(1, round(width * scale)), max(1, round(height * scale))


def resize_image(pixels: np.ndarray, frame: Frame, opacity: bool) -> np.ndarray:
    """Resizes an image to the frame; returns it unchanged if it has this size.

    Args:
        pixels: (H, W, C) uint8, uint16 or float32.
        frame: Target size.
        opacity: Whether the last of four channels is opacity; colours are then weighted by it, so that transparent
            pixels have no effect.

    Returns:
        (frame.height, frame.width, C) of the same dtype.
    """
    height, width = pixels.shape[:2]
    if (width, height) == (frame.width, frame.height):
        return pixels
    box = _middle(width, height, frame) if frame.fit == "crop" else (0, 0, width, height)
    if frame.fit == "pad":
        return _padded(resample_box(pixels, frame.least(width, height), box, opacity), frame)
    return resample_box(pixels, (frame.width, frame.height), box, opacity)


def resample_box(pixels: np.ndarray, size: tuple[int, int], box: Box, opacity: bool) -> np.ndarray:
    """Resamples the part of an image within `box` (left, upper, right, lower) to `size` (width, height)."""
    channels = pixels.shape[2]
    if pixels.dtype == np.uint8 and channels in (GREY, RGB, RGBA):
        if channels == RGBA and not opacity:  # Pillow weights RGBA by its alpha, but no channel of CMYK
            image = Image.frombytes("CMYK", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
        else:
            image = Image.fromarray(pixels[:, :, 0] if channels == GREY else pixels)
        return np.asarray(image.resize(size, SHARPEST, box)).reshape(size[1], size[0], channels)
    left, upper, right, lower = box
    narrow = np.concatenate(
        [
            _each_channel(_weighted(rows, opacity), (size[0], len(rows)), (left, 0, right, len(rows)))
            for rows in np.array_split(pixels, range(BAND, len(pixels), BAND))
        ]
    )
    values = _each_channel(narrow, size, (0, upper, size[0], lower))
    if opacity:
        values[:, :, :3] /= np.where(values[:, :, 3:] > 0, values[:, :, 3:], 1)
    return _rounded(values, pixels)


def _each_channel(values: np.ndarray, size: tuple[int, int], box: Box) -> np.ndarray:
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(values, 2, 0)]
    return np.stack([np.asarray(plane.resize(size, SHARPEST, box)) for plane in planes], axis=2)


def _weighted(pixels: np.ndarray, opacity: bool) -> np.ndarray:
    values = pixels.astype(np.float32)
    if opacity:
        values[:, :, :3] *= values[:, :, 3:]
    return values


def _rounded(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Converts values to the dtype of `like` and clips them to its range, since the filter overshoots."""
    low, high = np.fmin.reduce(like, axis=None), np.fmax.reduce(like, axis=None)  # ignores NaN
    kept: np.ndarray = np.clip(values, low, high)
    return kept.astype(like.dtype) if like.dtype.kind == "f" else np.rint(kept).astype(like.dtype)


def _middle(width: int, height: int, frame: Frame) -> Box:
    """Largest centred box with the aspect ratio of the frame."""
    scale = min(width / frame.width, height / frame.height)
    across, down = min(frame.width * scale, width), min(frame.height * scale, height)  # limits rounding errors
    left, upper = (width - across) / 2, (height - down) / 2
    return left, upper, min(left + across, width), min(upper + down, height)


def _padded(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    height, width, channels = pixels.shape
    upper, left = (frame.height - height) // 2, (frame.width - width) // 2
    canvas = np.zeros((frame.height, frame.width, channels), pixels.dtype)
    canvas[upper : upper + height, left : left + width] = pixels
    return canvas
