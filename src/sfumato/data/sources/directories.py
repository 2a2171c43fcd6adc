"""The directories of a TIFF, one a page: how many there are, and a file that holds some of them alone.

The layout is that of TIFF 6.0, section 2, and of BigTIFF, whose counts and offsets have 8 bytes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from sfumato.data.sources.entry import MOST_BYTES, ReadableFile

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, by its type."""

SEGMENTS = {273: 279, 324: 325}
"""The tags with the offsets of strips and of tiles, and those with their sizes in bytes."""

DESCRIPTION = 270

DROPPED = {DESCRIPTION, 330, 34665, 34853, 50838, 50839}
"""What is of the whole file, or points elsewhere in it: descriptions, further directories, and ImageJ's metadata."""

MOST_PAGES = 100_000


@dataclass(frozen=True)
class Layout:
    """How the numbers of a TIFF are written.

    Attributes:
        order: "<" or ">", as in `struct`.
        is_big: Whether it is a BigTIFF.
        first: Where the first directory lies.
    """

    order: str
    is_big: bool
    first: int

    @property
    def word(self) -> str:
        """The format of an offset."""
        return self.order + ("Q" if self.is_big else "I")


@dataclass(frozen=True)
class Value:
    """A tag's value: its type, how many numbers it has, and its bytes."""

    kind: int
    count: int
    content: bytes


def layout_of(file: ReadableFile, base: int = 0) -> Layout | None:
    """The layout of the TIFF that begins at `base`; None if none does."""
    file.seek(base)
    head = file.read(16)
    if not head.startswith(MAGICS) or len(head) < 8:
        return None
    order, is_big = "<" if head[:2] == b"II" else ">", 43 in head[2:4]
    if is_big and len(head) < 16:
        return None
    (first,) = struct.unpack(order + ("Q" if is_big else "I"), head[8:16] if is_big else head[4:8])
    return Layout(order, is_big, first)


def pages_of(file: ReadableFile, layout: Layout, base: int = 0) -> tuple[list[int], bool]:
    """Where the directories of the pages lie, and whether the file ends before they do."""
    places: list[int] = []
    seen, at = set[int](), layout.first
    count_format, entry_size = (layout.order + "Q", 20) if layout.is_big else (layout.order + "H", 12)
    while at and at not in seen and len(places) < MOST_PAGES:
        file.seek(base + at)
        head = file.read(struct.calcsize(count_format))
        if len(head) < struct.calcsize(count_format):
            return places, True
        (count,) = struct.unpack(count_format, head)
        file.seek(base + at + len(head) + count * entry_size)
        following = file.read(struct.calcsize(layout.word))
        if len(following) < struct.calcsize(layout.word):
            return places, True
        seen.add(at)
        places.append(at)
        (at,) = struct.unpack(layout.word, following)
    return places, False


def alone(file: ReadableFile, layout: Layout, pages: Sequence[int], description: bytes = b"", base: int = 0) -> bytes:
    """A TIFF of some pages of another.

    Args:
        file: The other, open.
        layout: Its layout.
        pages: Where their directories lie in it.
        description: Of the new file; the old one's is left out, since it is of the whole file.
        base: Where the other begins in the file.

    Raises:
        ValueError: The directory of one of them is broken, or points beyond the end of the file.
    """
    head = struct.pack(layout.order + "2sH", b"II" if layout.order == "<" else b"MM", 43 if layout.is_big else 42)
    head += struct.pack(layout.order + "HH", 8, 0) if layout.is_big else b""
    out = bytearray(head + bytes(struct.calcsize(layout.word)))
    link = len(head)  # where the offset of the next directory belongs
    for number, at in enumerate(pages):
        values = _values(file, layout, at, base)
        kept = {code: value for code, value in values.items() if code not in DROPPED}
        if description and number == 0:
            kept[DESCRIPTION] = Value(2, len(description) + 1, description + b"\0")
        for offsets, sizes in SEGMENTS.items():
            if offsets in kept and sizes in kept:
                kept[offsets] = _moved(file, layout, kept[offsets], kept[sizes], base, out)
        link = _append(out, layout, dict(sorted(kept.items())), link)
    return bytes(out)


def _values(file: ReadableFile, layout: Layout, at: int, base: int) -> dict[int, Value]:
    """The values of a directory, by their tags."""
    head = _read(file, base + at, 8 if layout.is_big else 2)
    (count,) = struct.unpack(layout.order + ("Q" if layout.is_big else "H"), head)
    entry = struct.Struct(layout.order + ("HHQ8s" if layout.is_big else "HHI4s"))
    found = {}
    for code, kind, number, field in entry.iter_unpack(_read(file, base + at + len(head), count * entry.size)):
        size = SIZES.get(kind, 0) * number
        if size > len(field):
            found[code] = Value(kind, number, _read(file, base + struct.unpack(layout.word, field)[0], size))
        elif size:
            found[code] = Value(kind, number, field[:size])
    return found


def _moved(file: ReadableFile, layout: Layout, offsets: Value, sizes: Value, base: int, out: bytearray) -> Value:
    """Appends strips or tiles to a file, and says where they are."""
    moved = []
    for offset, size in zip(_numbers(layout, offsets), _numbers(layout, sizes), strict=True):
        moved.append(len(out))
        out += _read(file, base + offset, size)
        if len(out) > MOST_BYTES:
            raise ValueError("its strips are larger than an image may be")
    return Value(
        16 if layout.is_big else 4, len(moved), struct.pack(f"{layout.order}{len(moved)}{layout.word[1]}", *moved)
    )


def _read(file: ReadableFile, at: int, size: int) -> bytes:
    """A stretch of a file, as a whole; nothing is allocated for one that is not there.

    Raises:
        ValueError: The file ends before it.
    """
    if at + size > file.seek(0, io.SEEK_END):
        raise ValueError("it points beyond the end of the file")
    file.seek(at)
    return file.read(size)


def _numbers(layout: Layout, value: Value) -> tuple[int, ...]:
    letter = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}[value.kind]
    return struct.unpack(f"{layout.order}{value.count}{letter}", value.content)


def _append(out: bytearray, layout: Layout, values: dict[int, Value], link: int) -> int:
    """Appends a directory, writes at `link` where it lies, and returns where its own link is."""
    width = struct.calcsize(layout.word)
    fields = []
    for code, value in values.items():
        content = value.content
        if len(content) > width:
            out += bytes(len(out) % 2)
            content, place = struct.pack(layout.word, len(out)), content
            out += place
        number = struct.pack(layout.order + ("HHQ" if layout.is_big else "HHI"), code, value.kind, value.count)
        fields.append(number + content.ljust(width, b"\0"))
    out += bytes(len(out) % 2)
    out[link : link + width] = struct.pack(layout.word, len(out))
    out += struct.pack(layout.order + ("Q" if layout.is_big else "H"), len(fields)) + b"".join(fields)
    out += bytes(width)
    return len(out) - width
