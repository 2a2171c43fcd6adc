"""PGM and PPM of more than 8 bits, which Pillow cuts to 8 where they have colours."""

from __future__ import annotations

import re

import numpy as np

HEADER = re.compile(rb"P([2356])" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d+)" + rb"\s")
"""The magic number, width, height and largest value, with comments between them, and one white space."""

COMMENT = re.compile(rb"#[^\r\n]*")


def white(content: bytes) -> int:
    """The value that is white in a PGM or PPM; 0 where the header has none."""
    header = HEADER.match(content)
    return int(header[4]) if header else 0


def decoded(content: bytes) -> np.ndarray:
    """The values of a PGM or PPM of more than 8 bits, (H, W, C) uint16.

    Raises:
        ValueError: They are too few.
    """
    header = HEADER.match(content)
    if header is None:
        raise ValueError("its header is broken")
    kind, (width, height) = int(header[1]), (int(header[group]) for group in (2, 3))
    shape = height, width, 3 if kind in (3, 6) else 1
    count = height * width * shape[2]
    if kind in (2, 3):
        words = COMMENT.sub(b"", content[header.end() :]).split(None, count)[:count]  # no more of a long file
        values = np.array(words, np.int64).clip(0, 65535)
    else:
        values = np.frombuffer(content, ">u2", count, header.end())
    if len(values) < count:
        raise ValueError("it ends before its pixels do")
    return values.astype(np.uint16).reshape(shape)
