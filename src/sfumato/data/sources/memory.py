"""Whether an image fits in the memory that is free, checked before any of it is allocated."""

from __future__ import annotations

import time
from functools import lru_cache

import psutil

from sfumato.data.sources.entry import BadImageError

SHARE = 0.25
"""Of the free memory, what a single image may take: several processes decode at once."""

ALWAYS = 1 << 26
"""Bytes that no image is refused for: 64 MiB."""

LARGE = 1 << 26
"""Pixels from which the size of the file is looked at."""

PIXELS_A_BYTE = 100
"""Pixels that a byte of a large image's file may promise: photographs have 2 to 40, and zeros packed by deflate 129 (as
RGBA of 16 bits) to 1030 (as grey of 8), so more is a decompression bomb."""


def check_memory(pixels: int, bytes_a_pixel: float, file_size: int) -> None:
    """Checks that an image can be decoded.

    Args:
        pixels: Width times height.
        bytes_a_pixel: What decoding takes at its peak.
        file_size: Bytes of the encoded file.

    Raises:
        BadImageError: It takes more than its share of the free memory, or its file is far too small for its pixels.
    """
    if pixels > max(LARGE, PIXELS_A_BYTE * file_size):
        raise BadImageError(f"it promises {pixels / 1e6:,.0f} megapixels in a file of {_size(file_size)}")
    needed = pixels * bytes_a_pixel
    if needed > ALWAYS and needed > SHARE * free_memory():
        free = _size(SHARE * free_memory())
        raise BadImageError(f"decoding it takes {_size(needed)} of memory, and {free} are free for one image")


def most_pixels(bytes_a_pixel: int, file_size: int) -> int:
    """The pixels that `check_memory` allows."""
    most_bytes = max(ALWAYS, SHARE * free_memory())
    return int(min(max(LARGE, PIXELS_A_BYTE * file_size), most_bytes / bytes_a_pixel))


def free_memory() -> int:
    """Bytes that can be allocated without swapping, measured once a second: that takes as long as a small image."""
    return _free_at(int(time.monotonic()))


@lru_cache(maxsize=1)
def _free_at(second: int) -> int:  # noqa: ARG001
    return int(psutil.virtual_memory().available)


def _size(count: float) -> str:
    """Bytes as a person reads them.

    >>> _size(7_500_000_000), _size(688_000), _size(100)
    ('7.5 GB', '688 kB', '100 bytes')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} bytes"
