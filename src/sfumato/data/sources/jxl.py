"""JPEG XL decoder, based on libjxl."""

from __future__ import annotations

import numpy as np

from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.memory import check_memory
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.picture import ImageInfo, Picture
from sfumato.data.sources.pixel_arrays import as_pixels, grey_alpha_to_rgba, kept_dtype
from sfumato.data.sources.resizing import RGBA, Frame

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"

RATIOS = ((1, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Aspect ratios (width, height) by their code in the size header; code 0 means none."""

PEAK = 24
"""Peak memory of decoding in bytes per pixel."""


class JpegXl(Picture):
    """A JPEG XL image; it is decoded when opened, since its channels are only known then.

    Args:
        content: Encoded file.
        options: Interpretation of the channels.

    Raises:
        BadImageError: It is damaged, or too large.
    """

    def __init__(self, content: bytes, options: ReadOptions) -> None:
        import imagecodecs

        width, height = size_of(content)
        check_memory(width * height, PEAK, len(content))
        try:
            decoded = np.asarray(imagecodecs.jpegxl_decode(content, index=0))
        except (imagecodecs.JpegxlError, ValueError, MemoryError) as error:
            raise BadImageError("it is a damaged or truncated JPEG XL image") from error
        pixels = decoded.reshape(*decoded.shape[:2], -1)
        is_plain = options.channels == "bands"
        has_opacity = pixels.shape[2] in (2, RGBA) and not is_plain
        self._pixels = grey_alpha_to_rgba(pixels) if pixels.shape[2] == 2 and has_opacity else pixels
        height, width, channels = self._pixels.shape
        self.info = ImageInfo(width, height, channels, kept_dtype(pixels.dtype), has_opacity)

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        return as_pixels(self._pixels)


def is_jxl(content: bytes) -> bool:
    """Whether a file is a JPEG XL codestream or container."""
    return content.startswith((CODESTREAM, CONTAINER))


def size_of(content: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG XL image from its size header (ISO/IEC 18181-1, section 9.2 of the codestream).

    Raises:
        BadImageError: It has no codestream.
    """
    is_bare = content.startswith(CODESTREAM)
    box = 0 if is_bare else max(content.find(b"jxlc"), content.find(b"jxlp"))  # complete or partial codestream
    start = content.find(CODESTREAM, box) if box >= 0 else -1
    if start < 0:
        raise BadImageError("it is a truncated JPEG XL image")
    bits = _Bits(int.from_bytes(content[start + 2 : start + 18], "little"))
    if bits.take(1):
        height = 8 * (bits.take(5) + 1)
        ratio = bits.take(3)
        return (height * RATIOS[ratio][0] // RATIOS[ratio][1] if ratio else 8 * (bits.take(5) + 1)), height
    height = bits.take((9, 13, 18, 30)[bits.take(2)]) + 1
    ratio = bits.take(3)
    if ratio:
        return height * RATIOS[ratio][0] // RATIOS[ratio][1], height
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1, height


class _Bits:
    """Reads a number bit by bit from the lowest bit."""

    def __init__(self, value: int) -> None:
        self._value = value

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken
