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


def read(cells: Sequence[Cell], is_typed: bool = False) -> ParsedColumn:
    """Parses an untyped or typed column; returns its values and remarks."""
    values, notices = parse_columns({"c": cells}, () if is_typed else ("c",))
    remarks = tuple(notice.text.removeprefix("c: ").removesuffix(".") for notice in notices)
    return ParsedColumn(list(values["c"]), remarks)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ("1 -2 +3", [1, -2, 3]),
        ("1 2.5", [1.0, 2.5]),
        ("5. .5 -.5", [5.0, 0.5, -0.5]),
        ("1e3 1E-3 +1.5e+2", [1000.0, 0.001, 150.0]),
        ("0 -0 0.0", [0.0, 0.0, 0.0]),
        ("12345678901234567890 1", [12345678901234567890, 1]),
        ("1.000 2.500", [1.0, 2.5]),
        # a decimal comma
        ("0,5 1,25", [0.5, 1.25]),
        (",5 -1,5e3", [0.5, -1500.0]),
        ("0,500 1,000", [0.5, 1.0]),
        ("1,000 1234,5", [1.0, 1234.5]),
        ("1,000 0,5 7", [1.0, 0.5, 7.0]),
        # missing values
        ("1 NA N/A n/a NaN nan null NULL None <NA> #N/A na none n.a.", [1, *[None] * 13]),
        ("0.5 - -- ? . – \\N", [0.5, *[None] * 6]),
        ("0,5 NA .", [0.5, None, None]),
        ("NA - NA", [None, None, None]),
    ],
)
def test_a_column_of_numbers_and_missing_values_is_numeric(cells: str, expected: list[Cell]) -> None:
    found = read(cells.split()).cells
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize(
    "cells",
    [
        *("007 12", "1_0 2.5", "00.5 1", "1 x", "1,00 1.5", "1,0000 1.5", "12,34 5.6", "1.5.2 1", "0x10 1", "1e 2"),
        *("10% 0.5", "10% 5%", "5cm 6cm", "1/2 1", "2020-01-31 2020-02-28", "12:30 12:45", "true false", "٣ ٤", "½ 1"),
        *(
            "0,123,456 1.5",
            "1,2,3 4",
            "1..2 3",
            "-,5,5 1",
            "x NA",
            "A1 B2",
            "NA cat",
            "+ - 0",
            "1 inf",
            "−5 3",
            "1'000 1",
        ),
        # possible thousands
        *("1,000", "1,000 2", "1,000 0.25", "1.000 0,5", "1.000,5 2", "1,234.5 0,5", "1,234,567 0,5"),
    ],
)
def test_a_column_with_any_other_cell_is_text(cells: str) -> None:
    assert read(cells.split()).cells == cells.split()


@pytest.mark.parametrize(
    ("cells", "remarks"),
    [
        ("1 2.5", ""),
        ("cat NA", ""),
        ("0,5 NA NA NA", 'decimal comma; missing: 3 cells "NA"'),
        ("1 - - NA", 'missing: 3 cells "-", "NA"'),
        ("1 ?", 'missing: 1 cell "?"'),
        ("1 - ? . NA nan", 'missing: 5 cells "-", ".", "?" and 2 others'),
        ("1,000 2", ""),
        ("1,000 2 3", 'text, since not a number: 1 cell "1,000"'),
        ("1 2 3 old", 'text, since not a number: 1 cell "old"'),
        ("1 2 3 4 old ten", 'text, since not a number: 2 cells "old", "ten"'),
        ("1 old ten", ""),
    ],
)
def test_decisions_are_reported_with_a_flag(cells: str, remarks: str) -> None:
    values, notices = parse_columns({"c": cells.split()}, ["c"])
    assert [(notice.topic, notice.text, notice.matters) for notice in notices] == (
        [("columns", f"c: {remarks}.", False)] if remarks else []
    )
    kind = "number" if any(isinstance(cell, str) for cell in values["c"]) else "class"
    assert all(notice.flag == f"--condition c:{kind}" for notice in notices)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([3, "NA", 4], [3, None, 4]),
        ([3, "-", 4.5, None], [3.0, None, 4.5, None]),
        ([3, "4", "5,0"], [3.0, 4.0, 5.0]),
        ([3, "cat"], [3, "cat"]),
        ([0.5, math.nan], [0.5, None]),
        (["1", "2"], ["1", "2"]),
        (["NA", "cat"], ["NA", "cat"]),
        ([True, "NA"], [True, "NA"]),
        ([0.5, "10%"], [0.5, "10%"]),
    ],
)
def test_typed_columns_are_parsed_only_if_numbers_and_text_mix(cells: list[Cell], expected: list[Cell]) -> None:
    found = read(cells, is_typed=True).cells
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


@pytest.mark.parametrize(
    ("cells", "missing"),
    [
        ("cat dog NA N/A nan null NaN <NA> #N/A", "NA N/A nan null NaN <NA> #N/A"),
        ("cat NA", "NA"),
        ("crack None", ""),
        ("+ - ?", ""),
        ("cat dog none na Na NONE unknown", ""),
        ("NA NA", "NA"),
    ],
)
def test_words_for_missing_values_are_not_classes(cells: str, missing: str) -> None:
    reading = without_missing_words(cells.split())
    absent = set(missing.split())
    assert list(reading.cells) == [None if cell in absent else cell for cell in cells.split()]
    assert bool(reading.remarks) == bool(absent)


def test_a_column_can_be_converted_to_numbers_or_classes() -> None:
    numbers = cells_to_numbers(["007", "1.5", "old", None, "NA", "1,000", "10%"])
    assert list(numbers.cells) == [7.0, 1.5, None, None, None, None, None]
    assert numbers.remarks == ('taken as missing: 4 cells "1,000", "10%", "NA" and 1 others',)
    assert list(cells_to_numbers(["0,5", "x"]).cells) == [0.5, None]
    assert list(cells_to_numbers(["1,000", "2"]).cells) == [None, 2.0]
    assert list(cells_to_numbers([1, True, 2.5, math.nan]).cells) == [1.0, 1.0, 2.5, None]
    assert list(cells_to_classes([1, 2.0, 0.5, True, "NA", None]).cells) == ["1", "2", "0.5", "1", "NA", None]


PANDAS: list[tuple[str, dict[str, str]]] = [
    ("1,2.5,-3,+4,1e3,.5,5.,-0.25", {}),
    ("1,NA,3,N/A,n/a,NaN,nan,null,NULL,None,<NA>,#N/A,-nan,1.#IND", {}),
    ("0,5;1,25;7", {"decimal": ","}),
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
    found = without_missing_words(list(read(cells).cells)).cells
    assert [cell is None for cell in found] == expected.isna().tolist()
    known = [cell for cell in found if cell is not None]
    assert known == expected.dropna().tolist()
    assert isinstance(known[0], str) == (expected.dtype.kind not in "if")
