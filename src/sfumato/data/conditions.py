"""Conditioning on the columns of a table, encoded as the rows of a tensor.

A column of text is a `Category` and a column of floats is a `Number`; a column of integers is one of them, see
`has_numbers`. A row (k,) of k columns holds the index of each category and each number, standardised with the mean and
standard deviation of the training images. Unknown values are NaN.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, pstdev
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sfumato.errors import ConfigError, DataError, LabelError
from sfumato.utils.shapes import UNLABELLED, Classes, Labels, Rows
from sfumato.utils.text import listed, natural_key

Value = str | int | float | bool
"""A value of a column. Requested numbers may be text, and requested categories may be integers."""

RequestedColumns = Mapping[str, Value | Sequence[Value]]
"""A value, or several values that are repeated over the images, for each column."""

MOST_CATEGORIES = 1000
"""Largest number of different values of a category."""

FEW_INTEGERS = 20
"""A column with at most this many different integers is a category."""

IMAGES_AN_INTEGER = 10
"""A column with fewer images per integer is numeric: there are too few images to learn each class."""

LARGEST = 1e30
"""Largest absolute number in a column; larger ones are close to the limit of float32."""

FARTHEST = 1e6
"""Largest accepted distance of a requested number from the mean, in standard deviations."""

MOST_SHOWN = 8
"""Number of values that the description of a category lists."""


@dataclass(frozen=True)
class Category:
    """A categorical column.

    Attributes:
        name: name of the column.
        values: names of the classes, in the order of their indices.
        kind: distinguishes categories from numbers in files.

    Raises:
        ConfigError: there are no values, or a value is repeated.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    values: tuple[str, ...]
    kind: Literal["category"] = "category"

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) < len(self.values):
            raise ConfigError(
                f"{self.name} has no values, or a value twice: {self.values}",
                "Give at least one value, and each once.",
            )

    def __str__(self) -> str:
        return f"{self.name} ({listed(self.values, MOST_SHOWN)})"

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.values)

    def code(self, value: Value) -> float:
        """Index of a value.

        Raises:
            LabelError: the value is unknown; the message lists the known values.
        """
        text = _as_text(value)
        if text not in self._indices:
            raise LabelError(
                f"the model does not know the {self.name} {text!r}", f"It knows: {', '.join(self.values)}."
            )
        return float(self._indices[text])

    def value(self, code: float) -> str:
        """Value of an index."""
        return self.values[round(code)]

    def admits(self, codes: Tensor) -> bool:
        """Whether all codes (n,) are valid indices."""
        return bool(((codes == codes.round()) & (codes >= 0) & (codes < self.size)).all())

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {value: index for index, value in enumerate(self.values)}


@dataclass(frozen=True)
class Number:
    """A numeric column, which the network receives standardised.

    Attributes:
        name: name of the column.
        mean: mean over the training images.
        deviation: standard deviation over the training images; 1 if all values are equal.
        low: smallest value of a training image.
        high: largest value of a training image.
        kind: distinguishes numbers from categories in files.

    Raises:
        ConfigError: the statistics are not valid.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    mean: float
    deviation: float
    low: float
    high: float
    kind: Literal["number"] = "number"

    size: ClassVar[int] = 0
    """Number of classes; a number has none."""

    def __post_init__(self) -> None:
        finite = all(map(math.isfinite, (self.mean, self.deviation, self.low, self.high)))
        if not (finite and self.deviation > 0 and self.low <= self.high):
            raise ConfigError(
                f"{self.name} with mean {self.mean}, standard deviation {self.deviation} and range {self.low} to "
                f"{self.high} is not valid",
                "Give finite numbers, a standard deviation above 0 and low <= high.",
            )

    def __str__(self) -> str:
        return f"{self.name} ({self.low:g} to {self.high:g})"

    def code(self, value: Value) -> float:
        """Number of standard deviations from the mean.

        Raises:
            LabelError: the value is not a number, or is too far from the mean.
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
        """Value of a code, rounded to the precision of float32."""
        return round(self.mean + code * self.deviation, 5 - math.floor(math.log10(self.deviation)))

    def admits(self, codes: Tensor) -> bool:
        """Whether all codes (n,) are valid."""
        return bool((codes.abs() <= FARTHEST).all())


Column = Category | Number


def column_of(name: str, cells: Sequence[Value | None]) -> Column:
    """A `Number` if `has_numbers` is true, else a `Category` of all values in natural order.

    Raises:
        DataError: no cell is filled, a number is not finite, or there are more than `MOST_CATEGORIES` classes.
    """
    known = [cell for cell in cells if cell is not None]
    if not known:
        raise DataError(f"the column {name} has no filled cell", "Fill it in, or choose another column.")
    numbers = [cell for cell in known if not isinstance(cell, str)]
    is_number = has_numbers(known)
    are_codes = not is_number and not any(isinstance(cell, float) for cell in numbers)
    invalid = [cell for cell in numbers if not (are_codes or abs(cell) <= LARGEST)]
    if invalid:
        raise DataError(
            f"the column {name} has the number {invalid[0]}", "Leave such cells empty: empty cells are allowed."
        )
    if is_number:
        floats = [float(cell) for cell in numbers]
        return Number(name, mean(floats), pstdev(floats) or 1.0, min(floats), max(floats))
    values = {_as_text(cell) for cell in known}
    if len(values) > MOST_CATEGORIES:
        raise DataError(
            f"the column {name} has {len(values):,} different values, which are too many for classes",
            f"Choose a column with at most {MOST_CATEGORIES:,}, or use it as numbers: --condition {name}:number.",
        )
    return Category(name, tuple(sorted(values, key=natural_key)))


def has_numbers(cells: Sequence[Value | None]) -> bool:
    """Whether the filled cells of a column are numbers and not classes.

    They are numbers if there are floats and no text. Integers are numbers if there are more than 20 different ones with
    fewer than ten images each, or more than 1000 different ones.
    """
    known = [cell for cell in cells if cell is not None]
    kinds = set(map(type, known))
    if str in kinds or not kinds:
        return False
    different = len(set(known))
    are_many = different > FEW_INTEGERS and different * IMAGES_AN_INTEGER > len(known)
    return float in kinds or are_many or different > MOST_CATEGORIES


def rows_of_cells(columns: Sequence[Column], cells: Mapping[str, Sequence[Value | None]]) -> Rows:
    """Encodes a table as rows (n, k); None becomes NaN.

    Raises:
        LabelError: a column has no code for a value.
    """
    codes = [[math.nan if cell is None else column.code(cell) for cell in cells[column.name]] for column in columns]
    return torch.tensor(codes, dtype=torch.float32).T.contiguous()


def requested_rows(columns: Sequence[Column], requested: RequestedColumns, count: int) -> Rows:
    """Encodes requested values as rows (count, k); columns without a value are NaN.

    >>> colour = Category("colour", ("blue", "red"))
    >>> requested_rows([colour, Number("age", 30.0, 10.0, 18.0, 90.0)], {"colour": ["red", "blue"]}, 3)
    tensor([[1., nan],
            [0., nan],
            [1., nan]])

    Raises:
        LabelError: a column or a value is unknown (the message lists the known ones), or the list of values of a column
            is empty.
    """
    rows = torch.full((count, len(columns)), math.nan)
    for index, values in _named(columns, requested).items():
        codes = torch.tensor([columns[index].code(value) for value in values], dtype=torch.float32)
        rows[:, index] = codes[torch.arange(count) % len(codes)]
    return rows


def beyond(columns: Sequence[Column], requested: RequestedColumns) -> list[str]:
    """Warnings about requested numbers that are outside the range of the training images.

    Raises:
        LabelError: see `requested_rows`.
    """
    requested_rows(columns, requested, 1)
    return [
        f"{column.name}={value} is outside the range of the training images, {column.low:g} to {column.high:g}."
        for index, values in _named(columns, requested).items()
        for value in values
        if isinstance(column := columns[index], Number) and not column.low <= float(value) <= column.high
    ]


def spelled(columns: Sequence[Column], labels: Labels) -> list[dict[str, str | float]]:
    """The known values of each image, by column name; class indices (n,) are read as one column."""
    rows = labels if labels.ndim == 2 else labels[:, None].float().masked_fill(labels[:, None] == UNLABELLED, math.nan)
    return [
        {column.name: column.value(code) for column, code in zip(columns, row, strict=True) if not math.isnan(code)}
        for row in rows.tolist()
    ]


def check_rows(columns: Sequence[Column], rows: Labels) -> None:
    """Raises `LabelError` unless the rows belong to these columns."""
    if rows.ndim != 2 or rows.shape[1] != len(columns):
        raise LabelError(
            f"labels of shape {tuple(rows.shape)} were given to a model of {len(columns)} columns",
            f"Give rows of {', '.join(map(str, columns))}.",
        )
    for column, codes in zip(columns, rows.T, strict=True):
        if not column.admits(codes[~codes.isnan()]):
            raise LabelError(f"the rows have an invalid code for {column.name}", f"Valid values: {column}.")


def as_classes(rows: Rows) -> Classes:
    """Class indices (n,) of rows (n, 1) of a category."""
    return rows[:, 0].nan_to_num(UNLABELLED).long()


def _named(columns: Sequence[Column], requested: RequestedColumns) -> dict[int, Sequence[Value]]:
    """Requested values by the index of their column."""
    names = [column.name for column in columns]
    found: dict[int, Sequence[Value]] = {}
    for name, given in requested.items():
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


def _as_text(value: Value) -> str:
    """A value of a category as text; booleans become 0 or 1."""
    return str(int(value)) if isinstance(value, bool) else str(value)
