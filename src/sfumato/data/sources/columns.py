"""The cells of a table as values: numbers as people and programs write them, and words that stand for a missing cell.

A column is decided on all its cells. It is numbers if every cell is a number or a word for a missing cell:

* A number may have a sign, an exponent, thousands ("1,000", "1 000", "1'000", "1.000,5") and a decimal comma. "10%" is
  the number 10, if all numbers of the column are per cent. "007" and "1_0" are names.
* "1,000" is 1000 or 1. The other cells of the column decide, then the other columns of the table, then the delimiter:
  1 where semicolons separate the cells, else 1000. "1.000" is 1 unless other cells or columns have a decimal comma.
* Missing are the words that pandas takes for missing, in upper or lower case, and the marks "-", "--", "?" and ".".

Any other column is text and keeps its cells. `without_missing_words` says which of them are missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sfumato.data.sources.notice import Notice
from sfumato.data.sources.source import Cell
from sfumato.utils.text import printable

Mark = Literal[".", ","]
"""The decimal mark."""

NEVER_CLASSES = frozenset(
    {
        *("NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    }
)
"""Words for a missing cell that are not the name of a class either; pandas' own list, but for "None"."""

MARKS = frozenset(["-", "--", "---", "–", "—", "?", ".", "..", "..."])
"""Marks for a missing cell, which may also be the name of a class, such as "+" and "-"."""

PERHAPS_CLASSES = MARKS | {"None"}

MISSING = frozenset(word.casefold() for word in NEVER_CLASSES | PERHAPS_CLASSES | {"n.a.", "\\N"})
"""What a column of numbers may hold for a missing cell, in lower case."""

SHOWN = 3
"""How many different cells a remark quotes."""

_SAME = str.maketrans({"\u00a0": " ", "\u2007": " ", "\u2009": " ", "\u202f": " ", "’": "'", "−": "-"})
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_ZERO_AHEAD = re.compile(r"(?<![\d.,])0+(?=\d)")


def _pattern(decimal: str, group: str) -> re.Pattern[str]:
    """A number with this decimal mark; `group`, a space or an apostrophe separates thousands."""
    whole = rf"[1-9]\d{{0,2}}(?:(?P<group>{group}|[ '])\d{{3}}(?:(?P=group)\d{{3}})*)|0|[1-9]\d*"
    return re.compile(rf"[+-]?(?:(?:{whole})(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?", re.ASCII)


_NUMBERS: dict[Mark, re.Pattern[str]] = {".": _pattern(r"\.", ","), ",": _pattern(",", r"\.")}


@dataclass(frozen=True)
class Reading:
    """The values of a column.

    Attributes:
        cells: One value a cell.
        remarks: What is not evident from the cells, each a part of a sentence.
    """

    cells: Sequence[Cell]
    remarks: tuple[str, ...] = ()


def read_columns(
    columns: Mapping[str, Sequence[Cell]], delimiters: Mapping[str, str]
) -> tuple[dict[str, Sequence[Cell]], list[Notice]]:
    """The values of all columns of a table.

    Args:
        columns: Text, or values that are typed already, None where a cell is empty. NaN becomes None.
        delimiters: What separates the cells, for each column whose values have no types. A column of text that has
            types stays text; one of numbers and text is read like a column without types.

    Returns:
        The values, and a notice for each column that needed a decision.
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


def column_notice(name: str, reading: Reading) -> Notice:
    """What was decided about a column, and the flag that takes it otherwise."""
    is_text = any(isinstance(cell, str) for cell in reading.cells)
    kind = "number" if is_text else "class"
    text = f"{printable(name)}: {'; '.join(reading.remarks)}."
    return Notice("columns", text, f"--condition {printable(name)}:{kind}", matters=False)


def as_numbers(cells: Sequence[Cell]) -> Reading:
    """A column as numbers whatever its cells are; those that are no numbers are missing. "007" is 7."""
    texts = {cell: _ZERO_AHEAD.sub("", cell) for cell in _texts(cells)}
    mark = max(_NUMBERS, key=lambda mark: sum(_value(text, mark) is not None for text in texts.values()))
    values = {cell: _value(text, mark) for cell, text in texts.items()}
    found = [values[cell] if isinstance(cell, str) else cell for cell in cells]
    lost = Counter(cell for cell in cells if isinstance(cell, str) and values[cell] is None)
    numbers = [None if value is None or value != value else float(value) for value in found]
    return Reading(numbers, _absent(lost, "taken as missing"))


def as_classes(cells: Sequence[Cell]) -> Reading:
    """A column as classes whatever its cells are; all text is a class, whole numbers have no decimal point."""
    return Reading([_class_of(cell) for cell in cells])


def without_missing_words(cells: Sequence[Cell]) -> Reading:
    """A column of text without the words for missing cells.

    Those that are never the name of a class are missing. "None" and the marks are missing if at least two other values
    are left, and no mark is missing beside another value without letters and digits: "+", "-" and "0" are classes.
    """
    texts = {cell for cell in cells if isinstance(cell, str)} - NEVER_CLASSES
    others = texts - PERHAPS_CLASSES
    missing = set(NEVER_CLASSES)
    if len(others) >= 2 or not others:
        signs = any(not any(map(str.isalnum, text)) for text in others)
        missing |= PERHAPS_CLASSES - MARKS if signs else PERHAPS_CLASSES
    absent = Counter(cell for cell in cells if isinstance(cell, str) and cell in missing)
    if not absent:
        return Reading(cells)
    return Reading([None if cell in absent else cell for cell in cells], _absent(absent, "missing"))


def is_missing_word(text: str) -> bool:
    """Whether a cell of a column of numbers stands for a missing one."""
    return text.casefold() in MISSING


def _texts(cells: Iterable[Cell]) -> set[str]:
    return {cell for cell in cells if isinstance(cell, str)}


def _is_mixed(cells: Sequence[Cell]) -> bool:
    """Whether there are numbers as well as text."""
    kinds = set(map(type, cells))
    return str in kinds and not kinds.isdisjoint((int, float))


def _possible_values(texts: Collection[str]) -> dict[Mark, dict[str, int | float]]:
    """The values of the cells by each decimal mark with which all are numbers or missing; none for text.

    Where no cell holds a mark, both have the same values.
    """
    numbers = [text for text in texts if not is_missing_word(text)]
    with_point = _values(numbers, ".")
    if not any("." in text or "," in text for text in numbers):
        return {} if with_point is None else {".": with_point, ",": with_point}
    found = {".": with_point, ",": _values(numbers, ",")}
    return {mark: values for mark in _NUMBERS if (values := found[mark]) is not None}


def _values(texts: Iterable[str], mark: Mark) -> dict[str, int | float] | None:
    """The values of all texts; None if one of them is no number."""
    values: dict[str, int | float] = {}
    for text in texts:
        value = _value(text, mark)
        if value is None:
            return None
        values[text] = value
    return values


def _mark(texts: Collection[str], possible: Collection[Mark], certain: set[Mark], delimiter: str | None) -> Mark:
    """The decimal mark of a column."""
    settled = possible if len(possible) == 1 else certain
    if len(settled) == 1:
        return next(iter(settled))
    return "," if delimiter == ";" and any("," in text for text in texts if not is_missing_word(text)) else "."


def _read(
    cells: Sequence[Cell], possible: Mapping[Mark, Mapping[str, int | float]], mark: Mark, points_may_group: bool
) -> Reading:
    """A column as numbers if all cells are numbers or missing, else as it is.

    "1.000" without a comma beside it is worth a remark only where points may separate thousands.
    """
    counts = Counter(cell for cell in cells if isinstance(cell, str))
    if mark not in possible:
        return Reading(cells, _nearly_numbers(counts, sum(cell is not None for cell in cells)))
    values = possible[mark]
    typed = [cell for cell in cells if cell is not None and not isinstance(cell, str)]
    if not _is_one_unit(values) or (typed and any(text.endswith("%") for text in values)):
        return Reading(cells, ("text, since only some of the numbers are per cent",))
    absent = Counter({text: count for text, count in counts.items() if text not in values})
    if not (values or typed):
        return Reading([None] * len(cells), _absent(absent, "missing"))
    is_whole = not any(isinstance(value, float) for value in (*values.values(), *typed))
    kind = int if is_whole else float
    found = {text: kind(value) for text, value in values.items()}
    is_ambiguous = len(possible) > 1 and possible["."] is not possible[","]
    is_ambiguous &= mark == "," or points_may_group or any("," in text for text in values)
    remarks = (*_spellings(found, mark, is_ambiguous), *_absent(absent, "missing"))
    return Reading([_number(cell, found, kind) for cell in cells], remarks)


def _number(cell: Cell, found: Mapping[str, float], kind: type[int] | type[float]) -> Cell:
    if isinstance(cell, str):
        return found.get(cell)
    return cell if cell is None or isinstance(cell, bool) else kind(cell)


def _is_one_unit(texts: Collection[str]) -> bool:
    """Whether all or none of the numbers are per cent; 0 is both."""
    plain = [text for text in texts if not text.endswith("%")]
    return len(plain) in (0, len(texts)) or not any(text.strip("+-0.,") for text in plain)


def _value(text: str, mark: Mark) -> int | float | None:
    """The number that a text is with this decimal mark; None if it is none.

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
"""Digits of an integer; Python reads no more than 4300, and a longer one is infinite."""


def _class_of(cell: Cell) -> Cell:
    if cell is None or isinstance(cell, str):
        return cell
    return str(int(cell)) if cell == cell and abs(cell) < float("inf") and cell == int(cell) else str(cell)


def _spellings(values: Mapping[str, float], mark: Mark, is_ambiguous: bool) -> list[str]:
    """How the numbers of a column are written."""
    signs = set(",. '\u2019\u00a0\u2007\u2009\u202f") - {mark}
    grouped = sorted(text for text in values if not signs.isdisjoint(text.strip(" %")))
    remarks = []
    if is_ambiguous:
        text = min(text for text in values if "," in text or "." in text)
        other = _value(text, "," if mark == "." else ".")
        return [f"{_quoted(text)} is read as {_shown(values[text])}, not as {_shown(other)}"]
    if mark == "," and any("," in text for text in values):
        remarks.append("decimal comma")
    if grouped:
        remarks.append(f"thousands: {_quoted(grouped[0])} is {_shown(values[grouped[0]])}")
    per_cent = [text for text in values if text.endswith("%")]
    if per_cent:
        greatest = max(per_cent, key=values.__getitem__)
        remarks.append(f"in per cent: {_quoted(greatest)} is {_shown(values[greatest])}")
    return remarks


def _shown(value: float | None) -> str:
    return f"{value:.15g}"


def _nearly_numbers(texts: Counter[str], filled: int) -> tuple[str, ...]:
    """Says so if more than half of the cells of a column of text are numbers."""
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
    return (f"text, since {_counted(others)} {'is no number' if others.total() == 1 else 'are no numbers'}",)


def _absent(texts: Counter[str], what: str) -> tuple[str, ...]:
    return (f"{_counted(texts)} {'is' if texts.total() == 1 else 'are'} {what}",) if texts else ()


def _counted(texts: Counter[str]) -> str:
    """How many cells, and the first few of them.

    >>> _counted(Counter({"NA": 3, "-": 1}))
    '4 cells "NA", "-"'
    """
    first = ", ".join(_quoted(text) for text, _ in sorted(texts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN])
    more = len(texts) - SHOWN
    return f"{texts.total()} cell{'' if texts.total() == 1 else 's'} {first}{f' and {more} others' if more > 0 else ''}"


def _quoted(text: str) -> str:
    return f'"{printable(text if len(text) <= 40 else text[:37] + "...")}"'
