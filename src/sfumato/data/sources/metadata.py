"""What tables beside the images say of them: `metadata.csv`, as the Hub's image folders have it, or any other table."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sfumato.data.sources.columns import read_columns
from sfumato.data.sources.entry import Entry, Unreadable, first_few
from sfumato.data.sources.layout import SPLITS, canonical_split
from sfumato.data.sources.matching import ImageNames, Match, best_match, names_images, normal, scopes_of
from sfumato.data.sources.notice import Notice
from sfumato.data.sources.source import Cell, Listing
from sfumato.data.sources.tables import Row, Table, is_metadata, open_table, without_header
from sfumato.errors import DataError
from sfumato.utils.text import printable

FILE_NAME = "file_name"
SPLIT = "split"
"""The column that tables called train, val and test amount to."""
NAMED = 3


@dataclass
class _Described:
    """What the tables that were read so far say.

    Attributes:
        rows: By the name of the image, or of a file that is not there.
        delimiters: Of each column whose cells have no types.
        notices: What was decided.
        splits: Of each image, where the name of its table is that of a split.
        differing: How many cells of a column differ from an earlier one of the same image.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    delimiters: dict[str, str] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    differing: Counter[str] = field(default_factory=Counter)

    def note_columns(self, table: Table) -> None:
        """Keeps the delimiter and the notices of a table that is used."""
        self.notices += table.notices
        if table.delimiter:
            self.delimiters = dict.fromkeys(table.header, table.delimiter) | self.delimiters


def described(
    entries: Sequence[Entry], tables: Mapping[str, Callable[[], bytes]], unusable: Sequence[Unreadable] = ()
) -> Listing:
    """A listing of `entries` with the columns of the tables beside them.

    A table that is called `metadata` names the images in its column `file_name`, relative to the folder that it lies
    in. If that matches no image, and in any other table, the column is used that names most images, by their paths,
    their file names or their file names without extension.

    Args:
        entries: The images.
        tables: For each table, its path within the source and a function that reads it.
        unusable: What the listing says of other members.

    Raises:
        DataError: A table that is called `metadata` cannot be read, names no images, has lines that do not fit its
            header, or two rows for one file that differ. Any other such table is reported, and not used.
    """
    names = [entry.name for entry in entries]
    found = _Described()
    required = sorted(filter(is_metadata, tables))
    if required:
        _add_required({name: open_table(name, _content(name, tables[name])) for name in required}, names, found)
    kept = {column for row in found.rows.values() for column in row}
    for name in sorted(tables.keys() - set(required)):
        _add_other(name, tables[name], names, found)
    found.notices += [_differing_notice(column, count, column in kept) for column, count in found.differing.items()]
    columns = {column: None for row in found.rows.values() for column in row if column}
    used = [column for column in columns if column in kept or column not in found.differing]
    cells = {column: [found.rows.get(name, {}).get(column) for name in names] for column in used}
    if SPLIT not in cells and len(set(found.splits.values())) > 1:
        cells[SPLIT] = [found.splits.get(name) for name in names]
    values, notices = read_columns(cells, found.delimiters)
    return Listing(entries, values, unusable, [*found.notices, *notices])


def _content(name: str, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as error:
        raise DataError(f"{printable(name)} cannot be read ({error.strerror})", "Change its permissions.") from error


def _add_required(tables: Mapping[str, Table], names: Sequence[str], found: _Described) -> None:
    """The rows of the tables that are called `metadata`."""
    images = ImageNames(names)
    for name, table in tables.items():
        found.note_columns(table)
        match = _match_of_required(name, table, images, names)
        if match is not None:
            found.notices.append(_used(table, match, names))
        for number, row in table.read():
            column = match.column if match else FILE_NAME
            image = match.image_of(row) if match else _file_of(table, number, row, posixpath.dirname(name), images)
            said = {key: cell for key, cell in row.items() if key != column}
            if image is not None and not _is_same(found.rows.setdefault(image, said), said):
                raise DataError(
                    f"{table.place(number)} says something else of {printable(image)} than an earlier row",
                    "Keep one row for each file.",
                )
    texts = _missing_notices(list(tables), found.rows.keys(), set(names))
    found.notices += [Notice("table", text) for text in texts]


def _match_of_required(name: str, table: Table, images: ImageNames, names: Sequence[str]) -> Match | None:
    """The column of images, where it is not `file_name` with paths.

    Raises:
        DataError: No column names images.
    """
    rows = [row for _, row in table.read()]
    if not rows:
        raise DataError(
            f"{table.title} has no rows", f"Give each image a row with its {FILE_NAME}, or remove the file."
        )
    files = [row[FILE_NAME] for row in rows if FILE_NAME in row]
    folder = posixpath.dirname(name)
    if any(isinstance(file, str) and images.exact(posixpath.join(folder, normal(file))) for file in files):
        return None
    match = best_match(table, scopes_of(name, names))
    if match is None and not files:
        known = ", ".join(map(printable, rows[0]))
        raise DataError(
            f"{table.title} has no column {FILE_NAME}, only: {known}", f"Name the column of files {FILE_NAME}."
        )
    return match


def _file_of(table: Table, number: int, row: Row, folder: str, images: ImageNames) -> str:
    """The image that a row names by its path, or the path where there is no such image."""
    file = row.get(FILE_NAME)
    if not isinstance(file, str) or not file:
        raise DataError(f"{table.place(number)} names no file", f"Fill in its {FILE_NAME}, or remove the row.")
    path = posixpath.normpath(posixpath.join(folder, normal(file)))
    return images.exact(path) or path


def _add_other(name: str, read: Callable[[], bytes], names: Sequence[str], found: _Described) -> None:
    """The rows of a table that may or may not be one of images."""
    title = printable(name)
    try:
        content = read()
        table = open_table(name, content)
        scopes = scopes_of(name, names)
        if scopes and names_images(table.header, scopes[-1]):
            table = without_header(name, content)
        match = best_match(table, scopes)
    except (DataError, OSError) as error:
        problem = error.problem if isinstance(error, DataError) else str(error.strerror)
        found.notices.append(Notice("table", f"{title} is not used: {problem}."))
        return
    if match is None or not match.is_enough:
        few = "no column of it names" if match is None else f'its column "{printable(match.column)}" names few of the'
        found.notices.append(Notice("table", f"{title} is not used: {few} images.", matters=False))
        return
    found.note_columns(table)
    found.notices.append(_used(table, match, names))
    split = canonical_split(posixpath.basename(name).rpartition(".")[0])
    found.splits |= dict.fromkeys(match.found, split) if split in SPLITS else {}
    for _, row in table.read():
        image = match.image_of(row)
        if image is not None:
            _merge(found, found.rows.setdefault(image, {}), {key: row[key] for key in row if key != match.column})


def _merge(found: _Described, row: Row, said: Row) -> None:
    """Adds what is said of an image to what is known of it."""
    for column, cell in said.items():
        if row.get(column) is None:
            row[column] = cell
        elif cell is not None and not _is_equal(row[column], cell):
            found.differing[column] += 1


def _is_same(one: Row, other: Row) -> bool:
    """Whether two rows say the same."""
    return one.keys() == other.keys() and all(_is_equal(one[name], other[name]) for name in one)


def _is_equal(one: Cell, other: Cell) -> bool:
    """Whether two cells are the same; what is not a number is like its kind."""
    return one == other or (one != one and other != other)


def _used(table: Table, match: Match, names: Sequence[str]) -> Notice:
    """That a table was found by its content, and which rows and images it does not match."""
    column = printable(match.column)
    text = f'{table.title} describes {len(match.found):,} of {len(names):,} images, by its column "{column}".'
    if match.unmatched:
        shown = [*map(printable, list(match.unmatched)[:NAMED]), *(["..."] if len(match.unmatched) > NAMED else [])]
        text += f" {match.rows - match.matching:,} of its {match.rows:,} rows match no image: {', '.join(shown)}."
    return Notice("table", text)


def _differing_notice(column: str, count: int, is_required: bool) -> Notice:
    what = "metadata is kept where other tables differ" if is_required else "not used, as rows of one image differ"
    return Notice("table", f"Column {printable(column)}: {what} ({count:,} times).")


def _missing_notices(tables: Sequence[str], mentioned: Iterable[str], names: set[str]) -> list[str]:
    title = " and ".join(map(printable, tables))
    absent = sorted(set(mentioned) - names)
    silent = sorted(names - set(mentioned))
    notices = []
    if absent:
        notices.append(f"{len(absent)} rows of {title} name files that are not there: {first_few(absent)}.")
    if silent:
        notices.append(f"{title} says nothing of {len(silent)} images: {first_few(silent)}.")
    return notices
