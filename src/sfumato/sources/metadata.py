"""What `metadata.csv`, `.jsonl` and `.parquet` beside the images say of them: the Hub's imagefolder convention."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from sfumato.errors import DataError
from sfumato.sources.entry import Entry, Unreadable, printable
from sfumato.sources.names import normalized
from sfumato.sources.notice import Notice
from sfumato.sources.parquet import parquet_rows
from sfumato.sources.source import Cell, Listing

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
NAMED = 3

Row = dict[str, Cell]


def described(
    entries: Sequence[Entry], tables: Mapping[str, Callable[[], bytes]], unusable: Sequence[Unreadable] = ()
) -> Listing:
    """A listing of `entries` with the columns of their metadata files.

    Args:
        entries: The images.
        tables: For each metadata file, its path within the source and a function that reads it. The file names in it
            are relative to the folder that it lies in.
        unusable: What the listing says of other members.

    Raises:
        DataError: A metadata file cannot be read, has no column `file_name`, lines that do not fit its header, or two
            rows for one file that differ.
    """
    if not tables:
        return Listing(entries, unusable=unusable, classes=[entry.folder for entry in entries])
    rows: dict[str, Row] = {}
    for name, read in tables.items():
        for place, row in _typed_rows(name, _content(name, read)):
            _add(rows, posixpath.dirname(name), row, place)
    names = {entry.name for entry in entries}
    columns = {column: None for row in rows.values() for column in row}
    cells = {column: [rows.get(entry.name, {}).get(column) for entry in entries] for column in columns}
    notices = [Notice("table", text, matters=False) for text in _notices(sorted(tables), rows.keys(), names)]
    return Listing(entries, cells, unusable, notices, [entry.folder for entry in entries])


def _content(name: str, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as error:
        raise DataError(f"{printable(name)} cannot be read ({error.strerror})", "Change its permissions.") from error


def _add(rows: dict[str, Row], folder: str, row: Row, place: str) -> None:
    file = row.pop(FILE_NAME)
    if not isinstance(file, str) or not file:
        raise DataError(f"{place} names no file", f"Fill in its {FILE_NAME}, or remove the row.")
    path = normalized(posixpath.normpath(posixpath.join(folder, file.replace("\\", "/"))))
    if not _is_same(rows.setdefault(path, row), row):
        raise DataError(
            f"{place} says something else of {printable(file)} than an earlier row", "Keep one row for each file."
        )


def _is_same(one: Row, other: Row) -> bool:
    """Whether two rows say the same; what is not a number is like its kind."""
    return one.keys() == other.keys() and all(
        one[name] == other[name] or (one[name] != one[name] and other[name] != other[name]) for name in one
    )


def _notices(tables: Sequence[str], mentioned: Iterable[str], names: set[str]) -> list[str]:
    title = " and ".join(map(printable, tables))
    absent = sorted(set(mentioned) - names)
    silent = sorted(names - set(mentioned))
    notices = []
    if absent:
        notices.append(f"{len(absent)} rows of {title} name files that are not there: {_first(absent)}.")
    if silent:
        notices.append(f"{title} says nothing of {len(silent)} images: {_first(silent)}.")
    return notices


def _first(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(map(printable, names[:NAMED])) + (f" and {more} more" if more > 0 else "")


def _typed_rows(name: str, content: bytes) -> Iterator[tuple[str, Row]]:
    """The rows of a metadata file, each with the words for its place."""
    title = printable(name)
    match PurePosixPath(name).suffix:
        case ".csv":
            rows = list(_csv_rows(title, _text(title, content)))
        case ".jsonl":
            rows = list(_json_rows(title, _text(title, content)))
        case _:
            rows = [(f"row {number} of {title}", row) for number, row in enumerate(parquet_rows(title, content), 1)]
    if not rows:
        raise DataError(f"{title} has no rows", f"Give each image a row with its {FILE_NAME}, or remove the file.")
    if all(FILE_NAME not in row for _, row in rows):
        known = ", ".join(map(printable, rows[0][1]))
        raise DataError(f"{title} has no column {FILE_NAME}, only: {known}", f"Name the column of files {FILE_NAME}.")
    for place, row in rows:
        yield place, {FILE_NAME: None} | row


def _text(title: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{title} is not UTF-8 text (byte {error.start})", "Save it as UTF-8.") from error


def _csv_rows(title: str, text: str) -> Iterator[tuple[str, Row]]:
    """The rows of a CSV, separated by what its header holds most of: commas, semicolons or tabs."""
    header_line = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header_line.count), strict=True)
    try:
        header = [column.strip() for column in next(lines, [])]
        _refuse_bad_header(title, header)
        rows = [(f"line {lines.line_num} of {title}", cells) for cells in lines if any(map(str.strip, cells))]
    except csv.Error as error:
        raise DataError(
            f"line {lines.line_num} of {title} is not CSV: {error}", "Save the table as CSV, in UTF-8."
        ) from error
    for place, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"{place} has {len(cells)} cells, but the header names {len(header)} columns",
                'Put cells that hold a comma into "quotes".',
            )
    columns = [_typed([cells[index].strip() for _, cells in rows], header[index]) for index in range(len(header))]
    for number, (place, _) in enumerate(rows):
        yield place, {name: column[number] for name, column in zip(header, columns, strict=True)}


def _refuse_bad_header(title: str, header: list[str]) -> None:
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise DataError(f"{title} has more than one column {printable(twice[0]) or '(unnamed)'}", "Rename one of them.")


def _typed(cells: list[str], name: str) -> list[Cell]:
    """A column's cells as integers if all are, else as floats if all are, else as text; empty ones as None."""
    if name == FILE_NAME:
        return list(cells)
    filled = [cell for cell in cells if cell]
    for kind in (_integer, _fraction):
        try:
            for cell in filled:
                kind(cell)
        except ValueError:
            continue
        return [kind(cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]


def _integer(cell: str) -> int:
    """The integer of a cell that is written as one.

    >>> _integer("-12")
    -12
    """
    if str(int(cell)) != cell:
        raise ValueError(cell)
    return int(cell)


def _fraction(cell: str) -> float:
    """The number of a cell; "007" and "1_0" are names.

    >>> _fraction("-0.5")
    -0.5
    """
    if "_" in cell or re.match(r"[+-]?0\d", cell):
        raise ValueError(cell)
    return float(cell)


def _json_rows(title: str, text: str) -> Iterator[tuple[str, Row]]:
    """The rows of a JSON lines file; values that are neither text nor numbers are left out."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"line {number} of {title}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # numbers may have too many digits
            raise DataError(f"{place} is not JSON: {error}", 'Write lines such as {"file_name": "a.png"}.') from error
        if not isinstance(row, dict):
            raise DataError(f"{place} is no JSON object", 'Write lines such as {"file_name": "a.png"}.')
        yield place, {name: value for name, value in row.items() if isinstance(value, Cell)}
