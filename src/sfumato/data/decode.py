"""From one file to pixels: 8 bits, upright, in one of three modes, at a wanted size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

T = TypeVar("T")

Channels = Literal["grey", "rgb", "rgba"]
MODES: dict[Channels, str] = {"grey": "L", "rgb": "RGB", "rgba": "RGBA"}
SIDEWAYS = (5, 6, 7, 8)  # the EXIF orientations that swap width and height


@dataclass(frozen=True)
class Unreadable:
    """A file that gave no image, and why."""

    path: Path
    reason: str


def decode(path: Path, size: int | None) -> Image.Image | Unreadable:
    """Decode the first frame of a file, upright as its EXIF says.

    Args:
        path: An image file.
        size: The side of the square to fit the image to (see `fit`); None keeps its size.

    Returns:
        An image in mode L (grey), RGB or RGBA, whichever its own mode is closest to, or the reason why there is none.
    """
    return _attempt(path, lambda image: fit(_eight_bit(ImageOps.exif_transpose(image)), size))


def upright_size(path: Path) -> tuple[int, int] | Unreadable:
    """The (width, height) that a file will have when decoded, from its header, or the reason why there is none."""
    return _attempt(path, _upright_size)


def fit(image: Image.Image, size: int | None) -> Image.Image:
    """Resize to a square, antialiased: the shorter side becomes `size`, and the longer one is cropped about its centre.

    Colours weigh by their opacity, so that transparent pixels do not bleed. An image of that size is untouched, as is
    every image when `size` is None.
    """
    if size is None or image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def to_array(image: Image.Image, channels: Channels) -> np.ndarray:
    """The pixels of an L, RGB or RGBA image, with transparency composited on white where `channels` has none.

    Returns:
        uint8, (H, W, C); C is 1 for "grey", 3 for "rgb", 4 for "rgba".
    """
    if image.mode == "RGBA" and channels != "rgba":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert(MODES[channels])).reshape(image.height, image.width, -1)


def native_channels(image: Image.Image) -> Channels:
    """The channels of a decoded image, in mode L, RGB or RGBA."""
    return next(channels for channels, mode in MODES.items() if mode == image.mode)


def _attempt(path: Path, read: Callable[[Image.Image], T]) -> T | Unreadable:
    """What `read` makes of the image at `path`.

    Every exception becomes a reason, for a decoder meets broken data with whatever its code runs into: OSError,
    SyntaxError, struct.error, OverflowError and more.
    """
    try:
        if path.stat().st_size == 0:
            return Unreadable(path, "the file is empty")
        with Image.open(path) as image:
            _refuse_bomb(image)
            return read(image)
    except Exception as error:
        return Unreadable(path, _reason(error))


def _refuse_bomb(image: Image.Image) -> None:
    """Refuse at the size where Pillow only warns."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError


def _reason(error: Exception) -> str:
    match error:
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            return f"it has more than {Image.MAX_IMAGE_PIXELS} pixels"
        case UnidentifiedImageError():
            return "it is not an image that Pillow can read"
        case OSError(strerror=str(reason)):
            return reason.lower()
        case _:
            return str(error) or type(error).__name__


def _upright_size(image: Image.Image) -> tuple[int, int]:
    if image.format == "TIFF":  # Pillow has turned this size already
        return image.size
    turned = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    return (image.height, image.width) if turned else image.size


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image in mode L, RGB or RGBA."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_sixteen_bits(np.asarray(image))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _from_sixteen_bits(values: np.ndarray) -> Image.Image:
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its grey values lie outside 0..65535; save it with 8 or 16 bits")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))
