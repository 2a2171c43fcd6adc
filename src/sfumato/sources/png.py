"""The chunks of a PNG."""

from __future__ import annotations

MAGIC = b"\x89PNG\r\n\x1a\n"

METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Chunks that may hold EXIF or XMP, and so an orientation, before or after the pixels."""


def may_have_late_metadata(content: bytes) -> bool:
    """Whether metadata stand after the pixels, where Pillow finds them only when it decodes these, or may do so in the
    part of a file that is not there.
    """
    at, is_late = len(MAGIC), False
    while at + 8 <= len(content):
        kind = content[at + 4 : at + 8]
        if kind == b"IEND":
            return False
        if is_late and kind in METADATA:
            return True
        is_late = is_late or kind == b"IDAT"
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return True
