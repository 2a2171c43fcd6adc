"""Types of table columns: numbers, text, and words for missing values.

A column is numeric if each filled cell is a number such as "-1", "2.5" or "1e-3", or a word for a missing value.
Numbers may have a decimal comma if the whole column has no decimal point and the commas cannot separate thousands. All
other columns are text with unchanged cells; `without_missing_words` removes their missing values.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sfumato.data.sources.source import Cell, Notice
from sfumato.utils.text import printable

NEVER_CLASSES = frozenset(
    {
        *("NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    }
)
"""Words for missing values that are not class names; the list of pandas without "None"."""

MISSING_NUMBERS = {word.casefold() for word in NEVER_CLASSES} | {
    *("none", "n.a.", "\\n", "-", "--", "---", "–", "—", "?", ".", "..", "..."),
}
"""Missing values in a numeric column, in lower case."""

MOST_NAMED_CELLS = 3
"""Number of different cells that a remark lists."""

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_NUMBER_LIKE = re.compile(r"[-+.,eE]*\d[-+.,eE\d]*", re.ASCII)
_POSSIBLE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
_LEADING_ZERO = re.compile(r"[+-]?0\d")


class ParsedColumn(NamedTuple):
    """A parsed column.

    Attributes:
        cells: Values of the cells.
        remarks: Parts of a sentence about decisions that are not obvious from the cells.
    """

    cells: Sequence[Cell]
    remarks: tuple[str, ...] = ()


def parse_columns(
    columns: Mapping[str, Sequence[Cell]], untyped: Collection[str]
) -> tuple[dict[str, Sequence[Cell]], list[Notice]]:
    """Parses all columns of a table.

    Args:
        columns: Text, or typed values; None for empty cells. NaN becomes None.
        untyped: Names of the columns whose text may be numbers. Typed columns of text only stay text; typed columns of
            numbers and text are parsed as untyped ones.

    Returns:
        The values, and a notice for each column with a decision that is not obvious.
    """
    values: dict[str, Sequence[Cell]] = {}
    notices = []
    for name, cells in columns.items():
        known = [None if cell != cell else cell for cell in cells]
        kinds = set(map(type, known))
        is_mixed = str in kinds and not kinds.isdisjoint((int, float))
        parsed = _parse(known) if name in untyped or is_mixed else ParsedColumn(known)
        values[name] = parsed.cells
        if parsed.remarks:
            other = "number" if any(isinstance(cell, str) for cell in parsed.cells) else "class"
            text = f"{printable(name)}: {'; '.join(parsed.remarks)}."
            notices.append(Notice("columns", text, f"--condition {printable(name)}:{other}", matters=False))
    return values, notices


def cells_to_numbers(cells: Sequence[Cell]) -> ParsedColumn:
    """Converts a column to numbers; all other cells are missing. "007" is 7."""
    texts = _texts(cells)
    values = _numbers(texts)
    numbers = [values.get(cell) if isinstance(cell, str) else cell for cell in cells]
    lost = Counter({text: count for text, count in texts.items() if text not in values})
    floats = [None if number is None or number != number else float(number) for number in numbers]
    return ParsedColumn(floats, _remark("taken as missing: ", lost))


def cells_to_classes(cells: Sequence[Cell]) -> ParsedColumn:
    """Converts a column to classes; all text is kept, and whole numbers have no decimal point."""

    def name(cell: float) -> str:
        return str(int(cell)) if abs(cell) < float("inf") and cell == int(cell) else str(cell)

    return ParsedColumn([cell if cell is None or isinstance(cell, str) else name(cell) for cell in cells])


def without_missing_words(cells: Sequence[Cell]) -> ParsedColumn:
    """Replaces words in a text column that are never class names, such as "NA", by None."""
    absent = Counter(cell for cell in cells if isinstance(cell, str) and cell in NEVER_CLASSES)
    return ParsedColumn([None if cell in absent else cell for cell in cells], _remark("missing: ", absent))


def _parse(cells: Sequence[Cell]) -> ParsedColumn:
    """Converts a column to numbers if all cells are numbers or missing; otherwise leaves it unchanged."""
    texts = _texts(cells)
    values = {text: value for text, value in _numbers(texts).items() if not _LEADING_ZERO.match(text)}
    missing = Counter({text: count for text, count in texts.items() if text.casefold() in MISSING_NUMBERS})
    others = Counter({text: count for text, count in texts.items() if text not in values and text not in missing})
    if others:
        numbers = sum(cell is not None for cell in cells) - missing.total() - others.total()
        remarks = _remark("text, since not a number: ", others) if numbers > others.total() else ()
        return ParsedColumn(cells, remarks)
    found = [values.get(cell) if isinstance(cell, str) else cell for cell in cells]
    if any(isinstance(number, float) for number in found):
        found = [None if number is None else float(number) for number in found]
    comma = ("decimal comma",) if any("," in text for text in values) else ()
    return ParsedColumn(found, comma + _remark("missing: ", missing))


def _texts(cells: Sequence[Cell]) -> Counter[str]:
    return Counter(cell for cell in cells if isinstance(cell, str))


def _numbers(texts: Collection[str]) -> dict[str, int | float]:
    """Values of the cells that are numbers in the notation of the column.

    >>> _numbers(["0,5", "1,000", "cat"]), _numbers(["5", "1,000"])
    ({'0,5': 0.5, '1,000': 1.0}, {'5': 5})
    """
    numeric = [text for text in texts if _NUMBER_LIKE.fullmatch(text)]
    commas = {text for text in numeric if "," in text}
    have_one_comma = all("." not in text and text.count(",") < 2 for text in numeric)
    may_be_thousands = all(_POSSIBLE_THOUSANDS.fullmatch(text) for text in commas)
    is_decimal = have_one_comma and not may_be_thousands
    found = [text for text in numeric if _NUMBER.fullmatch(text) and (is_decimal or text not in commas)]
    return {text: _value(text.replace(",", ".")) for text in found}


def _value(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:  # a fraction, or too many digits for an integer
        return float(text)


def _remark(start: str, texts: Counter[str]) -> tuple[str, ...]:
    """Remark that names the most frequent of some cells; nothing without cells.

    >>> _remark("missing: ", Counter({"NA": 3, "-": 1}))
    ('missing: 4 cells "NA", "-"',)
    """
    if not texts:
        return ()
    frequent = sorted(texts.items(), key=lambda item: (-item[1], item[0]))[:MOST_NAMED_CELLS]
    names = ", ".join(f'"{printable(text if len(text) <= 40 else text[:37] + "...")}"' for text, _ in frequent)
    more = f" and {len(texts) - MOST_NAMED_CELLS} others" if len(texts) > MOST_NAMED_CELLS else ""
    return (f"{start}{texts.total()} cell{'' if texts.total() == 1 else 's'} {names}{more}",)
