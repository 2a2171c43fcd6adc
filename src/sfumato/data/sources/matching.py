"""Which column of a table names the images, and which image each of its cells means."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sfumato.data.sources.extensions import is_image_name
from sfumato.data.sources.names import normalized
from sfumato.data.sources.source import Cell
from sfumato.data.sources.tables import Row, Table

USUAL_NAMES = (
    *("file_name", "filename", "file", "file_path", "filepath", "path", "image", "image_name", "image_id"),
    *("image_path", "img", "name", "id"),
)
"""How the column of images is often called: decides between columns that match as many of them."""

ENOUGH = 0.5
"""Share of the rows, or of the images, that have to match."""

MOST_UNMATCHED = 4
"""How many cells that match no image are kept, to be shown."""

FIRST_ROWS, EACH_ROW = 1000, 50

_NUMBER = re.compile(r"0|[1-9]\d*", re.ASCII)


class ImageNames:
    """The images of a folder by whatever a table may call them.

    Args:
        names: Paths of the images within the source.
        folder: Of the images that are meant, with a slash, or "" for all.
    """

    def __init__(self, names: Iterable[str], folder: str = "") -> None:
        self._names = {normal(name.removeprefix(folder)): name for name in names if name.startswith(folder)}

    def __len__(self) -> int:
        return len(self._names)

    def exact(self, cell: str) -> str | None:
        """The image of this path, relative to the folder."""
        return self._names.get(posixpath.normpath(normal(cell)))

    def find(self, cell: str) -> str | None:
        """The one image whose path, with or without its extension, ends with the cell, or ends the cell.

        Where there is none, upper and lower case are the same, and so are the extensions of images.

        >>> images = ImageNames(["cat/1.png", "cat/2.png"])
        >>> [images.find(cell) for cell in ["cat/1.png", "1.png", "1", "/data/cat/1.png", "1.JPG", "3", "1.5"]]
        ['cat/1.png', 'cat/1.png', 'cat/1.png', 'cat/1.png', 'cat/1.png', None, None]
        """
        path = cell if cell.isascii() and "\\" not in cell else normal(cell)
        if "/" not in path:
            return self._ends.get(path) or self._loose_ends.get(_loose(path))
        path = posixpath.normpath(path)
        whole = next((found for end in _ends(path) if (found := self._whole.get(end))), None)
        return self._ends.get(path) or whole or self._loose_ends.get(_loose(path))

    @cached_property
    def _whole(self) -> dict[str, str]:
        """By the path, with and without its extension."""
        return _unique((posixpath.splitext(path)[0], name) for path, name in self._names.items()) | self._names

    @cached_property
    def _ends(self) -> dict[str, str]:
        """By every end of the path; with an extension first, where another image has none."""
        ends = [(end, name) for path, name in self._names.items() for end in _ends(path)]
        without = _unique((posixpath.splitext(end)[0], name) for end, name in ends)
        return without | _unique(ends) | self._whole

    @cached_property
    def _loose_ends(self) -> dict[str, str]:
        """By every end of the path, without the extension, in lower case."""
        ends = [(end, name) for path, name in self._names.items() for end in _ends(path)]
        return _unique((posixpath.splitext(end)[0].casefold(), name) for end, name in ends)


@dataclass
class Match:
    """A column of a table that names images.

    Attributes:
        column: Its name.
        images: Those that it may name.
        rows: How many rows the table has.
        matching: How many of them name an image.
        found: The images that are named.
        unmatched: The first few cells that name none.
        has_names: Whether a cell is more than the digits of a number.
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
        """Whether the table describes these images, and does not meet their names by chance.

        Half of the rows or half of the images match; numbers, which also count other things, name half of the images.
        """
        of_images = len(self.found) >= ENOUGH * len(self.images)
        return bool(self.found) and (of_images or (self.has_names and self.matching >= ENOUGH * self.rows))

    @property
    def rank(self) -> tuple[int, int]:
        """The better column has the greater one."""
        name = re.sub(r"\W+", "_", self.column.strip().lower())
        return len(self.found), -USUAL_NAMES.index(name) if name in USUAL_NAMES else -len(USUAL_NAMES)

    def image_of(self, row: Row) -> str | None:
        """The image that a row names."""
        text = text_of(row.get(self.column))
        return None if text is None else self.images.find(text)

    def count(self, row: Row) -> None:
        """Takes another row into account."""
        self.rows += 1
        name = self.image_of(row)
        cell = row.get(self.column)
        if name is not None:
            self.matching += 1
            self.found.add(name)
            self.has_names |= not _NUMBER.fullmatch(str(cell))
        elif len(self.unmatched) < MOST_UNMATCHED:
            self.unmatched["(empty)" if cell is None else str(cell)] = None


def best_match(table: Table, scopes: Sequence[ImageNames]) -> Match | None:
    """The column that names most images, those of the first of `scopes` with as many; None if no cell names any.

    Columns are chosen by the first 1,000 rows and every 50th of the rest, so that a large table of other things is not
    looked up cell by cell.
    """
    matches: dict[tuple[str, int], Match] = {}
    for index, (_, row) in enumerate(table.read()):
        if index < FIRST_ROWS or index % EACH_ROW == 0:
            for column, cell in row.items():
                text = text_of(cell)
                for place, images in enumerate(scopes):
                    if text is not None and (column, place) not in matches and images.find(text):
                        matches[column, place] = Match(column, images)
    if not matches:
        return None
    for _, row in table.read():
        for match in matches.values():
            match.count(row)
    return max((matches[key] for key in sorted(matches, key=lambda key: key[1])), key=lambda match: match.rank)


def names_images(header: Sequence[str], images: ImageNames) -> bool:
    """Whether the first line of a table is a row: a cell of it is the file name of an image."""
    return any(posixpath.splitext(cell)[1] and images.find(cell) for cell in header)


def scopes_of(table: str, names: Sequence[str]) -> list[ImageNames]:
    """Where the images of a table may lie: in folders that begin with its own name, in its folder, or anywhere.

    The first is for `train.csv` beside `train/` and `test/` with images of the same names.
    """
    folder = posixpath.dirname(table)
    prefix = f"{folder}/" if folder else ""
    word = re.split(r"[\W_]", posixpath.basename(table).casefold())[0]
    inside = [name for name in names if name.startswith(prefix)]
    own = [name for name in inside if word and _first_folder(name.removeprefix(prefix)).startswith(word)]
    by_size = {len(found): ImageNames(found, base) for found, base in ((names, ""), (inside, prefix), (own, prefix))}
    return [by_size[size] for size in sorted(by_size) if size]


def _first_folder(path: str) -> str:
    folder, slash, _ = path.partition("/")
    return folder.casefold() if slash else ""


def text_of(cell: Cell) -> str | None:
    """A cell that may name an image: text, or an integer."""
    if isinstance(cell, str):
        return cell
    return str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else None


def normal(path: str) -> str:
    """A path with slashes, its characters composed (NFC)."""
    return normalized(path.replace("\\", "/"))


def _loose(path: str) -> str:
    """A path in lower case, without the extension of an image."""
    return (posixpath.splitext(path)[0] if is_image_name(path) else path).casefold()


def _ends(path: str) -> Iterator[str]:
    """`path`, and what is left of it without its first folders."""
    yield path
    while "/" in path:
        path = path.partition("/")[2]
        yield path


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By keys that belong to one value alone."""
    found: dict[str, str] = {}
    twice = set()
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            twice.add(key)
    return {key: value for key, value in found.items() if key not in twice}
