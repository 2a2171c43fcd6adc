"""Conversion of embedded ICC colour profiles to sRGB. Broken profiles are ignored, as in image viewers."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from sfumato.data.sources.resizing import BAND, GREY, RGB

MANAGED = ("L", "RGB", "CMYK", "LAB")
"""Modes to which profiles apply; other modes are converted to RGB or grey first."""

Space = Literal["gray", "rgb"]
SPACES: dict[bytes, Space] = {b"GRAY": "gray", b"RGB ": "rgb"}
"""Colour space of a profile by the signature in its header, with the names of littleCMS."""

EXACT = 0x0100
"""cmsFLAGS_NOOPTIMIZE of littleCMS. Its tables for 16 bits have errors of up to 15 of 255 at the gamut boundary."""


def in_srgb(image: Image.Image, mode: str) -> Image.Image:
    """Converts an image to `mode` (L, RGB or RGBA) and sRGB."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode == "1":
        return image if image.mode == mode else image.convert(mode)
    if mode == "RGBA":
        whole = image.convert("RGBA")
        converted = _managed(whole.convert("RGB"), profile)
        converted.putalpha(whole.getchannel("A"))
        return converted
    return _managed(image if image.mode in MANAGED else image.convert(mode), profile).convert(mode)


def pixels_in_srgb(pixels: np.ndarray, profile: bytes | None, space: Space) -> np.ndarray:
    """Converts pixels to sRGB; leaves them unchanged if the profile is broken or is for another colour space.

    Args:
        pixels: (H, W, C) uint8 or uint16; channels after those of the colour space, such as opacity, are unchanged.
        profile: ICC profile.
        space: Colour space of the first channels.

    Returns:
        Pixels of the same shape and dtype.

    Raises:
        ImportError: The pixels are uint16, and imagecodecs is not installed.
    """
    if not profile or SPACES.get(profile[16:20]) != space or _is_srgb(profile):
        return pixels
    count = GREY if space == "gray" else RGB
    colours = pixels[:, :, 0] if count == GREY else pixels[:, :, :RGB]
    result = pixels.copy()
    if pixels.dtype == np.uint8:
        image = Image.fromarray(np.ascontiguousarray(colours))
        converted = np.asarray(_managed(image, profile).convert(image.mode))
        result[:, :, :count] = converted.reshape(*pixels.shape[:2], count)
        return result
    import imagecodecs

    target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    try:
        for top in range(0, len(pixels), BAND):
            rows = np.ascontiguousarray(colours[top : top + BAND])
            changed = imagecodecs.cms_transform(
                rows, profile, target, colorspace=space, outcolorspace="rgb", flags=EXACT
            )
            result[top : top + BAND, :, :count] = changed[:, :, :count]
    except imagecodecs.CmsError:
        return pixels
    return result


def _managed(image: Image.Image, profile: bytes) -> Image.Image:
    """Converts an image to sRGB; leaves it unchanged if the profile is broken or is for another mode."""
    try:
        transform = _transform(profile, image.mode)
        return image if transform is None else ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, ValueError, OSError):
        return image


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Transform from an embedded profile to sRGB; None if the profile is sRGB."""
    if mode == "RGB" and _is_srgb(profile):
        return None
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


@lru_cache(maxsize=32)
def _is_srgb(profile: bytes) -> bool:
    """Whether the description of a profile contains sRGB."""
    try:
        return "srgb" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).lower()
    except (ImageCms.PyCMSError, OSError):
        return False
