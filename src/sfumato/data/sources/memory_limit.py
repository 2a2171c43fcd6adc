"""Checks that an image fits into the free memory, before memory is allocated."""

from __future__ import annotations

import time
from functools import lru_cache

import psutil

from sfumato.errors import BadImageError
from sfumato.utils.text import size_title

SHARE = 0.25
"""Fraction of the free memory for a single image, since several processes decode at the same time."""

ALWAYS = 1 << 26
"""Memory in bytes that is always allowed: 64 MiB."""

MANY_PIXELS = 1 << 26
"""Number of pixels from which the file size is checked."""

PIXELS_A_BYTE = 100
"""Largest number of pixels per byte of the file of a large image. Photographs have 2 to 40. Zeros compressed by deflate
have 129 (16-bit RGBA) to 1030 (8-bit grey), so that larger numbers indicate a decompression bomb."""


def check_memory(pixels: int, bytes_a_pixel: float, file_size: int) -> None:
    """Checks that an image can be decoded.

    Args:
        pixels: Width times height.
        bytes_a_pixel: Peak memory of decoding.
        file_size: Size of the encoded file in bytes.

    Raises:
        BadImageError: It needs too much memory, or its file is too small for its number of pixels.
    """
    if pixels > max(MANY_PIXELS, PIXELS_A_BYTE * file_size):
        raise BadImageError(f"its header declares {pixels / 1e6:,.0f} megapixels in a file of {size_title(file_size)}")
    needed = pixels * bytes_a_pixel
    if needed > ALWAYS and needed > SHARE * available_memory():
        free = size_title(SHARE * available_memory())
        raise BadImageError(f"decoding it needs {size_title(needed)} of memory, and {free} are free for one image")


def most_pixels(bytes_a_pixel: int, file_size: int) -> int:
    """Largest number of pixels that `check_memory` allows."""
    most_bytes = max(ALWAYS, SHARE * available_memory())
    return int(min(max(MANY_PIXELS, PIXELS_A_BYTE * file_size), most_bytes / bytes_a_pixel))


def available_memory() -> int:
    """Memory in bytes that can be allocated without swapping; measured once per second, since it is slow."""
    return _free_at(int(time.monotonic()))


@lru_cache(maxsize=1)
def _free_at(second: int) -> int:  # noqa: ARG001
    return int(psutil.virtual_memory().available)
