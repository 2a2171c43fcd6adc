"""Colour profiles, handled as a viewer would: what is embedded is turned into sRGB, what is broken is passed over."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image, ImageCms

MANAGED = ("L", "RGB", "CMYK", "LAB")
"""Modes that profiles are about; the others are turned into RGB or grey first."""


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
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
        return None
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
