"""Headers of JPEG files, and the memory for decoding them at a reduced size."""

from __future__ import annotations

from sfumato.data.sources.memory_limit import check_memory

MAGIC = b"\xff\xd8\xff"

FINER = 2
"""A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if this is at least `FINER` times the target size."""

FRACTIONS = (8, 4, 2, 1)

SPECIAL = (b"Exif\0\0", b"ICC_PROFILE\0", b"Adobe\0", b"Adobe\1")
"""Markers of files that need Pillow: orientation, colour profiles and unusual colour models."""

START_OF_SCAN = b"\xff\xda"
"""End of the headers; in a thumbnail it comes after the EXIF marker."""

FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
"""Markers of frame headers, SOF0 to SOF15, and of progressive frames (ITU-T T.81, table B.1)."""

COEFFICIENTS = 6
"""Bytes per pixel of the coefficients of a progressive JPEG; all are kept in memory, at any decoding size."""

DECODED = 9
"""Peak memory in bytes per decoded pixel, including conversions."""


def is_plain(content: bytes) -> bool:
    """Whether a JPEG has 8 bits, no orientation and no colour information, so that libjpeg-turbo can decode it."""
    head = content[: content.find(START_OF_SCAN)]
    _, bits = frame_header(content)
    return bits in (None, 8) and not any(mark in head for mark in SPECIAL)


def check_jpeg_memory(content: bytes, width: int, height: int, least: tuple[int, int]) -> None:
    """Checks that a JPEG can be decoded at the reduced size that suffices for `least` (width, height).

    Raises:
        BadImageError: It does not fit in memory.
    """
    needed = (FINER * least[0], FINER * least[1])
    fraction = next((f for f in FRACTIONS if width >= f * needed[0] and height >= f * needed[1]), 1)
    marker, _ = frame_header(content)
    kept = COEFFICIENTS if marker in PROGRESSIVE else 0
    check_memory(width * height, kept + DECODED / fraction**2, len(content))


def frame_header(content: bytes) -> tuple[int, int] | tuple[None, None]:
    """Marker and bits per sample of the first frame header; None if there is none before the first scan."""
    at = 2
    while at + 4 < len(content):
        marker = content[at + 1]
        if content[at] != 0xFF or marker == 0xFF:
            at += 1
            continue
        if marker in FRAMES:
            return marker, content[at + 4]
        if marker == START_OF_SCAN[1]:
            break
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None, None
