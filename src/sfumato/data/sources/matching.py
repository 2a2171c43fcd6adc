"""Finds the column of a table that names the images, and the image of each cell."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sfumato.data.sources.extensions import is_image_name
from sfumato.data.sources.file_names import normalized
from sfumato.data.sources.source import Cell
from sfumato.data.sources.tables import ImageTable, Row

USUAL_NAMES = (
    *("file_name", "filename", "file", "file_path", "filepath", "path", "image", "image_name", "image_id"),
    *("image_path", "img", "name", "id"),
)
"""Usual names of the column of images; used if several columns match the same number of images."""

ENOUGH = 0.5
"""Fraction of the rows or of the images that must match."""

MOST_UNMATCHED = 4
"""Number of unmatched cells that are kept for messages."""

FIRST_ROWS, EACH_ROW = 1000, 50

_PLAIN_INDEX = re.compile(r"0|[1-9]\d*", re.ASCII)


class ImageNames:
    """Finds images of a folder by the names that tables use.

    Args:
        names: Paths of the images within the source.
        folder: Folder of the images, with a final slash, or "" for all.
    """

    def __init__(self, names: Iterable[str], folder: str = "") -> None:
        self._names = {_normal(name.removeprefix(folder)): name for name in names if name.startswith(folder)}

    def __len__(self) -> int:
        return len(self._names)

    def find(self, cell: Cell) -> str | None:
        """The only image whose path ends with the cell, or is the end of the cell, with or without extension.

        If there is none, case and image extensions are ignored.

        >>> images = ImageNames(["cat/1.png", "cat/2.png"])
        >>> [images.find(cell) for cell in ["cat/1.png", "1.png", "1", "/data/cat/1.png", "1.JPG", "3", "1.5"]]
        ['cat/1.png', 'cat/1.png', 'cat/1.png', 'cat/1.png', 'cat/1.png', None, None]
        """
        if not isinstance(cell, str | int) or isinstance(cell, bool):
            return None
        path = posixpath.normpath(_normal(str(cell)))
        whole = next((self._whole[end] for end in _ends(path) if end in self._whole), None)
        return self._ends.get(path) or whole or self._loose_ends.get(_loose(path))

    @cached_property
    def _whole(self) -> dict[str, str]:
        """Images by path, with and without extension."""
        return _unique((posixpath.splitext(path)[0], name) for path, name in self._names.items()) | self._names

    @cached_property
    def _ends(self) -> dict[str, str]:
        """Images by every suffix of the path; a suffix with extension has priority."""
        ends = [(end, name) for path, name in self._names.items() for end in _ends(path)]
        without = _unique((posixpath.splitext(end)[0], name) for end, name in ends)
        return without | _unique(ends) | self._whole

    @cached_property
    def _loose_ends(self) -> dict[str, str]:
        """Images by every suffix of the path without extension, in lower case."""
        ends = [(end, name) for path, name in self._names.items() for end in _ends(path)]
        return _unique((posixpath.splitext(end)[0].casefold(), name) for end, name in ends)


@dataclass
class Match:
    """A column of a table that may name images.

    Attributes:
        column: Name of the column.
        images: Images that it may name.
        rows: Number of rows of the table.
        matching: Number of rows that name an image.
        found: Images that are named.
        unmatched: First cells that name no image.
        has_names: Whether a matching cell is not just a number.
    """

    column: str
    images: ImageNames
    rows: int = 0
    matching: int = 0
    found: set[str] = field(default_factory=set)
    unmatched: dict[str, None] = field(default_factory=dict)
    has_names: bool = False

    @property
    def is_enough(self) -> bool:
        """Whether the column matches the images not only by chance.

        Half of the rows or of the images must match. Numbers can mean other things and must match half of the images.
        """
        of_images = len(self.found) >= ENOUGH * len(self.images)
        return bool(self.found) and (of_images or (self.has_names and self.matching >= ENOUGH * self.rows))

    @property
    def rank(self) -> tuple[int, int]:
        """Sort key; the better column has the larger one."""
        name = re.sub(r"\W+", "_", self.column.strip().lower())
        return len(self.found), -USUAL_NAMES.index(name) if name in USUAL_NAMES else -len(USUAL_NAMES)

    def image_of(self, row: Row) -> str | None:
        """The image of a row."""
        return self.images.find(row.get(self.column))

    def count(self, row: Row) -> None:
        """Counts a row."""
        self.rows += 1
        name, cell = self.image_of(row), row.get(self.column)
        if name is not None:
            self.matching += 1
            self.found.add(name)
            self.has_names |= not _PLAIN_INDEX.fullmatch(str(cell))
        elif len(self.unmatched) < MOST_UNMATCHED:
            self.unmatched["(empty)" if cell is None else str(cell)] = None


def best_match(table: ImageTable, scopes: Sequence[ImageNames]) -> Match | None:
    """The column that names the most images, in the first of `scopes` of a tie; None if no cell names an image.

    Candidates are taken from the first 1,000 rows and every 50th of the others, which limits the time for large
    unrelated tables.
    """
    matches: dict[tuple[str, int], Match] = {}
    for index, row in enumerate(table.read()):
        if index < FIRST_ROWS or index % EACH_ROW == 0:
            for column, cell in row.items():
                for place, images in enumerate(scopes):
                    if (column, place) not in matches and images.find(cell):
                        matches[column, place] = Match(column, images)
    if not matches:
        return None
    for row in table.read():
        for match in matches.values():
            match.count(row)
    return max((matches[key] for key in sorted(matches, key=lambda key: key[1])), key=lambda match: match.rank)


def scopes_of(table: str, names: Sequence[str]) -> list[ImageNames]:
    """Possible folders of the images of a table: folders that begin with its name, its own folder, or all.

    The first case is `train.csv` next to `train/` and `test/` with images of the same names.
    """
    folder = posixpath.dirname(table)
    prefix = f"{folder}/" if folder else ""
    word = re.split(r"[\W_]", posixpath.basename(table).casefold())[0]
    inside = [name for name in names if name.startswith(prefix)]
    paths = {name: name.removeprefix(prefix).casefold() for name in inside}
    own = [name for name in inside if word and "/" in paths[name] and paths[name].startswith(word)]
    by_size = {len(found): ImageNames(found, base) for found, base in ((names, ""), (inside, prefix), (own, prefix))}
    return [by_size[size] for size in sorted(by_size) if size]


def _normal(path: str) -> str:
    """A path with slashes in composed Unicode (NFC)."""
    return normalized(path.replace("\\", "/"))


def _loose(path: str) -> str:
    """A path in lower case, without an image extension."""
    return (posixpath.splitext(path)[0] if is_image_name(path) else path).casefold()


def _ends(path: str) -> Iterator[str]:
    """All suffixes of a path, the longest first."""
    yield path
    while "/" in path:
        path = path.partition("/")[2]
        yield path


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Dictionary of the keys that have only one value."""
    found: dict[str, str] = {}
    twice = set()
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            twice.add(key)
    return {key: value for key, value in found.items() if key not in twice}
