"""One image of a source, before it is decoded: a name, and a way to its bytes or pixels."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

Content = bytes | np.ndarray
"""An encoded file, or pixels of shape (H, W), (H, W, C) or (C, H, W)."""

MOST_BYTES = 2**30
"""A single encoded image may not be larger, so that a zip bomb is met with a sentence."""


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

    @property
    def folder(self) -> str | None:
        """The first folder of the name; None when there is none."""
        first, *rest = PurePosixPath(self.name).parts
        return printable(first) if rest else None


@dataclass(frozen=True)
class FileEntry(Entry):
    """A file of its own; `.npy` files hold pixels.

    Attributes:
        path: Of the file.
    """

    path: Path

    def read(self, most: int = MOST_BYTES) -> Content:
        """The bytes of the file, or the array of a `.npy`."""
        with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123 (twice as fast)
            if self.name.lower().endswith(".npy"):
                return read_array(file)
            size = os.fstat(file.fileno()).st_size
            refuse_size(size)
            return file.read(min(size, most))


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
            refuse_size(self.size)
            file.seek(self.offset)
            return file.read(min(self.size, most))


def refuse_size(size: int) -> None:
    """Refuse what is empty, or larger than an image may be.

    Args:
        size: In bytes.

    Raises:
        BadImageError: It is out of range.
    """
    if size == 0:
        raise BadImageError("the file is empty")
    if size > MOST_BYTES:
        raise BadImageError(f"it has more than {MOST_BYTES >> 20} MiB")


def read_array(file: IO[bytes]) -> np.ndarray:
    """The array of an open `.npy` file, which is never unpickled.

    Raises:
        BadImageError: It is no array of numbers, or larger than an image may be.
    """
    try:
        array: np.ndarray = np.load(file)
    except (ValueError, EOFError, MemoryError) as error:
        raise BadImageError(array_fault(error)) from error
    return array


def array_fault(error: Exception) -> str:
    """Why an array could not be loaded, as the end of a sentence."""
    if "Object arrays" in str(error) or "pickle" in str(error):
        return "it holds Python objects, which are never unpickled"
    return "it is not a NumPy array, or only a part of one"


def printable(text: str) -> str:
    r"""`text` with line ends, control characters and bytes that are no UTF-8 written as escapes.

    >>> print(printable("a" + chr(10) + "b" + chr(0xdcff)))
    a\nb\udcff
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
