"""Type inference for table columns: numbers in common notations, text, and words for missing values.

The type depends on all cells of a column. A column is numeric if each cell is a number or a word for a missing value:

* A number may have a sign, an exponent, thousands ("1,000", "1 000", "1'000", "1.000,5") and a decimal comma. "10%" is
  the number 10 if all numbers of the column are percentages. "007" and "1_0" are text.
* "1,000" can be 1000 or 1. This is decided by the other cells of the column, then by the other columns, then by the
  delimiter: 1 if the delimiter is a semicolon, else 1000. "1.000" is 1 unless other cells or columns have a decimal
    comma.
* Missing values are the words that pandas treats as missing, in upper or lower case, and "-", "--", "?" and ".".

All other columns are text with unchanged cells. `without_missing_words` removes their missing values.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sfumato.data.sources.source import Cell, Notice
from sfumato.utils.text import printable

Mark = Literal[".", ","]
"""Decimal separator."""

NEVER_CLASSES = frozenset(
    {
        *("NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    }
)
"""Words for missing values that are not class names; the list of pandas without "None"."""

MARKS = frozenset(["-", "--", "---", "–", "—", "?", ".", "..", "..."])
"""Marks for missing values that can also be class names, such as "+" and "-"."""

PERHAPS_CLASSES = MARKS | {"None"}

MISSING = frozenset(word.casefold() for word in NEVER_CLASSES | PERHAPS_CLASSES | {"n.a.", "\\N"})
"""Missing values in a numeric column, in lower case."""

SHOWN = 3
"""Number of different cells that a remark lists."""

_SAME = str.maketrans({"\u00a0": " ", "\u2007": " ", "\u2009": " ", "\u202f": " ", "’": "'", "−": "-"})
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_ZERO_AHEAD = re.compile(r"(?<![\d.,])0+(?=\d)")


def _pattern(decimal: str, group: str) -> re.Pattern[str]:
    """Pattern of a number with this decimal separator; `group`, a space or an apostrophe separates thousands."""
    whole = rf"[1-9]\d{{0,2}}(?:(?P<group>{group}|[ '])\d{{3}}(?:(?P=group)\d{{3}})*)|0|[1-9]\d*"
    return re.compile(rf"[+-]?(?:(?:{whole})(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?", re.ASCII)


_NUMBERS: dict[Mark, re.Pattern[str]] = {".": _pattern(r"\.", ","), ",": _pattern(",", r"\.")}


@dataclass(frozen=True)
class ParsedColumn:
    """A parsed column.

    Attributes:
        cells: Values of the cells.
        remarks: Parts of a sentence about decisions that are not obvious from the cells.
    """

    cells: Sequence[Cell]
    remarks: tuple[str, ...] = ()


def parse_columns(
    columns: Mapping[str, Sequence[Cell]], delimiters: Mapping[str, str]
) -> tuple[dict[str, Sequence[Cell]], list[Notice]]:
    """Parses all columns of a table.

    Args:
        columns: Text, or typed values; None for empty cells. NaN becomes None.
        delimiters: Delimiter of the table of each untyped column. Typed columns of text only stay text; typed columns
            of numbers and text are parsed as untyped ones.

    Returns:
        The values, and a notice for each column with a decision that is not obvious.
    """
    untyped = {name: _texts(cells) for name, cells in columns.items() if name in delimiters or _is_mixed(cells)}
    possible = {name: _possible_values(texts) for name, texts in untyped.items()}
    certain = {mark for found in possible.values() if len(found) == 1 for mark in found}
    values: dict[str, Sequence[Cell]] = {}
    notices = []
    for name, cells in columns.items():
        values[name] = cells = [None if cell != cell else cell for cell in cells]
        if name in untyped:
            delimiter = delimiters.get(name)
            mark = _mark(untyped[name], possible[name], certain, delimiter)
            reading = _read(cells, possible[name], mark, delimiter == ";")
            values[name] = reading.cells
            notices += [column_notice(name, reading)] if reading.remarks else []
    return values, notices


def column_notice(name: str, reading: ParsedColumn) -> Notice:
    """Notice about a column, with the flag that selects the other type."""
    is_text = any(isinstance(cell, str) for cell in reading.cells)
    kind = "number" if is_text else "class"
    text = f"{printable(name)}: {'; '.join(reading.remarks)}."
    return Notice("columns", text, f"--condition {printable(name)}:{kind}", matters=False)


def cells_to_numbers(cells: Sequence[Cell]) -> ParsedColumn:
    """Converts a column to numbers; all other cells are missing. "007" is 7."""
    texts = {cell: _ZERO_AHEAD.sub("", cell) for cell in _texts(cells)}
    mark = max(_NUMBERS, key=lambda mark: sum(_value(text, mark) is not None for text in texts.values()))
    values = {cell: _value(text, mark) for cell, text in texts.items()}
    found = [values[cell] if isinstance(cell, str) else cell for cell in cells]
    lost = Counter(cell for cell in cells if isinstance(cell, str) and values[cell] is None)
    numbers = [None if value is None or value != value else float(value) for value in found]
    return ParsedColumn(numbers, _absent(lost, "taken as missing"))


def cells_to_classes(cells: Sequence[Cell]) -> ParsedColumn:
    """Converts a column to classes; all text is kept, and whole numbers have no decimal point."""
    return ParsedColumn([_class_of(cell) for cell in cells])


def without_missing_words(cells: Sequence[Cell]) -> ParsedColumn:
    """Replaces words for missing values in a text column by None.

    Words that are never class names are always missing. "None" and the marks are missing if at least two other values
    remain. Marks are kept if another value has no letters or digits: "+", "-" and "0" are classes.
    """
    texts = {cell for cell in cells if isinstance(cell, str)} - NEVER_CLASSES
    others = texts - PERHAPS_CLASSES
    missing = set(NEVER_CLASSES)
    if len(others) >= 2 or not others:
        signs = any(not any(map(str.isalnum, text)) for text in others)
        missing |= PERHAPS_CLASSES - MARKS if signs else PERHAPS_CLASSES
    absent = Counter(cell for cell in cells if isinstance(cell, str) and cell in missing)
    if not absent:
        return ParsedColumn(cells)
    return ParsedColumn([None if cell in absent else cell for cell in cells], _absent(absent, "missing"))


def is_missing_word(text: str) -> bool:
    """Whether a cell of a numeric column is a missing value."""
    return text.casefold() in MISSING


def _texts(cells: Iterable[Cell]) -> set[str]:
    return {cell for cell in cells if isinstance(cell, str)}


def _is_mixed(cells: Sequence[Cell]) -> bool:
    """Whether a column has numbers and text."""
    kinds = set(map(type, cells))
    return str in kinds and not kinds.isdisjoint((int, float))


def _possible_values(texts: Collection[str]) -> dict[Mark, dict[str, int | float]]:
    """Values of the cells for each decimal separator with which all cells are numbers or missing; empty for text.

    If no cell has a separator, both results are the same.
    """
    numbers = [text for text in texts if not is_missing_word(text)]
    with_point = _values(numbers, ".")
    if not any("." in text or "," in text for text in numbers):
        return {} if with_point is None else {".": with_point, ",": with_point}
    found = {".": with_point, ",": _values(numbers, ",")}
    return {mark: values for mark in _NUMBERS if (values := found[mark]) is not None}


def _values(texts: Iterable[str], mark: Mark) -> dict[str, int | float] | None:
    """Values of all texts; None if one of them is not a number."""
    values: dict[str, int | float] = {}
    for text in texts:
        value = _value(text, mark)
        if value is None:
            return None
        values[text] = value
    return values


def _mark(texts: Collection[str], possible: Collection[Mark], certain: set[Mark], delimiter: str | None) -> Mark:
    """Decimal separator of a column."""
    known = possible if len(possible) == 1 else certain
    if len(known) == 1:
        return next(iter(known))
    return "," if delimiter == ";" and any("," in text for text in texts if not is_missing_word(text)) else "."


def _read(
    cells: Sequence[Cell], possible: Mapping[Mark, Mapping[str, int | float]], mark: Mark, points_may_group: bool
) -> ParsedColumn:
    """Converts a column to numbers if all cells are numbers or missing; otherwise leaves it unchanged.

    "1.000" without a comma in the column needs a remark only if points can separate thousands.
    """
    counts = Counter(cell for cell in cells if isinstance(cell, str))
    if mark not in possible:
        return ParsedColumn(cells, _nearly_numbers(counts, sum(cell is not None for cell in cells)))
    values = possible[mark]
    typed = [cell for cell in cells if cell is not None and not isinstance(cell, str)]
    if not _is_one_unit(values) or (typed and any(text.endswith("%") for text in values)):
        return ParsedColumn(cells, ("text, since only some of the numbers are percentages",))
    absent = Counter({text: count for text, count in counts.items() if text not in values})
    if not (values or typed):
        return ParsedColumn([None] * len(cells), _absent(absent, "missing"))
    is_whole = not any(isinstance(value, float) for value in (*values.values(), *typed))
    kind = int if is_whole else float
    found = {text: kind(value) for text, value in values.items()}
    is_ambiguous = len(possible) > 1 and possible["."] is not possible[","]
    is_ambiguous &= mark == "," or points_may_group or any("," in text for text in values)
    remarks = (*_spellings(found, mark, is_ambiguous), *_absent(absent, "missing"))
    return ParsedColumn([_number(cell, found, kind) for cell in cells], remarks)


def _number(cell: Cell, found: Mapping[str, float], kind: type[int] | type[float]) -> Cell:
    if isinstance(cell, str):
        return found.get(cell)
    return cell if cell is None or isinstance(cell, bool) else kind(cell)


def _is_one_unit(texts: Collection[str]) -> bool:
    """Whether all or none of the numbers are percentages; 0 counts as both."""
    plain = [text for text in texts if not text.endswith("%")]
    return len(plain) in (0, len(texts)) or not any(text.strip("+-0.,") for text in plain)


def _value(text: str, mark: Mark) -> int | float | None:
    """Number of a text with this decimal separator; None if it is not a number.

    >>> _value("1.234,5", ",")
    1234.5
    >>> _value("10 %", ".")
    10.0
    """
    plain = (text if text.isascii() else text.translate(_SAME)).strip()
    body = plain.removesuffix("%").rstrip()
    if match := _NUMBERS[mark].fullmatch(body):
        group = match["group"]
        digits = (body.replace(group, "") if group else body).replace(mark, ".")
        is_whole = digits.lstrip("+-").isdigit() and body == plain and len(digits) <= LONGEST_INTEGER
        return int(digits) if is_whole else float(digits)
    return float(plain) if _INFINITE.fullmatch(plain) else None


LONGEST_INTEGER = 1000
"""Largest number of digits of an integer. Python parses at most 4300 digits; longer integers become infinite."""


def _class_of(cell: Cell) -> Cell:
    if cell is None or isinstance(cell, str):
        return cell
    return str(int(cell)) if cell == cell and abs(cell) < float("inf") and cell == int(cell) else str(cell)


def _spellings(values: Mapping[str, float], mark: Mark, is_ambiguous: bool) -> list[str]:
    """Remarks about the notation of the numbers of a column."""
    signs = set(",. '\u2019\u00a0\u2007\u2009\u202f") - {mark}
    grouped = sorted(text for text in values if not signs.isdisjoint(text.strip(" %")))
    remarks = []
    if is_ambiguous:
        text = min(text for text in values if "," in text or "." in text)
        other = _value(text, "," if mark == "." else ".")
        return [f"{_quoted(text)} is read as {_formatted(values[text])}, not as {_formatted(other)}"]
    if mark == "," and any("," in text for text in values):
        remarks.append("decimal comma")
    if grouped:
        remarks.append(f"thousands: {_quoted(grouped[0])} is {_formatted(values[grouped[0]])}")
    per_cent = [text for text in values if text.endswith("%")]
    if per_cent:
        greatest = max(per_cent, key=values.__getitem__)
        remarks.append(f"percentages: {_quoted(greatest)} is {_formatted(values[greatest])}")
    return remarks


def _formatted(value: float | None) -> str:
    return f"{value:.15g}"


def _nearly_numbers(texts: Counter[str], filled: int) -> tuple[str, ...]:
    """Remark for a text column in which more than half of the cells are numbers."""
    others = Counter(
        {
            text: count
            for text, count in texts.items()
            if not is_missing_word(text) and all(_value(text, mark) is None for mark in _NUMBERS)
        }
    )
    missing = sum(count for text, count in texts.items() if is_missing_word(text))
    numbers = filled - missing - others.total()
    if not others or numbers <= others.total():
        return ()
    return (f"text, since {_counted(others)} {'is not a number' if others.total() == 1 else 'are not numbers'}",)


def _absent(texts: Counter[str], what: str) -> tuple[str, ...]:
    return (f"{_counted(texts)} {'is' if texts.total() == 1 else 'are'} {what}",) if texts else ()


def _counted(texts: Counter[str]) -> str:
    """Number of cells, with the most frequent ones.

    >>> _counted(Counter({"NA": 3, "-": 1}))
    '4 cells "NA", "-"'
    """
    first = ", ".join(_quoted(text) for text, _ in sorted(texts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN])
    more = len(texts) - SHOWN
    return f"{texts.total()} cell{'' if texts.total() == 1 else 's'} {first}{f' and {more} others' if more > 0 else ''}"


def _quoted(text: str) -> str:
    return f'"{printable(text if len(text) <= 40 else text[:37] + "...")}"'
