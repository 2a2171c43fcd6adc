"""One image of a source, before it is decoded: a name, and a way to its bytes or pixels."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from sfumato.utils.text import printable

Content = bytes | np.ndarray
"""An encoded file, or pixels of shape (H, W), (H, W, C) or (C, H, W)."""

ReadableFile = IO[bytes] | BufferedIOBase
"""A file that is open, or a member of an archive."""

MOST_BYTES = 2**30
"""A single encoded image may not be larger, so that a zip bomb is met with a sentence."""

READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)
"""How files are opened; Windows would change line ends otherwise."""


class BadImageError(Exception):
    """An image that cannot be used; the message is the reason, as the end of a sentence."""


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be used, and why.

    Attributes:
        name: Within its source, printable.
        reason: As the end of a sentence.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Entry(ABC):
    """One image. Cheap to pickle, so that other processes can read it.

    Attributes:
        name: Its path within the source, with slashes; may hold any character.
    """

    name: str

    @abstractmethod
    def read(self, most: int = MOST_BYTES) -> Content:
        """The whole content, or at least its first `most` bytes where that is cheaper.

        Raises:
            OSError: It cannot be read.
            BadImageError: It is there, but cannot be an image.
        """


@dataclass(frozen=True)
class FileEntry(Entry):
    """A file of its own; `.npy` files hold pixels.

    Attributes:
        path: Of the file.
    """

    path: Path

    def read(self, most: int = MOST_BYTES) -> Content:
        """The bytes of the file, or the array of a `.npy`."""
        if self.name.lower().endswith(".npy"):
            with self.path.open("rb") as file:
                return read_array(file)
        descriptor = os.open(self.path, READ_ONLY)  # a third of the time that a file object takes
        try:
            size = os.fstat(descriptor).st_size
            check_size(size)
            return os.read(descriptor, min(size, most))
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class SliceEntry(Entry):
    """A stretch of a larger file, such as a member of a tar.

    Attributes:
        path: Of the file.
        offset: Where the stretch begins.
        size: Its bytes.
    """

    path: Path
    offset: int
    size: int

    def read(self, most: int = MOST_BYTES) -> Content:
        """The bytes of the stretch."""
        with self.path.open("rb", buffering=0) as file:
            check_size(self.size)
            file.seek(self.offset)
            return file.read(min(self.size, most))


class ArrayHeader(NamedTuple):
    """What the head of a `.npy` says: the array's shape, whether it lies column by column, its dtype and its place."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[np.generic]
    offset: int


def check_size(size: int) -> None:
    """Refuse what is empty, or larger than an image may be.

    Args:
        size: In bytes.

    Raises:
        BadImageError: It is out of range.
    """
    if size == 0:
        raise BadImageError("the file is empty")
    check_not_large(size)


def check_not_large(size: int) -> None:
    """Refuse what has more bytes than an image may have.

    Raises:
        BadImageError: It has.
    """
    if size > MOST_BYTES:
        raise BadImageError(f"it has more than {MOST_BYTES >> 20} MiB")


def read_array(file: ReadableFile) -> np.ndarray:
    """The array of an open `.npy` file, which is never unpickled.

    Raises:
        BadImageError: It is no array of numbers, or larger than an image may be.
    """
    start = file.tell()
    header = array_header(file)
    check_not_large(math.prod(header.shape) * header.dtype.itemsize)
    file.seek(start)
    try:
        array: np.ndarray = np.lib.format.read_array(file)
    except (ValueError, EOFError, MemoryError) as error:
        raise BadImageError("it is only a part of a NumPy array") from error
    return array


def array_header(file: ReadableFile) -> ArrayHeader:
    """The head of an open `.npy` file.

    Raises:
        BadImageError: There is none, or it promises Python objects, which are never unpickled.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        header = ArrayHeader(*read(file), file.tell())
    except Exception as error:  # the head is a piece of Python, which is parsed
        raise BadImageError("it is not a NumPy array, or only a part of one") from error
    if header.dtype.hasobject:
        raise BadImageError("it holds Python objects, which are never unpickled")
    return header


def first_few(names: Sequence[str], most: int = 3) -> str:
    """Some names, printable, and how many more there are.

    >>> first_few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - most
    return ", ".join(map(printable, names[:most])) + (f" and {more:,} more" if more > 0 else "")
