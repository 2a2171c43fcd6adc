"""Conditioning columns: types, encoding and requested values."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from sfumato.data.conditions import (
    FARTHEST,
    MOST_CATEGORIES,
    Category,
    Column,
    Number,
    RequestedColumns,
    beyond,
    check_rows,
    column_of,
    has_numbers,
    requested_rows,
    rows_of_cells,
    spelled,
)
from sfumato.data.labels import encoded
from sfumato.data.sources import Cell
from sfumato.errors import ConfigError, DataError, LabelError, RunError, SfumatoError
from sfumato.utils.files import validated
from sfumato.utils.shapes import UNLABELLED

AGE = Number("age", 30.0, 10.0, 18.0, 90.0)
COLOUR = Category("colour", ("blue", "red"))
COLUMNS: tuple[Column, ...] = (AGE, COLOUR)


# Types of columns


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (["b10", "b9", "a"], Category("c", ("a", "b9", "b10"))),
        ([10, 9, 10], Category("c", ("9", "10"))),
        ([0, 1, 1], Category("c", ("0", "1"))),
        ([True, False], Category("c", ("0", "1"))),
        ([True, 1, 0], Category("c", ("0", "1"))),
        (["x", None], Category("c", ("x",))),
        (["x", 3, True], Category("c", ("1", "3", "x"))),
        (["x", 1.5], Category("c", ("1.5", "x"))),
        ([1.0, 3.0], Number("c", 2.0, 1.0, 1.0, 3.0)),
        ([1, 3.0, None], Number("c", 2.0, 1.0, 1.0, 3.0)),
        ([False, 2.0], Number("c", 1.0, 1.0, 0.0, 2.0)),
        ([0.1, 0.1, 0.1], Number("c", 0.1, 1.0, 0.1, 0.1)),
    ],
)
def test_the_type_of_a_column_follows_from_its_cells(cells: list[Cell], column: Column) -> None:
    assert column_of("c", cells) == column


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([], "column c has no filled cell"),
        ([None, None], "column c has no filled cell"),
        ([1.0, math.nan], "column c has the number nan"),
        ([1.0, -math.inf], "column c has the number -inf"),
        ([1.0, math.nextafter(1e30, math.inf)], "column c has the number 1.0*2e[+]30"),
        ([1.0, 10**400], "column c has the number 1000"),
        (["x", math.nan], "column c has the number nan"),
        (list(map(str, range(1001))), "column c has 1,001 different values.*at most 1,000.*--condition c:number"),
        ([*range(30), 10**400], "column c has the number 1000"),
    ],
)
def test_invalid_columns_are_rejected(cells: list[Cell], message: str) -> None:
    with pytest.raises(DataError, match=message):
        column_of("c", cells)


def test_the_largest_number_is_accepted() -> None:
    assert column_of("c", [-1e30, 1e30]) == Number("c", 0.0, 1e30, -1e30, 1e30)


def test_a_category_has_at_most_a_thousand_values() -> None:
    assert column_of("c", list(range(MOST_CATEGORIES)) * 10).size == MOST_CATEGORIES
    assert column_of("c", [float(i) for i in range(MOST_CATEGORIES + 1)]).size == 0


@pytest.mark.parametrize(
    ("different", "images", "are_numbers"),
    [(20, 20, False), (21, 21, True), (21, 209, True), (21, 210, False), (100, 1000, False), (1001, 20_000, True)],
)
def test_integers_with_fewer_than_ten_images_each_are_numbers(different: int, images: int, are_numbers: bool) -> None:
    cells = [i % different for i in range(images)]
    assert isinstance(column_of("c", cells), Number) == are_numbers
    assert not has_numbers([*cells, "x"])
    assert isinstance(column_of("c", [*cells, None]), Number) == are_numbers


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Category("c", ()), "no values, or a value twice"),
        (lambda: Category("c", ("a", "a")), "no values, or a value twice"),
        (lambda: Number("c", math.nan, 1.0, 0.0, 1.0), "is not valid"),
        (lambda: Number("c", 0.0, math.inf, 0.0, 1.0), "is not valid"),
        (lambda: Number("c", 0.0, 0.0, 0.0, 1.0), "is not valid"),
        (lambda: Number("c", 0.0, 1.0, 2.0, 1.0), "is not valid"),
    ],
)
def test_invalid_column_settings_are_rejected(make: type, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_description_of_a_column_is_shortened() -> None:
    assert list(map(str, COLUMNS)) == ["age (18 to 90)", "colour (blue, red)"]
    assert str(Category("n", tuple("abcdefghij"))) == "n (a, b, c, d, e, f, g, h and 2 more)"


# Encoding


def test_rows_have_indices_standardised_numbers_and_nan() -> None:
    rows = rows_of_cells(COLUMNS, {"colour": ["red", None, "blue"], "age": [20.0, 45, None], "more": [1, 2, 3]})
    expected = torch.tensor([[-1, 1], [1.5, math.nan], [math.nan, 0]])
    torch.testing.assert_close(rows, expected, rtol=0, atol=0, equal_nan=True)
    assert rows.is_contiguous()


def test_encoded_numbers_have_mean_0_and_deviation_1() -> None:
    cells: list[Cell] = [*torch.linspace(1000, 1001, 50).tolist(), None]
    rows = rows_of_cells([column_of("c", cells)], {"c": cells})[:-1]
    assert abs(rows.mean().item()) < 1e-5
    assert rows.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_one_category_becomes_classes_and_other_columns_rows() -> None:
    species, age = ["dog", None, "cat"], [1.0, 2.0, None]
    alone = encoded({"species": species})
    assert alone.labels is not None
    assert (alone.labels.tolist(), alone.label_names, alone.columns) == ([1, UNLABELLED, 0], ("cat", "dog"), ())
    assert alone.labels.dtype == torch.int64
    for cells in ({"age": age}, {"species": species, "age": age}, {"species": species, "wild": [True, False, True]}):
        several = encoded(cells)
        assert several.labels is not None
        assert several.labels.shape == (3, len(cells))
        assert several.labels.dtype == torch.float32
        assert (several.label_names, [column.name for column in several.columns]) == ((), list(cells))


# Requested values


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ({"age": 40}, [[1, None]] * 3),
        ({"age": "40.0"}, [[1, None]] * 3),
        ({"colour": "red"}, [[None, 1]] * 3),
        ({"colour": ["red", "blue"], "age": [20, 30, 50]}, [[-1, 1], [0, 0], [2, 1]]),
        ({"age": 1000}, [[97, None]] * 3),
        ({"age": 30 + 10 * FARTHEST}, [[FARTHEST, None]] * 3),
        ({}, [[None, None]] * 3),
    ],
)
def test_requested_values_repeat_and_other_columns_are_unknown(
    asked: RequestedColumns, rows: list[list[float | None]]
) -> None:
    found = requested_rows(COLUMNS, asked, 3)
    assert found.dtype == torch.float32
    assert [[None if math.isnan(code) else code for code in row] for row in found.tolist()] == rows


@pytest.mark.parametrize("asked", [True, 1, "1"])
def test_booleans_are_0_and_1(asked: bool | int | str) -> None:
    assert requested_rows([Category("wild", ("0", "1"))], {"wild": asked}, 1).item() == 1


UNASKABLE: list[tuple[RequestedColumns, str]] = [
    ({"size": 3}, r"the column 'size'.*It knows: age \(18 to 90\), colour \(blue, red\)"),
    ({"colour": "green"}, "the colour 'green'.*It knows: blue, red"),
    ({"colour": ["red", "green"]}, "the colour 'green'"),
    ({"colour": ""}, "the colour ''"),
    ({"colour": []}, "no value was given for the column 'colour'"),
    ({"age": "old"}, "age cannot be 'old'.*a number such as 30; the training images have 18 to 90"),
    ({"age": math.nan}, "age cannot be nan"),
    ({"age": "inf"}, "age cannot be 'inf'"),
    ({"age": 10**400}, "age cannot be 1000"),
    ({"age": 30 + 10.1 * FARTHEST}, "age cannot be 10100030"),
]


@pytest.mark.parametrize(("asked", "message"), UNASKABLE)
def test_unknown_columns_and_values_are_rejected(asked: RequestedColumns, message: str) -> None:
    for ask in (lambda: requested_rows(COLUMNS, asked, 2), lambda: beyond(COLUMNS, asked)):
        with pytest.raises(LabelError, match=message):
            ask()


def test_a_model_without_classes_accepts_no_labels() -> None:
    with pytest.raises(LabelError, match=r"the age 3 was given to a model that knows no classes.*without labels"):
        requested_rows((), {"age": 3}, 2)


def test_a_number_outside_the_training_range_is_reported() -> None:
    assert beyond(COLUMNS, {"age": [18, "90", 17.9, "91"], "colour": "red"}) == [
        "age=17.9 is outside the range of the training images, 18 to 90.",
        "age=91 is outside the range of the training images, 18 to 90.",
    ]


@pytest.mark.parametrize(
    "column",
    [AGE, Number("c", 1234567.0, 3e-3, 0.0, 2e6), Number("c", -4e-9, 2e-9, -1.0, 1.0), Number("c", 0.0, 1e9, 0.0, 1.0)],
)
@pytest.mark.parametrize("deviations", [-2, 0, 0.5, 3])
def test_a_number_survives_encoding_and_decoding(column: Number, deviations: float) -> None:
    asked = column.mean + deviations * column.deviation
    (written,) = spelled([column], requested_rows([column], {column.name: asked}, 1))
    assert written == {column.name: pytest.approx(asked, abs=1e-5 * column.deviation)}


def test_decoded_numbers_have_no_rounding_errors_of_float32() -> None:
    asked = [round(30 + 0.7 * i, 1) for i in range(-500, 500)]
    assert [written["age"] for written in spelled([AGE], requested_rows([AGE], {"age": asked}, 1000))] == asked


def test_known_values_are_decoded_by_column() -> None:
    rows = requested_rows(COLUMNS, {"age": [33.3, 18], "colour": ["red", "blue"]}, 2)
    rows[1, 0] = math.nan
    assert spelled(COLUMNS, rows) == [{"age": 33.3, "colour": "red"}, {"colour": "blue"}]
    assert spelled([COLOUR], torch.tensor([1, UNLABELLED])) == [{"colour": "red"}, {}]


FOREIGN = [
    (torch.zeros(2), "labels of shape (2,)"),
    (torch.zeros(2, 3), "labels of shape (2, 3)"),
    (torch.tensor([[0.0, 2.0]]), "invalid code for colour"),
    (torch.tensor([[0.0, -1.0]]), "invalid code for colour"),
    (torch.tensor([[0.0, 0.5]]), "invalid code for colour"),
    (torch.tensor([[math.inf, 0.0]]), "invalid code for age"),
    (torch.tensor([[0.0, 0.0], [2e6, 0.0]]), "invalid code for age"),
]


@pytest.mark.parametrize(("rows", "message"), FOREIGN)
def test_rows_of_other_columns_are_rejected(rows: torch.Tensor, message: str, unchecked: None) -> None:
    del unchecked
    with pytest.raises(LabelError) as caught:
        check_rows(COLUMNS, rows)
    assert message in caught.value.problem


def test_rows_of_these_columns_are_accepted() -> None:
    check_rows(COLUMNS, torch.tensor([[math.nan, 1.0], [-1e6, math.nan], [0.5, 0.0]]))


# Files


@dataclass(frozen=True)
class Described:
    """A class with columns."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    columns: tuple[Column, ...] = ()


def test_columns_are_restored_from_json() -> None:
    fields = json.loads(json.dumps(asdict(Described(COLUMNS))))
    assert validated(Described, fields, Path("config.json")) == Described(COLUMNS)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "category", "name": "c"},
        {"kind": "category", "name": "c", "values": []},
        {"kind": "category", "name": "c", "values": ["a"], "more": 1},
        {"kind": "number", "name": "c", "values": ["a"]},
        {"kind": "number", "name": "c", "mean": 0, "deviation": 0, "low": 0, "high": 1},
        {"kind": "number", "name": "c", "mean": "nan", "deviation": 1, "low": 0, "high": 1},
        {"kind": "other", "name": "c", "values": ["a"]},
    ],
)
def test_an_invalid_column_in_a_file_is_rejected(fields: dict[str, object], unchecked: None) -> None:
    del unchecked
    error: type[SfumatoError] = RunError
    with pytest.raises(error, match=r"config\.json"):
        validated(Described, {"columns": [fields]}, Path("config.json"))
