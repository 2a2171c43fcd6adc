"""What a model may be told of an image beside a class: columns of a table, encoded as the rows of a tensor.

A column of text is a `Category`, one of floats a `Number`, and one of integers either: see `has_numbers`. A row (k,) of
k columns holds the index of each category and each number standardised to the training images; NaN stands for what is
not known.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, pstdev
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from sfumato.errors import ConfigError, DataError, LabelError
from sfumato.utils.natural_sort import natural_key
from sfumato.utils.shapes import UNLABELLED, Classes, Labels, Rows

Cell = str | int | float | bool | None
"""A cell of a table; None: the image has none."""

Value = str | int | float | bool
"""What a person asks of a column. Numbers may be written as text, and categories as the integers that they are."""

RequestedColumns = Mapping[str, Value | Sequence[Value]]
"""A value for each column that is named, or several that take turns from image to image."""

MOST_VALUES = 1000
"""A column of text with more values tells images apart, but says nothing of them."""

FEW_INTEGERS = 20
"""A column with at most this many different integers is a category."""

IMAGES_AN_INTEGER = 10
"""With fewer images for each of its integers, a column is numbers: a class of its own would be learned from too few."""

LARGEST = 1e30
"""Of the numbers in a column; beyond lies little that float32 can hold."""

FARTHEST = 1e6
"""Deviations from the mean at which a number may be asked."""

MOST_SHOWN = 8
"""Values of a category that are shown where it is described."""


@dataclass(frozen=True)
class Category:
    """A column whose values are classes.

    Attributes:
        name: of the column.
        values: in the order of their indices.
        kind: tells it from a `Number` in a file.

    Raises:
        ConfigError: no values, or some that are the same.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    values: tuple[str, ...]
    kind: Literal["category"] = "category"

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) < len(self.values):
            raise ConfigError(f"the values {self.values} of {self.name} are none or not all different", "Change them.")

    def __str__(self) -> str:
        more = len(self.values) - MOST_SHOWN
        return f"{self.name} ({', '.join(self.values[:MOST_SHOWN])}{f' and {more} more' if more > 0 else ''})"

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)

    def code(self, value: Value) -> float:
        """The index of a value.

        Raises:
            LabelError: it is not known; lists those that are.
        """
        text = _spelled(value)
        if text not in self._indices:
            raise LabelError(
                f"the model does not know the {self.name} {text!r}", f"It knows: {', '.join(self.values)}."
            )
        return float(self._indices[text])

    def value(self, code: float) -> str:
        """The value of an index."""
        return self.values[round(code)]

    def admits(self, codes: Tensor) -> bool:
        """Whether each of the codes (n,) is the index of a value."""
        return bool(((codes == codes.round()) & (codes >= 0) & (codes < self.size)).all())

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {value: index for index, value in enumerate(self.values)}


@dataclass(frozen=True)
class Number:
    """A column of numbers, which the network sees as deviations from their mean.

    Attributes:
        name: of the column.
        mean: of the training images.
        deviation: the standard deviation of the training images; 1 where all are the same.
        low: the least number of a training image.
        high: the greatest.
        kind: tells it from a `Category` in a file.

    Raises:
        ConfigError: numbers that cannot be those of a column.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    mean: float
    deviation: float
    low: float
    high: float
    kind: Literal["number"] = "number"

    size: ClassVar[int] = 0
    """It has no values to be counted."""

    def __post_init__(self) -> None:
        finite = all(map(math.isfinite, (self.mean, self.deviation, self.low, self.high)))
        if not (finite and self.deviation > 0 and self.low <= self.high):
            raise ConfigError(
                f"{self.name} of mean {self.mean}, deviation {self.deviation} and range {self.low} to {self.high} "
                "cannot be",
                "Give finite numbers, a deviation above 0 and a range that rises.",
            )

    def __str__(self) -> str:
        return f"{self.name} ({self.low:g} to {self.high:g})"

    def code(self, value: Value) -> float:
        """The deviations from the mean.

        Raises:
            LabelError: it is no number, or beyond all that could make sense.
        """
        try:
            code = (float(value) - self.mean) / self.deviation
        except (ValueError, OverflowError):
            code = math.nan
        if not abs(code) <= FARTHEST:
            raise LabelError(
                f"{self.name} cannot be {value!r}",
                f"Give a number such as {self.mean:.3g}; the training images have {self.low:g} to {self.high:g}.",
            )
        return code

    def value(self, code: float) -> float:
        """The number of a code, to as many digits as float32 leaves."""
        return round(self.mean + code * self.deviation, 5 - math.floor(math.log10(self.deviation)))

    def admits(self, codes: Tensor) -> bool:
        """Whether each of the codes (n,) stands for a number."""
        return bool((codes.abs() <= FARTHEST).all())

    def holds(self, value: Value) -> bool:
        """Whether a number lies among those of the training images."""
        return self.low <= float(value) <= self.high


Column = Category | Number


class Encoded(NamedTuple):
    """What is learned of images, as data sets and models take it.

    Attributes:
        labels: class indices (n,) where the only column is a category, else rows (n, k).
        label_names: the classes; empty for rows.
        columns: those of the rows; empty for classes.
    """

    labels: Labels
    label_names: tuple[str, ...]
    columns: tuple[Column, ...]


def encoded(cells: Mapping[str, Sequence[Cell]]) -> Encoded:
    """The columns of a table, each what its cells make it, as labels.

    >>> encoded({"species": ["cat", None, "dog"]})
    Encoded(labels=tensor([ 0, -1,  1]), label_names=('cat', 'dog'), columns=())
    >>> encoded({"species": ["cat", "dog"], "age": [1.0, 3.0]}).labels
    tensor([[ 0., -1.],
            [ 1.,  1.]])

    Args:
        cells: by the name of the column, a cell an image; at least one column.

    Raises:
        DataError: a column without a cell, with numbers that are not finite, or with too many values for classes.
    """
    columns = tuple(column_of(name, column) for name, column in cells.items())
    rows = encode(columns, cells)
    match columns:
        case (Category() as only,):
            return Encoded(as_classes(rows), only.values, ())
    return Encoded(rows, (), columns)


def column_of(name: str, cells: Sequence[Cell]) -> Column:
    """A `Number` where `has_numbers` says so, else a `Category` of all texts in natural order.

    Raises:
        DataError: no cell is filled, a number is not finite, or a category would have more than `MOST_VALUES` values.
    """
    known = [cell for cell in cells if cell is not None]
    if not known:
        raise DataError(f"the column {name} has no filled cell", "Fill it in, or name another.")
    numbers = [cell for cell in known if not isinstance(cell, str)]
    are_codes = not has_numbers(known) and not any(isinstance(cell, float) for cell in numbers)
    strange = [cell for cell in numbers if not (are_codes or abs(cell) <= LARGEST)]
    if strange:
        raise DataError(
            f"the column {name} has the number {strange[0]}", "Leave such cells empty; an image may lack a number."
        )
    if has_numbers(known):
        floats = [float(cell) for cell in numbers]
        return Number(name, mean(floats), pstdev(floats) or 1.0, min(floats), max(floats))
    values = {_spelled(cell) for cell in known}
    if len(values) > MOST_VALUES:
        raise DataError(
            f"the column {name} has {len(values):,} different values, of which a network would learn nothing",
            f"Name one with at most {MOST_VALUES:,}, or take it as numbers: --condition {name}:number.",
        )
    return Category(name, tuple(sorted(values, key=natural_key)))


def has_numbers(cells: Sequence[Cell]) -> bool:
    """Whether a column is numbers and not classes, by its filled cells.

    It is if it has floats and no text; also if it has integers, of which more than 20 are different with fewer than ten
    images for each, or more than 1000: ages, say, whose neighbours tell of each other.
    """
    known = [cell for cell in cells if cell is not None]
    kinds = set(map(type, known))
    if str in kinds or not kinds:
        return False
    different = len(set(known))
    are_many = different > FEW_INTEGERS and different * IMAGES_AN_INTEGER > len(known)
    return float in kinds or are_many or different > MOST_VALUES


def encode(columns: Sequence[Column], cells: Mapping[str, Sequence[Cell]]) -> Rows:
    """The rows (n, k) of a table, NaN where a cell is None.

    Raises:
        LabelError: a value that its column does not know.
    """
    codes = [[math.nan if cell is None else column.code(cell) for cell in cells[column.name]] for column in columns]
    return torch.tensor(codes, dtype=torch.float32).T.contiguous()


def requested_rows(columns: Sequence[Column], asked: RequestedColumns, count: int) -> Rows:
    """The rows (count, k) that a person asks for; columns that are not named are not known.

    >>> colour = Category("colour", ("blue", "red"))
    >>> requested_rows([colour, Number("age", 30.0, 10.0, 18.0, 90.0)], {"colour": ["red", "blue"]}, 3)
    tensor([[1., nan],
            [0., nan],
            [1., nan]])

    Raises:
        LabelError: a column or a value that is not known, or a column without a value; lists what is known.
    """
    rows = torch.full((count, len(columns)), math.nan)
    for index, values in _named(columns, asked).items():
        codes = torch.tensor([columns[index].code(value) for value in values], dtype=torch.float32)
        rows[:, index] = codes[torch.arange(count) % len(codes)]
    return rows


def beyond(columns: Sequence[Column], asked: RequestedColumns) -> list[str]:
    """Sentences about the numbers that are asked though no training image comes near them.

    Raises:
        LabelError: as `requested_rows`.
    """
    requested_rows(columns, asked, 1)
    return [
        f"{column.name}={value} lies beyond the training images, which have {column.low:g} to {column.high:g}."
        for index, values in _named(columns, asked).items()
        for value in values
        if isinstance(column := columns[index], Number) and not column.holds(value)
    ]


def spelled(columns: Sequence[Column], labels: Labels) -> list[dict[str, str | float]]:
    """Of each image the values that are known, by the names of their columns; classes are those of one column."""
    rows = as_rows(labels) if labels.ndim == 1 else labels
    return [
        {column.name: column.value(code) for column, code in zip(columns, row, strict=True) if not math.isnan(code)}
        for row in rows.tolist()
    ]


def check_rows(columns: Sequence[Column], rows: Labels) -> None:
    """Raises `LabelError` unless the rows are of these columns."""
    if rows.ndim != 2 or rows.shape[1] != len(columns):
        raise LabelError(
            f"labels of shape {tuple(rows.shape)} were given to a model of {len(columns)} columns",
            f"Give rows of {', '.join(map(str, columns))}.",
        )
    for column, codes in zip(columns, rows.T, strict=True):
        if not column.admits(codes[~codes.isnan()]):
            raise LabelError(f"rows were given whose {column.name} the model cannot read", f"It knows: {column}.")


def as_classes(rows: Rows) -> Classes:
    """The class indices (n,) of rows (n, 1) of a category."""
    return rows[:, 0].nan_to_num(UNLABELLED).long()


def as_rows(classes: Classes) -> Rows:
    """The rows (n, 1) of class indices (n,)."""
    return classes[:, None].float().masked_fill(classes[:, None] == UNLABELLED, math.nan)


def _named(columns: Sequence[Column], asked: RequestedColumns) -> dict[int, Sequence[Value]]:
    """The values that are asked, by the index of their column."""
    names = [column.name for column in columns]
    found: dict[int, Sequence[Value]] = {}
    for name, given in asked.items():
        values = [given] if isinstance(given, Value) else given
        if not values:
            raise LabelError(f"no value was given for the column {name!r}", "Give one, or leave the column out.")
        if not names:
            problem = f"the {name} {values[0]!r} was given to a model that knows no classes"
            raise LabelError(problem, "Sample without labels.")
        if name not in names:
            known = ", ".join(map(str, columns))
            raise LabelError(f"the model does not know the column {name!r}", f"It knows: {known}.")
        found[names.index(name)] = values
    return found


def _spelled(value: Value) -> str:
    """A value of a category as text; truth as 0 or 1, as tables have it."""
    return str(int(value)) if isinstance(value, bool) else str(value)
