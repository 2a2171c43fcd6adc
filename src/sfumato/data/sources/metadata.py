"""Columns from tables next to the images: `metadata.csv`, as in image folders of the Hub, or any other table."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sfumato.data.sources.column_types import parse_columns
from sfumato.data.sources.entry import Entry, Unreadable, first_few
from sfumato.data.sources.folder_labels import SPLITS, canonical_split
from sfumato.data.sources.matching import ImageNames, Match, best_match, names_images, normal, scopes_of
from sfumato.data.sources.source import Cell, Listing, Notice
from sfumato.data.sources.tables import Row, Table, is_metadata, open_table, without_header
from sfumato.errors import DataError
from sfumato.utils.text import printable

FILE_NAME = "file_name"
SPLIT = "split"
"""Column for the splits of tables named train, val and test."""
NAMED = 3


@dataclass
class _TableData:
    """Content of the tables that were read so far.

    Attributes:
        rows: Cells by the name of the image, or of a file that does not exist.
        delimiters: Delimiter of the table of each untyped column.
        notices: Notices about the tables.
        splits: Split of each image, if its table has the name of a split.
        differing: Number of cells of each column that differ from an earlier table.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    delimiters: dict[str, str] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    differing: Counter[str] = field(default_factory=Counter)

    def note_columns(self, table: Table) -> None:
        """Adds the delimiter and the notices of a table that is used."""
        self.notices += table.notices
        if table.delimiter:
            self.delimiters = dict.fromkeys(table.header, table.delimiter) | self.delimiters


def with_tables(
    entries: Sequence[Entry], tables: Mapping[str, Callable[[], bytes]], unusable: Sequence[Unreadable] = ()
) -> Listing:
    """Lists `entries` with the columns of the tables next to them.

    A table named `metadata` identifies the images by its column `file_name`, relative to its folder. If this matches no
    image, and for any other table, the column that matches the most images is used; it may hold paths, file names, or
    file names without extension.

    Args:
        entries: Images.
        tables: Function that reads each table, by its path within the source.
        unusable: Other members, for the listing.

    Raises:
        DataError: A table named `metadata` cannot be read, names no images, has lines that do not match its header, or
            has two different rows for one file. Other tables with such errors are reported and not used.
    """
    names = [entry.name for entry in entries]
    found = _TableData()
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
    values, notices = parse_columns(cells, found.delimiters)
    return Listing(entries, values, unusable, [*found.notices, *notices])


def _content(name: str, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as error:
        raise DataError(f"{printable(name)} cannot be read ({error.strerror})", "Change its permissions.") from error


def _add_required(tables: Mapping[str, Table], names: Sequence[str], found: _TableData) -> None:
    """Adds the rows of tables named `metadata`."""
    images = ImageNames(names)
    for name, table in tables.items():
        found.note_columns(table)
        match = _match_of_required(name, table, images, names)
        if match is not None:
            found.notices.append(_used(table, match, names))
        for number, row in table.read():
            column = match.column if match else FILE_NAME
            image = match.image_of(row) if match else _file_of(table, number, row, posixpath.dirname(name), images)
            cells = {key: cell for key, cell in row.items() if key != column}
            if image is not None and not _is_same(found.rows.setdefault(image, cells), cells):
                raise DataError(
                    f"{table.place(number)} differs from an earlier row for {printable(image)}",
                    "Keep one row for each file.",
                )
    texts = _missing_notices(list(tables), found.rows.keys(), set(names))
    found.notices += [Notice("table", text) for text in texts]


def _match_of_required(name: str, table: Table, images: ImageNames, names: Sequence[str]) -> Match | None:
    """The matching column, if the images are not identified by paths in `file_name`.

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
            f"{table.title} has no column {FILE_NAME}, only: {known}", f"Rename the column of files to {FILE_NAME}."
        )
    return match


def _file_of(table: Table, number: int, row: Row, folder: str, images: ImageNames) -> str:
    """Image of a row by its path; the path if there is no such image."""
    file = row.get(FILE_NAME)
    if not isinstance(file, str) or not file:
        raise DataError(f"{table.place(number)} names no file", f"Fill in its {FILE_NAME}, or remove the row.")
    path = posixpath.normpath(posixpath.join(folder, normal(file)))
    return images.exact(path) or path


def _add_other(name: str, read: Callable[[], bytes], names: Sequence[str], found: _TableData) -> None:
    """Adds the rows of another table if it describes images."""
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


def _merge(found: _TableData, row: Row, cells: Row) -> None:
    """Adds the cells of a row to an image."""
    for column, cell in cells.items():
        if row.get(column) is None:
            row[column] = cell
        elif cell is not None and not _is_equal(row[column], cell):
            found.differing[column] += 1


def _is_same(one: Row, other: Row) -> bool:
    """Whether two rows are equal."""
    return one.keys() == other.keys() and all(_is_equal(one[name], other[name]) for name in one)


def _is_equal(one: Cell, other: Cell) -> bool:
    """Whether two cells are equal; NaN equals NaN."""
    return one == other or (one != one and other != other)


def _used(table: Table, match: Match, names: Sequence[str]) -> Notice:
    """Notice about a table that was matched, with its unmatched rows."""
    column = printable(match.column)
    text = f'{table.title} describes {len(match.found):,} of {len(names):,} images, by its column "{column}".'
    if match.unmatched:
        examples = [*map(printable, list(match.unmatched)[:NAMED]), *(["..."] if len(match.unmatched) > NAMED else [])]
        text += f" {match.rows - match.matching:,} of its {match.rows:,} rows match no image: {', '.join(examples)}."
    return Notice("table", text)


def _differing_notice(column: str, count: int, is_required: bool) -> Notice:
    what = "values of metadata are kept where other tables differ" if is_required else "not used, since rows differ"
    return Notice("table", f"Column {printable(column)}: {what} ({count:,} times).")


def _missing_notices(tables: Sequence[str], mentioned: Iterable[str], names: set[str]) -> list[str]:
    title = " and ".join(map(printable, tables))
    absent = sorted(set(mentioned) - names)
    silent = sorted(names - set(mentioned))
    notices = []
    if absent:
        notices.append(f"{len(absent)} rows of {title} name files that do not exist: {first_few(absent)}.")
    if silent:
        notices.append(f"{title} has no rows for {len(silent)} images: {first_few(silent)}.")
    return notices
