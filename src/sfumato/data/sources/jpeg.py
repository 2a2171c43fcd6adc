"""JPEG decoder: plain files are decoded by libjpeg-turbo, at reduced size if possible."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import simplejpeg

from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.memory import check_memory
from sfumato.data.sources.picture import ImageInfo, Picture
from sfumato.data.sources.pixel_arrays import to_sixteen
from sfumato.data.sources.resizing import GREY, RGB, Frame

MAGIC = b"\xff\xd8\xff"

FINER = 2
"""A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if this is at least `FINER` times the target size."""

FRACTIONS = (8, 4, 2, 1)

SPECIAL = (b"Exif\0\0", b"ICC_PROFILE\0", b"Adobe\0", b"Adobe\1")
"""Markers of files that need Pillow: orientation, colour profiles and unusual colour models."""

START_OF_SCAN = b"\xff\xda"
"""End of the headers; in a thumbnail it comes after the EXIF marker."""

FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers, SOF0 to SOF15 (ITU-T T.81, table B.1)."""

PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)

COEFFICIENTS = 6
"""Bytes per pixel of the coefficients of a progressive JPEG; all are kept in memory, at any decoding size."""

DEEP_COPIES = 3
"""Peak memory for more than 8 bits as a multiple of the size of the pixels."""

DECODED = 9
"""Peak memory in bytes per decoded pixel, including conversions."""


class FrameHeader(NamedTuple):
    """Frame header of a JPEG (ITU-T T.81, B.2.2)."""

    marker: int
    bits: int
    height: int
    width: int
    components: int


class PlainJpeg(Picture):
    """A JPEG without orientation and colour profile.

    Args:
        content: Encoded file; `is_plain` is true for it.

    Raises:
        ValueError: libjpeg-turbo warns about the header.
    """

    def __init__(self, content: bytes) -> None:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        self.content = content
        self.info = ImageInfo(width, height, GREY if colours == "Gray" else RGB, "uint8")

    def _decoded(self, frame: Frame | None) -> np.ndarray:
        width, height = self.info.width, self.info.height
        least = (width, height) if frame is None else frame.least(width, height)
        check_jpeg_memory(self.content, width, height, least)
        decoded = simplejpeg.decode_jpeg(
            self.content,
            "GRAY" if self.info.channels == GREY else "RGB",
            min_width=min(width, FINER * least[0]),
            min_height=min(height, FINER * least[1]),
        )
        return np.asarray(decoded)


def is_plain(content: bytes) -> bool:
    """Whether a JPEG has no orientation and no colour information, so that libjpeg-turbo can decode it."""
    head = content[: content.find(START_OF_SCAN)]
    return not any(mark in head for mark in SPECIAL)


def frame_header(content: bytes) -> FrameHeader | None:
    """First frame header of a JPEG; None if there is none before the first scan."""
    at = 2
    while at + 10 <= len(content):
        if content[at] != 0xFF or content[at + 1] == 0xFF:
            at += 1
            continue
        marker = content[at + 1]
        if marker in FRAMES:
            body = content[at + 4 : at + 10]
            return FrameHeader(
                marker, body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]
            )
        if marker == START_OF_SCAN[1]:
            return None
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def check_jpeg_memory(content: bytes, width: int, height: int, least: tuple[int, int]) -> None:
    """Checks that a JPEG can be decoded at the reduced size that suffices for `least` (width, height).

    Raises:
        BadImageError: It does not fit in memory.
    """
    needed = (FINER * least[0], FINER * least[1])
    fraction = next((f for f in FRACTIONS if width >= f * needed[0] and height >= f * needed[1]), 1)
    header = frame_header(content)
    kept = COEFFICIENTS if header is not None and header.marker in PROGRESSIVE else 0
    check_memory(width * height, kept + DECODED / fraction**2, len(content))


class DeepJpeg(Picture):
    """A JPEG of 9 to 16 bits, as in medical images; white becomes 65535. Pillow only reads 8 bits.

    Args:
        content: Encoded file.
        header: Its frame header.

    Raises:
        BadImageError: It is too large, or has more than three channels.
    """

    def __init__(self, content: bytes, header: FrameHeader) -> None:
        if header.components not in (GREY, RGB):
            raise BadImageError(
                f"it is a JPEG of {header.components} channels of {header.bits} bits, which is not read"
            )
        check_memory(header.width * header.height, DEEP_COPIES * 2 * header.components, len(content))
        self.content = content
        self._white = (1 << header.bits) - 1
        self.info = ImageInfo(header.width, header.height, header.components, "uint16")

    def _decoded(self, frame: Frame | None) -> np.ndarray:  # noqa: ARG002
        import imagecodecs

        stored = np.asarray(imagecodecs.jpeg8_decode(self.content))
        return to_sixteen(stored.reshape(*stored.shape[:2], -1), self._white)
