"""Reads CSV, JSON lines and Parquet tables as rows of cells, without type inference."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from sfumato.data.sources.encodings import LETTERS, encoding_of_text
from sfumato.data.sources.parquet import parquet_rows
from sfumato.data.sources.source import Cell, Notice
from sfumato.errors import DataError
from sfumato.utils.text import printable

Row = dict[str, Cell]

JSON_LINES = (".jsonl", ".ndjson")
LABELS_FILE = "dataset.json"
"""Label file of the data set tools of StyleGAN and EDM: {"labels": [["a.png", 3], ...]}, or null."""
DELIMITERS = ",;\t|"

PARQUET_TABLES = {"metadata", "label", "labels", "annotation", "annotations", "attributes", "captions"}
"""Names of Parquet files that describe images; other Parquet files hold images."""

_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    **dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "utf-32"),
    **dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-16"),
}
"""Encodings by byte order mark; the longer marks first."""


@dataclass(frozen=True)
class ImageTable:
    """A table that can be read several times.

    Attributes:
        title: Name for messages.
        read: Iterates over the rows. Raises `DataError` for a row that cannot be read.
        header: Column names of a table whose cells are text; empty if the cells are typed.
        notices: Notices about the table.
    """

    title: str
    read: Callable[[], Iterator[Row]]
    header: Sequence[str] = ()
    notices: Sequence[Notice] = ()


def is_table(name: str) -> bool:
    """Whether a file with this name may be a table that describes images."""
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    return (
        suffix in (".csv", ".tsv", *JSON_LINES)
        or path.name == LABELS_FILE
        or (suffix == ".parquet" and path.stem.lower() in PARQUET_TABLES)
    )


def is_metadata(name: str) -> bool:
    """Whether a table has the name used by image folders of the Hub; such a table must be valid."""
    return is_table(name) and PurePosixPath(name).stem.lower() == "metadata"


def open_table(name: str, content: bytes) -> ImageTable:
    """Opens the table in a file.

    Raises:
        DataError: The content does not match the file type, or two columns have one name.
    """
    title, suffix = printable(name), PurePosixPath(name).suffix.lower()
    if suffix == ".parquet":
        rows = parquet_rows(title, content)
        return ImageTable(title, lambda: iter(rows))
    text, notices = decode_text(title, content)
    if suffix == ".json":
        labels = list(_labels_file(title, text))
        return ImageTable(title, lambda: iter(labels), notices=notices)
    if suffix in JSON_LINES:
        return ImageTable(title, lambda: _json_rows(title, text), notices=notices)
    return _delimited(title, text, notices, "\t" if suffix == ".tsv" else None)


def decode_text(title: str, content: bytes) -> tuple[str, list[Notice]]:
    """Decodes the text of a file: UTF-8, the encoding of its byte order mark, or a detected one with a notice.

    Raises:
        DataError: It is not text.
    """
    encoding = next((encoding for mark, encoding in _ENCODINGS.items() if content.startswith(mark)), None)
    notices = []
    try:
        text = content.decode(encoding or "utf-8")
        is_text = "\0" not in text
    except UnicodeDecodeError:
        detected = encoding_of_text(content)
        text = content.decode(detected, errors="replace")
        is_text = encoding is None and "\0" not in text and "\ufffd" not in text
        word = next((word for word in LETTERS.findall(text) if not word.isascii()), "")
        sentence = f"{title} is not UTF-8. It is read as {detected}, for example {printable(word[:30])}."
        notices.append(Notice("table", f"{sentence} If this is wrong, save it as UTF-8."))
    if not is_text:
        raise DataError(f"{title} is not text in UTF-8, UTF-16 or a common Windows encoding", "Save it as UTF-8.")
    return text, notices


def _delimited(title: str, text: str, notices: Sequence[Notice], delimiter: str | None) -> ImageTable:
    """Opens a CSV file; the default delimiter is the most frequent of `DELIMITERS` in the first line."""
    separator = delimiter or max(DELIMITERS, key=text.partition("\n")[0].count)
    _, cells = next(_csv_lines(title, text, separator), (0, []))
    header = [cell.strip() for cell in cells]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{title} has more than one column {printable(twice[0]) or '(unnamed)'}", "Rename one of them.")

    def read() -> Iterator[Row]:
        return _csv_rows(title, islice(_csv_lines(title, text, separator), 1, None), header)

    return ImageTable(title, read, header, notices)


def _csv_lines(title: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in lines:
            yield lines.line_num, cells
    except csv.Error as error:
        raise DataError(
            f"line {lines.line_num} of {title} is not CSV: {error}", "Save the table as CSV, in UTF-8."
        ) from error


def _csv_rows(title: str, lines: Iterable[tuple[int, list[str]]], header: Sequence[str]) -> Iterator[Row]:
    """Rows of a CSV file; empty cells become None, and empty rows are skipped."""
    for number, cells in lines:
        stripped = [cell.strip() or None for cell in cells]
        if not any(stripped):
            continue
        if len(cells) != len(header):
            raise DataError(
                f"line {number} of {title} has {len(cells)} cells, but the header names {len(header)} columns",
                'Put cells that hold a comma into "quotes".',
            )
        yield dict(zip(header, stripped, strict=True))


def _labels_file(title: str, text: str) -> Iterator[Row]:
    """Rows of a `dataset.json`: file name and integer label of each image."""
    try:
        labels = json.loads(text)["labels"] or []
        for file_name, label in labels.items() if isinstance(labels, dict) else labels:
            yield {"file_name": str(file_name), "label": label if isinstance(label, int) else None}
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        expected = '{"labels": [["a.png", 0], ["b.png", 1]]}'
        raise DataError(f"{title} holds no labels such as {expected}", "Use this form, or labels.csv.") from error


def _json_rows(title: str, text: str) -> Iterator[Row]:
    """Rows of a JSON lines file; values that are neither text nor numbers are left out."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"line {number} of {title}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # numbers may have too many digits
            raise DataError(f"{place} is not JSON: {error}", 'Write lines such as {"file_name": "a.png"}.') from error
        if not isinstance(row, dict):
            raise DataError(f"{place} is not a JSON object", 'Write lines such as {"file_name": "a.png"}.')
        yield {name: value for name, value in row.items() if isinstance(value, Cell)}
