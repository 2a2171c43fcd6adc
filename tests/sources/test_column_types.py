"""Type inference for columns: notations of numbers, and words for missing values."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import pytest

from sfumato.data.sources import Cell
from sfumato.data.sources.column_types import (
    ParsedColumn,
    cells_to_classes,
    cells_to_numbers,
    parse_columns,
    without_missing_words,
)


def read(cells: Sequence[Cell], delimiter: str | None = ",") -> ParsedColumn:
    """Parses an untyped or typed column; returns its values and remarks."""
    values, notices = parse_columns({"c": cells}, {} if delimiter is None else {"c": delimiter})
    remarks = tuple(notice.text.removeprefix("c: ").removesuffix(".") for notice in notices)
    return ParsedColumn(list(values["c"]), remarks)


@pytest.mark.parametrize(
    ("cells", "expected", "delimiter"),
    [
        ("1 -2 +3", [1, -2, 3], ","),
        ("1 2.5", [1.0, 2.5], ","),
        ("5. .5 -.5", [5.0, 0.5, -0.5], ","),
        ("1e3 1E-3 +1.5e+2", [1000.0, 0.001, 150.0], ","),
        ("−5 3", [-5, 3], ","),
        ("0 -0 0.0", [0.0, 0.0, 0.0], ","),
        ("1 inf -Infinity", [1.0, math.inf, -math.inf], ","),
        ("12345678901234567890 1", [12345678901234567890, 1], ","),
        # a decimal comma
        ("0,5 1,25", [0.5, 1.25], ";"),
        ("0,5 1,25", [0.5, 1.25], ","),
        ("0,5 1,25", [0.5, 1.25], "\t"),
        (",5 -1,5e3", [0.5, -1500.0], ";"),
        ("0,500 1,000", [0.5, 1.0], ","),
        ("1,000 1234,5", [1.0, 1234.5], ","),
        ("1,000 0,5 7", [1.0, 0.5, 7.0], ","),
        # thousands
        ("1,000 2", [1000, 2], ","),
        ("1,000 2", [1000, 2], "\t"),
        ("1,234,567 1,000", [1234567, 1000], ";"),
        ("1,234.5 0.25", [1234.5, 0.25], ","),
        ("1,000 0.25", [1000.0, 0.25], ";"),
        ("1.000,5 2", [1000.5, 2.0], ","),
        ("1.234.567 1.000", [1234567, 1000], ","),
        ("1.000 0,5", [1000.0, 0.5], ";"),
        ("-1'000 1’000.5", [-1000.0, 1000.5], ","),
        ("1_000_000|12", [1_000_000, 12], ","),
        ("1_000,5|12", [1000.5, 12.0], ";"),
        ("1\u00a0000|1\u202f000|1\u2009000_000", [1000, 1000, 1_000_000], ","),
        # ambiguous
        ("1,000", [1000], ","),
        ("1,000", [1.0], ";"),
        ("1.000 2.500", [1.0, 2.5], ";"),
        ("1.000 2.500", [1.0, 2.5], ","),
        # percentages
        ("10% 5%", [10.0, 5.0], ","),
        ("10_%|0|-2.5%", [10.0, 0.0, -2.5], ","),
        ("0,5% 1%", [0.5, 1.0], ";"),
        # missing values
        ("1 NA N/A n/a NaN nan null NULL None <NA> #N/A na none n.a.", [1, *[None] * 13], ","),
        ("0.5 - -- ? . – \\N", [0.5, *[None] * 6], ","),
        ("0,5 NA", [0.5, None], ";"),
        ("NA - NA", [None, None, None], ","),
    ],
)
def test_a_column_of_numbers_and_missing_values_is_numeric(cells: str, expected: list[Cell], delimiter: str) -> None:
    texts = [text.replace("_", " ") for text in cells.split("|")] if "_" in cells or "|" in cells else cells.split()
    found = read(texts, delimiter).cells
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize(
    "cells",
    [
        *("007 12", "1_0 2.5", "00.5 1", "1 x", "1,00 1.5", "1,0000 1.5", "12,34 5.6", "1.5.2 1", "0x10 1", "1e 2"),
        *("10% 0.5", "5cm 6cm", "1/2 1", "2020-01-31 2020-02-28", "12:30 12:45", "true false", "٣ ٤", "½ 1", "+ - 0"),
        *("0,123,456 1.5", "1,2,3 4", "1..2 3", "-,5,5 1", "x NA", "A1 B2", "NA cat"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_column_with_any_other_cell_is_text(cells: str, delimiter: str) -> None:
    assert read(cells.split(), delimiter).cells == cells.split()


def test_only_one_thousands_separator_is_accepted() -> None:
    assert read(["1,000 000", "2"]).cells == ["1,000 000", "2"]


@pytest.mark.parametrize(
    ("cells", "delimiter", "remarks"),
    [
        ("1 2.5", ",", ""),
        ("cat NA", ",", ""),
        ("0,5 NA NA NA", ";", 'decimal comma; 3 cells "NA" are missing'),
        ("1 - - NA", ",", '3 cells "-", "NA" are missing'),
        ("1 ?", ",", '1 cell "?" is missing'),
        ("1 - ? . NA nan", ",", '5 cells "-", ".", "?" and 2 others are missing'),
        ("1,000.5 2", ",", 'thousands: "1,000.5" is 1000.5'),
        ("1.000,5 2", ";", 'decimal comma; thousands: "1.000,5" is 1000.5'),
        ("1,000 2", ",", '"1,000" is read as 1000, not as 1'),
        ("1,000 2", ";", '"1,000" is read as 1, not as 1000'),
        ("1.000 2", ";", '"1.000" is read as 1, not as 1000'),
        ("1.000 2", ",", ""),
        ("10% 2%", ",", 'percentages: "10%" is 10'),
        ("10% 0.5", ",", "text, since only some of the numbers are percentages"),
        ("1 2 3 old", ",", 'text, since 1 cell "old" is not a number'),
        ("1 2 3 4 old ten", ",", 'text, since 2 cells "old", "ten" are not numbers'),
        ("1 old ten", ",", ""),
    ],
)
def test_decisions_are_reported_with_a_flag(cells: str, delimiter: str, remarks: str) -> None:
    values, notices = parse_columns({"c": cells.split()}, {"c": delimiter})
    assert [(notice.topic, notice.text, notice.matters) for notice in notices] == (
        [("columns", f"c: {remarks}.", False)] if remarks else []
    )
    kind = "number" if any(isinstance(cell, str) for cell in values["c"]) else "class"
    assert all(notice.flag == f"--condition c:{kind}" for notice in notices)


@pytest.mark.parametrize(
    ("other", "delimiter", "expected"),
    [
        (["0,5"], ",", ([1.0], [1000])),
        (["0.5"], ";", ([1000], [1.0])),
        (["x"], ",", ([1000], [1.0])),
        (["x"], ";", ([1.0], [1.0])),
    ],
)
def test_an_ambiguous_column_uses_the_notation_of_the_others(
    other: list[Cell], delimiter: str, expected: tuple[list[Cell], list[Cell]]
) -> None:
    columns: dict[str, Sequence[Cell]] = {"comma": ["1,000"], "point": ["1.000"], "other": other}
    values, _ = parse_columns(columns, dict.fromkeys(columns, delimiter))
    assert (values["comma"], values["point"]) == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([3, "NA", 4], [3, None, 4]),
        ([3, "-", 4.5, None], [3.0, None, 4.5, None]),
        ([3, "4", "5,000"], [3, 4, 5000]),
        ([3, "cat"], [3, "cat"]),
        ([0.5, math.nan], [0.5, None]),
        (["1", "2"], ["1", "2"]),
        (["NA", "cat"], ["NA", "cat"]),
        ([True, "NA"], [True, "NA"]),
        ([0.5, "10%"], [0.5, "10%"]),
    ],
)
def test_a_typed_column_is_only_parsed_if_it_mixes_numbers_and_text(cells: list[Cell], expected: list[Cell]) -> None:
    found = read(cells, None).cells
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize(
    ("cells", "missing"),
    [
        ("cat dog NA N/A nan null NaN <NA> #N/A", "NA N/A nan null NaN <NA> #N/A"),
        ("cat dog None - ? . --", "None - ? . --"),
        ("cat NA", "NA"),
        ("crack None", ""),
        ("cat -", ""),
        ("+ -", ""),
        ("+ - 0", ""),
        ("+ - NA None", "NA"),
        ("+ - 0 None", "None"),
        ("cat dog none na Na NONE unknown", ""),
        ("None None", "None"),
        ("NA NA", "NA"),
    ],
)
def test_words_for_missing_values_are_not_classes(cells: str, missing: str) -> None:
    reading = without_missing_words(cells.split())
    absent = set(missing.split())
    assert list(reading.cells) == [None if cell in absent else cell for cell in cells.split()]
    assert bool(reading.remarks) == bool(absent)


def test_a_column_can_be_converted_to_numbers_or_classes() -> None:
    numbers = cells_to_numbers(["007", "1.5", "old", None, "NA", "1,000"])
    assert list(numbers.cells) == [7.0, 1.5, None, None, None, 1000.0]
    assert numbers.remarks == ('2 cells "NA", "old" are taken as missing',)
    assert list(cells_to_numbers(["0,5", "x"]).cells) == [0.5, None]
    assert list(cells_to_numbers([1, True, 2.5, math.nan]).cells) == [1.0, 1.0, 2.5, None]
    assert list(cells_to_classes([1, 2.0, 0.5, True, "NA", None]).cells) == ["1", "2", "0.5", "1", "NA", None]


PANDAS: list[tuple[str, dict[str, str]]] = [
    ("1,2.5,-3,+4,1e3,.5,5.,-0.25", {}),
    ("1,NA,3,N/A,n/a,NaN,nan,null,NULL,None,<NA>,#N/A,-nan,1.#IND", {}),
    ("1 000;2;3 000 000", {"thousands": " "}),
    ('"1,000";2;"3,000,000"', {"thousands": ","}),
    ('"1,000.5";0.25;1', {"thousands": ","}),
    ("0,5;1,25;7", {"decimal": ","}),
    ("1.000,5;0,25;1.234.567", {"decimal": ",", "thousands": "."}),
    ("inf;-inf;1", {}),
    ("red;blue;NA;null", {}),
    ("007;x;12", {}),
]


@pytest.mark.parametrize(("line", "options"), PANDAS, ids=[line for line, _ in PANDAS])
def test_columns_equal_those_of_pandas(line: str, options: dict[str, str]) -> None:
    pandas = pytest.importorskip("pandas")
    separator = ";" if ";" in line else ","
    cells = next(csv.reader([line], delimiter=separator))
    content = io.StringIO("c\n" + "\n".join(f'"{cell}"' for cell in cells))
    expected = pandas.read_csv(content, sep=separator, **options)["c"]
    found = without_missing_words(list(read(cells, separator).cells)).cells
    assert [cell is None for cell in found] == expected.isna().tolist()
    known = [cell for cell in found if cell is not None]
    assert known == expected.dropna().tolist()
    assert isinstance(known[0], str) == (expected.dtype.kind not in "if")
