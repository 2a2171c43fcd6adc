"""SGI images of 16 bits, which Pillow cuts to 8 (P. Haeberli, "The SGI Image File Format", version 1.00)."""

from __future__ import annotations

import struct

import numpy as np

HEADER = 512


def decoded(content: bytes) -> np.ndarray:
    """The pixels of an SGI image of 16 bits, (H, W, C) uint16.

    Raises:
        ValueError: It is only a part of one.
    """
    is_packed = content[2] == 1
    width, height, channels = struct.unpack(">3H", content[6:12])
    rows = channels * height
    if is_packed:
        starts = np.frombuffer(content, ">u4", rows, HEADER)
        planes = np.stack([_row(content, int(start), width) for start in starts])
    else:
        planes = np.frombuffer(content, ">u2", rows * width, HEADER)
    return planes.reshape(channels, height, width)[:, ::-1].transpose(1, 2, 0).astype(np.uint16)


def _row(content: bytes, start: int, width: int) -> np.ndarray:
    """A row that is packed: a count, with a flag for values as they are, and otherwise one value to be repeated."""
    row: list[np.ndarray] = []
    at, done = start, 0
    while done < width:
        (head,) = struct.unpack_from(">H", content, at)
        count = head & 0x7F
        if count == 0:
            raise ValueError("one of its rows is too short")
        literal = bool(head & 0x80)
        values = np.frombuffer(content, ">u2", count if literal else 1, at + 2)
        row.append(values if literal else values.repeat(count))
        at, done = at + 2 + 2 * len(values), done + count
    if done > width:
        raise ValueError("one of its rows is too long")
    return np.concatenate(row)
