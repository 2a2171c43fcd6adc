"""Colour profiles, handled as a viewer would: what is embedded is turned into sRGB, what is broken is passed over."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

MANAGED = ("L", "RGB", "CMYK", "LAB")
"""Modes that profiles are about; the others are turned into RGB or grey first."""

Space = Literal["gray", "rgb", "cmyk"]
SPACES: dict[bytes, Space] = {b"GRAY": "gray", b"RGB ": "rgb", b"CMYK": "cmyk"}
"""The colours that a profile is about, by its header, in the words of littleCMS."""

CHANNELS: dict[Space, tuple[int, int]] = {"gray": (1, 1), "rgb": (3, 3), "cmyk": (4, 3)}
"""How many channels they have, and how many in sRGB, where grey stays grey."""

EXACT = 0x0100
"""littleCMS's cmsFLAGS_NOOPTIMIZE. Its tables for 16 bits err by up to 15 of 255 at the edge of the gamut."""

BAND = 256
"""Rows that are transformed at once."""


def in_srgb(image: Image.Image, mode: str) -> Image.Image:
    """The image in `mode` (L, RGB or RGBA), its colours in sRGB."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode == "1":
        return image if image.mode == mode else image.convert(mode)
    if mode == "RGBA":
        whole = image.convert("RGBA")
        shown = _managed(whole.convert("RGB"), profile)
        shown.putalpha(whole.getchannel("A"))
        return shown
    return _managed(image if image.mode in MANAGED else image.convert(mode), profile).convert(mode)


def pixels_in_srgb(pixels: np.ndarray, profile: bytes | None, space: Space) -> np.ndarray:
    """Pixels with their colours in sRGB, or as they are where the profile is broken or for other colours.

    Args:
        pixels: (H, W, C) uint8 or uint16; channels after those of the space, such as opacity, are left alone.
        profile: ICC.
        space: What the first channels are.

    Returns:
        The same shape and dtype; of "cmyk" RGB, if the profile could be used.
    """
    if not profile or SPACES.get(profile[16:20]) != space or _is_srgb(profile):
        return pixels
    import imagecodecs

    target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count, into = CHANNELS[space]
    shown = np.empty((*pixels.shape[:2], into + pixels.shape[2] - count), pixels.dtype)
    shown[:, :, into:] = pixels[:, :, count:]
    try:
        for top in range(0, len(pixels), BAND):
            band = np.ascontiguousarray(pixels[top : top + BAND, :, :count])
            changed = imagecodecs.cms_transform(
                band.squeeze(2) if count == 1 else band,
                profile,
                target,
                colorspace=space,
                outcolorspace="rgb",
                flags=EXACT,
            )
            shown[top : top + BAND, :, :into] = changed[:, :, :into]
    except imagecodecs.CmsError:
        return pixels
    return shown


def _managed(image: Image.Image, profile: bytes) -> Image.Image:
    """The image in sRGB, or as it is where the profile says nothing, is broken or is for other images."""
    try:
        transform = _transform(profile, image.mode)
        return image if transform is None else ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, ValueError, OSError):
        return image


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From an embedded profile to sRGB; None where that is what it is."""
    if mode == "RGB" and _is_srgb(profile):
        return None
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


@lru_cache(maxsize=32)
def _is_srgb(profile: bytes) -> bool:
    """Whether a profile calls itself sRGB."""
    try:
        return "srgb" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).lower()
    except (ImageCms.PyCMSError, OSError):
        return False
