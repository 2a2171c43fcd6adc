"""CSV, JSON lines and Parquet as rows of cells that are not interpreted yet."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from sfumato.data.sources.encodings import WORD, encoding_of_text
from sfumato.data.sources.notice import Notice
from sfumato.data.sources.parquet import parquet_rows
from sfumato.data.sources.source import Cell
from sfumato.errors import DataError
from sfumato.utils.text import printable

Row = dict[str, Cell]

JSON_LINES = (".jsonl", ".ndjson")
LABELS_FILE = "dataset.json"
"""What the dataset tool of StyleGAN and EDM writes beside the images: {"labels": [["a.png", 3], ...]}, or null."""
DELIMITED = (".csv", ".tsv")
DELIMITERS = ",;\t|"

PARQUET_TABLES = {"metadata", "label", "labels", "annotation", "annotations", "attributes", "captions"}
"""How a Parquet file is called that describes images; others hold images."""

METADATA = "metadata"

_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""By the mark that a file begins with; the longer ones first."""

LONGEST_EXAMPLE = 30
"""Characters of a text that show how it is decoded."""


@dataclass(frozen=True)
class Table:
    """A table that can be read more than once.

    Attributes:
        title: For messages.
        unit: What a row is called in messages: "line" or "row".
        read: Its rows, each with its number. Raises `DataError` for a row that cannot be read.
        delimiter: What separates the cells, which are text then; None for a table whose cells have types.
        header: The names in its first line; empty if it has none.
        notices: What was decided.
    """

    title: str
    unit: str
    read: Callable[[], Iterator[tuple[int, Row]]]
    delimiter: str | None = None
    header: Sequence[str] = ()
    notices: Sequence[Notice] = ()

    def place(self, number: int) -> str:
        """The words for a row."""
        return f"{self.unit} {number} of {self.title}"


def is_table(name: str) -> bool:
    """Whether a file of this name may be a table that describes images."""
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    return (
        suffix in (*DELIMITED, *JSON_LINES)
        or path.name == LABELS_FILE
        or (suffix == ".parquet" and path.stem.lower() in PARQUET_TABLES)
    )


def is_metadata(name: str) -> bool:
    """Whether a table is called as the Hub's image folders call theirs, so that it has to be right."""
    return is_table(name) and PurePosixPath(name).stem.lower() == METADATA


def open_table(name: str, content: bytes) -> Table:
    """The table in a file.

    Raises:
        DataError: It is not a table of its kind, or two columns have one name.
    """
    title, suffix = printable(name), PurePosixPath(name).suffix.lower()
    if suffix == ".parquet":
        rows = list(parquet_rows(title, content))
        return Table(title, "row", lambda: iter(enumerate(rows, 1)))
    text, notices = decoded(title, content)
    if suffix == ".json":
        labels = list(_labels_file(title, text))
        return Table(title, "row", lambda: iter(enumerate(labels, 1)), notices=notices)
    if suffix in JSON_LINES:
        return Table(title, "line", lambda: _json_rows(title, text), notices=notices)
    return _delimited(title, text, "\t" if suffix == ".tsv" else "", notices)


def without_header(name: str, content: bytes) -> Table:
    """A CSV whose first line is a row like all others; its columns are called column1, column2, and so on."""
    title = printable(name)
    text, notices = decoded(title, content)
    delimiter, cells = _first_line(title, text, "")
    header = [f"column{number}" for number in range(1, len(cells) + 1)]

    def read() -> Iterator[tuple[int, Row]]:
        return _csv_rows(title, _csv_lines(title, text, delimiter), header)

    return Table(title, "line", read, delimiter, header, notices)


def decoded(title: str, content: bytes) -> tuple[str, list[Notice]]:
    """The text of a file: UTF-8, or what its byte order mark says, or else what is most plausible, with a notice.

    Raises:
        DataError: It is not text.
    """
    encoding = next((encoding for mark, encoding in _ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
        notices = []
    except UnicodeDecodeError as error:
        found = encoding_of_text(content)
        text = content.decode(found, errors="replace")
        if encoding != "utf-8" or "\ufffd" in text:
            raise _no_text(title) from error
        word = next(word for word in WORD.findall(text) if not word.isascii())
        example = printable(word[:LONGEST_EXAMPLE])
        said = f"{title} is not UTF-8, and is read as {found}, such as {example}. If that is wrong, save it as UTF-8."
        notices = [Notice("table", said)]
    if "\0" in text:
        raise _no_text(title)
    return text, notices


def _no_text(title: str) -> DataError:
    return DataError(f"{title} is not text in UTF-8, UTF-16 or a common Windows encoding", "Save it as UTF-8.")


def _delimited(title: str, text: str, delimiter: str, notices: Sequence[Notice]) -> Table:
    delimiter, header = _first_line(title, text, delimiter)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{title} has more than one column {printable(twice[0]) or '(unnamed)'}", "Rename one of them.")

    def read() -> Iterator[tuple[int, Row]]:
        return _csv_rows(title, islice(_csv_lines(title, text, delimiter), 1, None), header)

    return Table(title, "line", read, delimiter, header, notices)


def _first_line(title: str, text: str, delimiter: str) -> tuple[str, list[str]]:
    """The delimiter, by default what it holds most of (commas, semicolons, tabs, vertical bars), and its cells."""
    delimiter = delimiter or max(DELIMITERS, key=text.partition("\n")[0].count)
    _, cells = next(_csv_lines(title, text, delimiter), (0, []))
    return delimiter, [cell.strip() for cell in cells]


def _csv_lines(title: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in lines:
            yield lines.line_num, cells
    except csv.Error as error:
        raise DataError(
            f"line {lines.line_num} of {title} is not CSV: {error}", "Save the table as CSV, in UTF-8."
        ) from error


def _csv_rows(title: str, lines: Iterable[tuple[int, list[str]]], header: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """The rows, empty cells as None, empty rows left out."""
    for number, cells in lines:
        stripped = [cell.strip() or None for cell in cells]
        if not any(stripped):
            continue
        if len(cells) != len(header):
            raise DataError(
                f"line {number} of {title} has {len(cells)} cells, but the header names {len(header)} columns",
                'Put cells that hold a comma into "quotes".',
            )
        yield number, dict(zip(header, stripped, strict=True))


def _labels_file(title: str, text: str) -> Iterator[Row]:
    """The rows of a `dataset.json`: of each image its file name and its label, a whole number."""
    try:
        labels = json.loads(text)["labels"] or []
        for file_name, label in labels.items() if isinstance(labels, dict) else labels:
            yield {"file_name": str(file_name), "label": label if isinstance(label, int) else None}
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        expected = '{"labels": [["a.png", 0], ["b.png", 1]]}'
        raise DataError(f"{title} holds no labels such as {expected}", "Write it so, or as labels.csv.") from error


def _json_rows(title: str, text: str) -> Iterator[tuple[int, Row]]:
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
        yield number, {name: value for name, value in row.items() if isinstance(value, Cell)}
