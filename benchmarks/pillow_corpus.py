"""Reads every file of a folder with sfumato and with Pillow, and lists the differences.

Usage: python benchmarks/pillow_corpus.py Pillow/Tests/images

Pillow's pixels are converted to the EXIF orientation, to sRGB and to the channels of sfumato. Images with more than 8
bits are compared at 8 bits, within rounding.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps

from sfumato.data.sources.decode import open_image
from sfumato.data.sources.entry import BadImageError

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
WHITE = {"uint8": 1, "uint16": 257}


def by_pillow(content: bytes, channels: int) -> np.ndarray:
    """Pixels (H, W, channels) with 8 bits, or grey with any bit depth."""
    with Image.open(io.BytesIO(content)) as image:
        if isinstance(image, ImageFile.StubImageFile):
            raise ValueError("Pillow reads only its header")
        image.load()
        profile = image.info.get("icc_profile")
        shown = ImageOps.exif_transpose(image)
        if shown.mode[0] in "IF":
            return np.asarray(shown)[:, :, None]
        opacity = shown.convert("RGBA").getchannel("A") if channels == 4 else None
        if profile and shown.mode not in ("1", "L", "LA"):
            shown = in_srgb(shown, profile)
        shown = shown.convert("RGBA" if channels == 4 else MODES[channels])
        if opacity is not None:
            shown.putalpha(opacity)
        return np.asarray(shown).reshape(shown.height, shown.width, channels)


def in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Converts an image by its profile; leaves it unchanged if the profile is broken or for another colour space."""
    colours = image if image.mode in ("RGB", "CMYK", "LAB") else image.convert("RGB")
    try:
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(colours, io.BytesIO(profile), target, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


def verdict(content: bytes) -> tuple[str, str]:
    """Result to count, and details."""
    ours: np.ndarray | None = None
    reason = ""
    try:
        picture = open_image(content)
        ours = picture.pixels()
        shape = picture.info
        if ours.shape != (shape.height, shape.width, shape.channels) or ours.dtype != shape.dtype:
            return "WRONG", f"{shape} is {ours.shape} {ours.dtype}"
    except BadImageError as error:
        reason = str(error)
    try:
        theirs = by_pillow(content, 3 if ours is None else ours.shape[2])
    except Exception as error:
        return ("neither", reason) if ours is None else ("only ours", f"{ours.shape} {ours.dtype}; Pillow: {error}")
    if ours is None:
        return "only Pillow's", reason
    if ours.shape != theirs.shape:
        return "WRONG", f"{ours.shape}, by Pillow {theirs.shape}"
    scale = 1 if theirs.dtype.itemsize > 1 else WHITE.get(ours.dtype.name, 1)
    apart = np.abs(ours / scale - theirs)
    if scale > 1 and ours.shape[2] == 4:
        apart = apart * theirs[:, :, 3:] / 255  # 8-bit colours are coarse at low opacity
    is_rounded = scale > 1 or b"ICC" in content or b"iCCP" in content
    if apart.max() <= (ours.shape[2] == 4) + is_rounded if is_rounded else apart.max() == 0:
        return "same", ""
    return "DIFFERS", f"by {apart.max():.3g} {ours.shape} {ours.dtype}"


def main() -> None:
    warnings.simplefilter("ignore")
    counts = Counter[str]()
    for path in sorted(path for path in Path(sys.argv[1]).rglob("*") if path.is_file()):
        word, detail = verdict(path.read_bytes())
        counts[word] += 1
        if word != "same":
            print(f"{word:15} {path.relative_to(sys.argv[1])}: {detail}")
    print(", ".join(f"{count} {word}" for word, count in counts.most_common()))


if __name__ == "__main__":
    main()
