"""What every source of images offers: a signature that tells whether it changed, and a listing of its images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sfumato.data.sources.entry import Entry, Unreadable
from sfumato.data.sources.notice import Notice
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.utils.text import printable

Cell = str | int | float | bool | None
"""What a column says of one image; None where it says nothing."""

LABEL = "label"
"""The column that is learned without being asked for."""


@dataclass(frozen=True)
class Listing:
    """The images of a source, and what is known of them.

    Attributes:
        entries: The images, in an order that depends on the source alone.
        columns: What is known of each: for every column one cell an entry.
        unusable: Members that cannot be images, each with a reason.
        notices: What was decided about them.
        classes: The class of each entry by its folder, None where it lies in none; empty where there are no folders.
        splits: The split of each entry, such as "train", "validation" or "test", None where it is in none; empty where
            the source has no splits.
        others: How many files of each kind are not images, such as {"txt": 3}.
    """

    entries: Sequence[Entry]
    columns: Mapping[str, Sequence[Cell]] = field(default_factory=dict)
    unusable: Sequence[Unreadable] = ()
    notices: Sequence[Notice] = ()
    classes: Sequence[str | None] = ()
    splits: Sequence[str | None] = ()
    others: Mapping[str, int] = field(default_factory=dict)


def joined_columns(tables: Sequence[tuple[int, Mapping[str, Sequence[Cell]]]]) -> dict[str, list[Cell]]:
    """The columns of several tables, one below the other; None where a table has no such column.

    Args:
        tables: The number of rows of each, and its columns.
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
    """Where images come from.

    Attributes:
        title: What messages call it, such as "the folder photos".
        identity: The same for the same place, whatever it holds now.
    """

    title: str
    identity: str

    @abstractmethod
    def signature(self) -> str:
        """A text that differs once the content differs; takes a look at every file's size and times, not into it.

        Raises:
            DataError: The source cannot be looked at.
        """

    @abstractmethod
    def listing(self, spool: Path) -> Listing:
        """The images.

        Args:
            spool: A folder for the content of compressed archives; kept until the images have been read.

        Raises:
            DataError: The source cannot be read, or what it says of its images contradicts itself.
        """


class FileSource(Source):
    """The images in one file.

    Args:
        path: Of the file.
        options: How its images are read.

    Attributes:
        kind: What messages call such a file.
    """

    kind: str

    def __init__(self, path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> None:
        self.options = options
        self.title = f"the {self.kind} {printable(str(path))}"
        self.identity = str(path.resolve())
        self.path = path

    def signature(self) -> str:
        """Its size and times."""
        return stat_signature(self.path)


def stat_signature(path: Path) -> str:
    """Size and times of a file; changing it changes them, and so does putting another file in its place.

    What is not there has a signature too: that it is missing will be said when it is read.
    """
    try:
        facts = path.stat()
    except OSError:
        return "gone"
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"
