"""Columns from tables next to the images: `metadata.csv`, as in image folders of the Hub, or any other table."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sfumato.data.sources.column_types import parse_columns
from sfumato.data.sources.entry import Entry, Unreadable
from sfumato.data.sources.extensions import is_image_name
from sfumato.data.sources.folder_labels import SPLITS, canonical_split
from sfumato.data.sources.matching import Match, best_match, scopes_of
from sfumato.data.sources.source import Cell, Listing, Notice
from sfumato.data.sources.tables import ImageTable, Row, is_metadata, open_table
from sfumato.errors import DataError
from sfumato.utils.text import printable

SPLIT = "split"
"""Column for the splits of tables named train, val and test."""

NAMED_ROWS = 3
"""Number of unmatched rows that a notice names."""


@dataclass
class _Found:
    """Content of the tables that were read so far.

    Attributes:
        rows: Cells by the name of the image.
        untyped: Names of the columns of text tables.
        notices: Notices about the tables.
        splits: Split of each image, if its table has the name of a split.
        of_metadata: Columns of tables named `metadata`, which have precedence.
        differing: Number of cells of each column that differ from an earlier row for the same image.
        replaced: Number of cells of each column that are not used, since they differ from a table named `metadata`.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    untyped: set[str] = field(default_factory=set)
    notices: list[Notice] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    of_metadata: set[str] = field(default_factory=set)
    differing: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)


def with_tables(
    entries: Sequence[Entry], tables: Mapping[str, Callable[[], bytes]], unusable: Sequence[Unreadable] = ()
) -> Listing:
    """Lists `entries` with the columns of the tables next to them.

    The images of a table are named by the column that matches the most images; it may hold paths, file names, or file
    names without extension. Columns whose rows differ for one image are not used; a table named `metadata` has
    precedence over the others.

    Args:
        entries: Images.
        tables: Function that reads each table, by its path within the source.
        unusable: Other members, for the listing.

    Raises:
        DataError: A table named `metadata` cannot be read, names no images, or its rows differ for one image. Other
            tables with such errors, or with few of the images, are reported and not used.
    """
    names = [entry.name for entry in entries]
    found = _Found()
    for name in sorted(tables, key=lambda name: (not is_metadata(name), name)):
        _add_table(name, tables[name], names, found)
    for column, count in found.differing.items():
        text = f"Column {printable(column)}: not used, since rows for one image differ ({count:,} times)."
        found.notices.append(Notice("table", text))
    for column, count in found.replaced.items():
        text = f"Column {printable(column)}: other tables differ from the metadata table, which is used"
        found.notices.append(Notice("table", f"{text} ({count:,} times)."))
    columns = {column: None for row in found.rows.values() for column in row if column not in ("", *found.differing)}
    cells = {column: [found.rows.get(name, {}).get(column) for name in names] for column in columns}
    if SPLIT not in cells and len(set(found.splits.values())) > 1:
        cells[SPLIT] = [found.splits.get(name) for name in names]
    values, notices = parse_columns(cells, found.untyped)
    return Listing(entries, values, unusable, [*found.notices, *notices])


def _add_table(name: str, read: Callable[[], bytes], names: Sequence[str], found: _Found) -> None:
    """Adds the rows of a table if it describes images."""
    title, is_required = printable(name), is_metadata(name)
    try:
        table, match = _opened(name, read, names)
    except DataError as error:
        if is_required:
            raise
        found.notices.append(Notice("table", f"{title} is not used: {error.problem}."))
        return
    if match is None and is_required:
        raise DataError(f"no column of {title} names images", "Give each image a row with its path in file_name.")
    if match is None or not (match.is_enough or is_required):
        few = "no column of it names" if match is None else f'its column "{printable(match.column)}" names few of the'
        found.notices.append(Notice("table", f"{title} is not used: {few} images.", matters=False))
        return
    found.untyped.update(table.header)
    found.notices += table.notices
    if match.unmatched or len(match.found) < len(match.images) or not is_required:
        found.notices.append(_used(table, match, names))
    split = canonical_split(posixpath.basename(name).rpartition(".")[0])
    found.splits |= dict.fromkeys(match.found, split) if split in SPLITS else {}
    for row in table.read():
        if (image := match.image_of(row)) is not None:
            _merge(found, image, {column: row[column] for column in row if column != match.column}, is_required)


def _opened(name: str, read: Callable[[], bytes], names: Sequence[str]) -> tuple[ImageTable, Match | None]:
    """Opens a table, and finds the column that names images.

    Raises:
        DataError: It cannot be read, or has no header line.
    """
    try:
        content = read()
    except OSError as error:
        raise DataError(f"{printable(name)} cannot be read ({error.strerror})", "Change its permissions.") from error
    table, scopes = open_table(name, content), scopes_of(name, names)
    for cell in table.header:
        if is_image_name(cell) and scopes and scopes[-1].find(cell):
            raise DataError(
                f"the first line of {printable(name)} names the image {printable(cell)}", "Add a line of column names."
            )
    return table, best_match(table, scopes)


def _merge(found: _Found, image: str, row: Row, is_metadata: bool) -> None:
    """Adds the cells of a row to an image; counts cells that differ from an earlier row.

    Raises:
        DataError: Rows of metadata differ.
    """
    known = found.rows.setdefault(image, {})
    for column, cell in row.items():
        earlier = known.get(column)
        if earlier is None:
            known[column] = cell
        elif cell is None or _is_equal(earlier, cell):
            continue
        elif is_metadata:
            values = f"{printable(str(earlier))} and {printable(str(cell))}"
            raise DataError(
                f"the metadata of {printable(image)} have two values of {printable(column)}: {values}",
                "Keep one row for each image, or remove the column.",
            )
        else:
            (found.replaced if column in found.of_metadata else found.differing)[column] += 1
    if is_metadata:
        found.of_metadata.update(row)


def _is_equal(one: Cell, other: Cell) -> bool:
    """Whether two cells are equal, as values or as text; NaN equals NaN."""
    return one == other or str(one) == str(other)


def _used(table: ImageTable, match: Match, names: Sequence[str]) -> Notice:
    """Notice about a table that was matched, with its unmatched rows."""
    column = printable(match.column)
    text = f'{table.title} describes {len(match.found):,} of {len(names):,} images, by its column "{column}".'
    if match.unmatched:
        more = ["..."] if len(match.unmatched) > NAMED_ROWS else []
        examples = [*map(printable, list(match.unmatched)[:NAMED_ROWS]), *more]
        text += f" {match.rows - match.matching:,} of its {match.rows:,} rows match no image: {', '.join(examples)}."
    return Notice("table", text)
