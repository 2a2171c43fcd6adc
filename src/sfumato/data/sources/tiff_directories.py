"""Directories of a TIFF file, one for each page: finds them, and extracts some of them as a new file.

The format is that of TIFF 6.0, section 2, and of BigTIFF, which has counts and offsets of 8 bytes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from sfumato.data.sources.entry import MOST_BYTES, ReadableFile

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Size of a value in bytes by its type."""

SEGMENTS = {273: 279, 324: 325}
"""Tags of the offsets of strips and tiles, with the tags of their sizes."""

DESCRIPTION = 270

DROPPED = {DESCRIPTION, 330, 34665, 34853, 50838, 50839}
"""Tags that refer to the whole file or to other parts of it: descriptions, other directories, ImageJ metadata."""

MOST_PAGES = 100_000


@dataclass(frozen=True)
class TiffHeader:
    """Header of a TIFF file.

    Attributes:
        order: Byte order, "<" or ">", as in `struct`.
        is_big: Whether it is BigTIFF.
        first: Offset of the first directory.
    """

    order: str
    is_big: bool
    first: int

    @property
    def word(self) -> str:
        """Format of an offset for `struct`."""
        return self.order + ("Q" if self.is_big else "I")


@dataclass(frozen=True)
class TagValue:
    """Value of a tag: type, number of elements, and bytes."""

    kind: int
    count: int
    content: bytes


def read_tiff_header(file: ReadableFile, base: int = 0) -> TiffHeader | None:
    """Header of the TIFF file at offset `base`; None if there is none."""
    file.seek(base)
    head = file.read(16)
    if not head.startswith(MAGICS) or len(head) < 8:
        return None
    order, is_big = "<" if head[:2] == b"II" else ">", 43 in head[2:4]
    if is_big and len(head) < 16:
        return None
    (first,) = struct.unpack(order + ("Q" if is_big else "I"), head[8:16] if is_big else head[4:8])
    return TiffHeader(order, is_big, first)


def page_offsets(file: ReadableFile, header: TiffHeader, base: int = 0) -> tuple[list[int], bool]:
    """Offsets of the directories of all pages, and whether the file is truncated."""
    places: list[int] = []
    seen, at = set[int](), header.first
    count_format, entry_size = (header.order + "Q", 20) if header.is_big else (header.order + "H", 12)
    while at and at not in seen and len(places) < MOST_PAGES:
        file.seek(base + at)
        head = file.read(struct.calcsize(count_format))
        if len(head) < struct.calcsize(count_format):
            return places, True
        (count,) = struct.unpack(count_format, head)
        file.seek(base + at + len(head) + count * entry_size)
        following = file.read(struct.calcsize(header.word))
        if len(following) < struct.calcsize(header.word):
            return places, True
        seen.add(at)
        places.append(at)
        (at,) = struct.unpack(header.word, following)
    return places, False


def extract_pages(
    file: ReadableFile, header: TiffHeader, pages: Sequence[int], description: bytes = b"", base: int = 0
) -> bytes:
    """Extracts some pages as a new TIFF file.

    Args:
        file: Open TIFF file.
        header: Its header.
        pages: Offsets of the directories of the pages.
        description: Image description of the new file; the old one is left out, since it is for the whole file.
        base: Offset of the TIFF file within `file`.

    Raises:
        ValueError: A directory is broken, or points beyond the end of the file.
    """
    head = struct.pack(header.order + "2sH", b"II" if header.order == "<" else b"MM", 43 if header.is_big else 42)
    head += struct.pack(header.order + "HH", 8, 0) if header.is_big else b""
    out = bytearray(head + bytes(struct.calcsize(header.word)))
    link = len(head)  # where to write the offset of the next directory
    for number, at in enumerate(pages):
        values = _values(file, header, at, base)
        kept = {code: value for code, value in values.items() if code not in DROPPED}
        if description and number == 0:
            kept[DESCRIPTION] = TagValue(2, len(description) + 1, description + b"\0")
        for offsets, sizes in SEGMENTS.items():
            if offsets in kept and sizes in kept:
                kept[offsets] = _copy_segments(file, header, kept[offsets], kept[sizes], base, out)
        link = _append_directory(out, header, dict(sorted(kept.items())), link)
    return bytes(out)


def _values(file: ReadableFile, header: TiffHeader, at: int, base: int) -> dict[int, TagValue]:
    """Values of a directory by tag."""
    head = _read(file, base + at, 8 if header.is_big else 2)
    (count,) = struct.unpack(header.order + ("Q" if header.is_big else "H"), head)
    entry = struct.Struct(header.order + ("HHQ8s" if header.is_big else "HHI4s"))
    found = {}
    for code, kind, number, field in entry.iter_unpack(_read(file, base + at + len(head), count * entry.size)):
        size = SIZES.get(kind, 0) * number
        if size > len(field):
            found[code] = TagValue(kind, number, _read(file, base + struct.unpack(header.word, field)[0], size))
        elif size:
            found[code] = TagValue(kind, number, field[:size])
    return found


def _copy_segments(
    file: ReadableFile, header: TiffHeader, offsets: TagValue, sizes: TagValue, base: int, out: bytearray
) -> TagValue:
    """Copies strips or tiles to the new file and returns their new offsets."""
    moved = []
    for offset, size in zip(_numbers(header, offsets), _numbers(header, sizes), strict=True):
        moved.append(len(out))
        out += _read(file, base + offset, size)
        if len(out) > MOST_BYTES:
            raise ValueError("its strips are larger than an image may be")
    return TagValue(
        16 if header.is_big else 4, len(moved), struct.pack(f"{header.order}{len(moved)}{header.word[1]}", *moved)
    )


def _read(file: ReadableFile, at: int, size: int) -> bytes:
    """Reads a part of a file; checks its size before allocating memory.

    Raises:
        ValueError: The file is too short.
    """
    if at + size > file.seek(0, io.SEEK_END):
        raise ValueError("it points beyond the end of the file")
    file.seek(at)
    return file.read(size)


def _numbers(header: TiffHeader, value: TagValue) -> tuple[int, ...]:
    letter = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}[value.kind]
    return struct.unpack(f"{header.order}{value.count}{letter}", value.content)


def _append_directory(out: bytearray, header: TiffHeader, values: dict[int, TagValue], link: int) -> int:
    """Appends a directory, writes its offset at `link`, and returns the position of its own link."""
    width = struct.calcsize(header.word)
    fields = []
    for code, value in values.items():
        content = value.content
        if len(content) > width:
            out += bytes(len(out) % 2)
            content, place = struct.pack(header.word, len(out)), content
            out += place
        number = struct.pack(header.order + ("HHQ" if header.is_big else "HHI"), code, value.kind, value.count)
        fields.append(number + content.ljust(width, b"\0"))
    out += bytes(len(out) % 2)
    out[link : link + width] = struct.pack(header.word, len(out))
    out += struct.pack(header.order + ("Q" if header.is_big else "H"), len(fields)) + b"".join(fields)
    out += bytes(width)
    return len(out) - width
