"""Base class of sources, and the listing of their images."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from sfumato.data.sources.entry import Entry, Unreadable
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.utils.text import printable

Cell = str | int | float | bool | None
"""Value of a column for one image; None if it is missing."""

Columns = Mapping[str, Sequence[Cell]]
"""Columns by name, with a cell for each image."""

LABEL = "label"
"""Column that is used as the class label by default."""


@dataclass(frozen=True)
class Notice:
    """A sentence about how the data were read, and the flag that changes it.

    Attributes:
        topic: One word, such as "range", "split" or "opacity"; a heading of `sfumato inspect`.
        text: The sentence.
        flag: Flag of `sfumato train`, such as "--range LOW HIGH"; empty if none changes it.
        matters: Whether the decision changes pixels or labels; `train` only repeats notices that do.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    topic: str
    text: str
    flag: str = ""
    matters: bool = True

    def __str__(self) -> str:
        return f"{self.text} To change it: {self.flag}." if self.flag else self.text


@dataclass(frozen=True)
class Listing:
    """Images of a source with their metadata.

    Attributes:
        entries: Images, in an order that depends only on the source.
        columns: Columns of the table, with one cell for each entry.
        unusable: Members that cannot be images, with reasons.
        notices: Notices about the images.
        classes: Class of each entry by its folder, None if there is none; empty if there are no folders.
        splits: Split of each entry, such as "train", "validation" or "test", None if there is none; empty if the source
            has no splits.
        others: Number of files that are not images, by type, such as {"txt": 3}.
    """

    entries: Sequence[Entry]
    columns: Mapping[str, Sequence[Cell]] = field(default_factory=dict)
    unusable: Sequence[Unreadable] = ()
    notices: Sequence[Notice] = ()
    classes: Sequence[str | None] = ()
    splits: Sequence[str | None] = ()
    others: Mapping[str, int] = field(default_factory=dict)


def joined_columns(tables: Sequence[tuple[int, Mapping[str, Sequence[Cell]]]]) -> dict[str, list[Cell]]:
    """Concatenates the rows of several tables; missing columns are filled with None.

    Args:
        tables: Number of rows of each table, and its columns.
    """
    columns: dict[str, list[Cell]] = {}
    before = 0
    for count, table in tables:
        for name, cells in table.items():
            columns.setdefault(name, [None] * before).extend(cells)
        before += count
        for cells in columns.values():
            cells += [None] * (before - len(cells))
    return columns


class Source(ABC):
    """A source of images.

    Attributes:
        title: Name for messages, such as "the folder photos".
        identity: Identifies the location, independent of its content.
    """

    title: str
    identity: str

    @abstractmethod
    def signature(self) -> str:
        """Text that changes with the content; uses the sizes and times of files and does not read them.

        Raises:
            DataError: The source cannot be accessed.
        """

    @abstractmethod
    def listing(self, scratch: Path) -> Listing:
        """Lists the images.

        Args:
            scratch: Folder for decompressed files; kept until the images have been read.

        Raises:
            DataError: The source cannot be read, or its metadata are inconsistent.
        """


class FileSource(Source):
    """The images in one file.

    Args:
        path: Path of the file.
        options: How the images are read.

    Attributes:
        kind: Name of the file type for messages.
    """

    kind: str

    def __init__(self, path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> None:
        self.options = options
        self.title = f"the {self.kind} {printable(str(path))}"
        self.identity = str(path.resolve())
        self.path = path

    def signature(self) -> str:
        """Size and times of the file."""
        return stat_signature(self.path)


def stat_signature(path: Path) -> str:
    """Size and times of a file; they change when the file is modified or replaced.

    A missing file also has a signature; the error is reported when it is read.
    """
    try:
        return signature_of(path.stat())
    except OSError:
        return "gone"


def signature_of(facts: os.stat_result) -> str:
    """Size and times of a file."""
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"
