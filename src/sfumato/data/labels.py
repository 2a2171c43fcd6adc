"""Labels of the images: requested columns of a table, else the class from the column `label` or the folder name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from sfumato.data.conditions import (
    MOST_CATEGORIES,
    MOST_SHOWN,
    Category,
    Column,
    as_classes,
    column_of,
    has_numbers,
    rows_of_cells,
)
from sfumato.data.sources import Cell, Notice
from sfumato.data.sources.column_types import ParsedColumn, cells_to_classes, cells_to_numbers, without_missing_words
from sfumato.data.sources.source import LABEL as LABEL  # re-exported
from sfumato.errors import DataError
from sfumato.utils.text import listed, natural_key

ColumnKind = Literal["number", "class"]

KIND_SUFFIXES: dict[str, ColumnKind] = {":number": "number", ":class": "class"}
"""Suffixes in `--condition` that set the type of a column."""


@dataclass(frozen=True)
class Labelling:
    """Labels of images.

    Attributes:
        labels: int64, (N,), indices into `label_names`, or float32, (N, K), rows of `columns`; None if there are none.
        label_names: Names of the classes, in natural order.
        columns: Columns of the rows; empty for classes.
        notices: Notices about the labels.
        learned: Columns of the table that are used, as given to `--condition`.
    """

    labels: torch.Tensor | None = None
    label_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    notices: tuple[Notice, ...] = ()
    learned: tuple[str, ...] = ()


def name_and_kind(requested: str) -> tuple[str, ColumnKind | None]:
    """Splits an argument of `--condition` into column name and type; the type is None if there is no suffix.

    >>> name_and_kind("age:number"), name_and_kind("age"), name_and_kind("a:b")
    (('age', 'number'), ('age', None), ('a:b', None))
    """
    for suffix, kind in KIND_SUFFIXES.items():
        if requested.endswith(suffix) and requested != suffix:
            return requested.removesuffix(suffix), kind
    return requested, None


def requested_columns(
    columns: Mapping[str, Sequence[Cell]], wanted: Sequence[str], folders: Sequence[str | None] = ()
) -> dict[str, Sequence[Cell]]:
    """Converts the requested columns to the requested types, or to the types of their cells.

    Args:
        columns: All columns of the table, one cell for each image.
        wanted: Names of at least one column, such as "age", or "age:number" or "age:class" to set the type.
        folders: Class of each image by its folder; used as the column `label` if the table has none.

    Raises:
        DataError: A column does not exist, or a column requested as numbers has none.
    """
    found: dict[str, Sequence[Cell]] = {}
    for name, kind in map(name_and_kind, wanted):
        if name in columns:
            found[name] = _converted(name, columns[name], kind).cells
            first = next((cell for cell in columns[name] if cell is not None), None)
            if first is not None and all(cell is None for cell in found[name]):
                raise DataError(
                    f"no cell of the column {name} is a number such as 2.5; the first is: {first}",
                    f"Use it as classes: --condition {name}:class.",
                )
        elif name == LABEL and folders:
            found[name] = folders
        else:
            known = ", ".join([*([LABEL] if folders else []), *columns]) or "none"
            raise DataError(
                f"there is no column {name!r}; the columns are: {known}",
                "Choose one of these with --condition, or add it to metadata.csv.",
            )
    return found


def encoded(cells: Mapping[str, Sequence[Cell]]) -> Labelling:
    """Labels images by the columns of a table.

    >>> encoded({"species": ["cat", None, "dog"]}).labels
    tensor([ 0, -1,  1])
    >>> encoded({"species": ["cat", "dog"], "age": [1.0, 3.0]}).labels
    tensor([[ 0., -1.],
            [ 1.,  1.]])

    Args:
        cells: Cells of each column by its name, one for each image; at least one column.

    Returns:
        Class indices if the only column is a category, else rows.

    Raises:
        DataError: A column has no cell, a number that is not finite, or too many values for classes.
    """
    columns = tuple(column_of(name, column) for name, column in cells.items())
    rows = rows_of_cells(columns, cells)
    match columns:
        case (Category() as only,):
            return Labelling(as_classes(rows), only.values)
    return Labelling(rows, columns=columns)


def label_by_table(columns: Mapping[str, Sequence[Cell]]) -> Labelling:
    """Labels images by the column `label`, as returned by `requested_columns`, if it has at least two classes."""
    classes = set(columns.get(LABEL, ())) - {None}
    if len(classes) > 1:
        return replace(encoded({LABEL: columns[LABEL]}), learned=(LABEL,))
    same = [Notice("classes", f"All labels are the same ({name}), so they are not used.") for name in classes]
    return Labelling(notices=tuple(same))


def column_notices(
    columns: Mapping[str, Sequence[Cell]], learned: Sequence[str], notices: Sequence[Notice]
) -> tuple[Notice, ...]:
    """Adds a notice about the type of each column to the notices of a source.

    The notices of used columns are marked as important if another type is possible.

    Args:
        columns: All columns of the table, one cell for each image.
        learned: Columns that are used, as given to `--condition`.
        notices: Notices of the source, including those about its columns.
    """
    kinds = dict(map(name_and_kind, learned))
    parsed = {
        name_and_kind(notice.flag.removeprefix("--condition "))[0]: notice.text
        for notice in notices
        if notice.topic == "columns"
    }
    others = [notice for notice in notices if notice.topic != "columns"]
    texts = {name: parsed.get(name, "").removeprefix(f"{name}: ").removesuffix(".") for name in columns}
    return (
        *others,
        *(_column_notice(name, cells, kinds.get(name), name in kinds, texts[name]) for name, cells in columns.items()),
    )


def _converted(name: str, cells: Sequence[Cell], kind: ColumnKind | None) -> ParsedColumn:
    """Converts a column to the requested type, or to the type of its cells."""
    if kind == "number":
        return cells_to_numbers(cells)
    if kind == "class":
        return cells_to_classes(cells)
    if any(isinstance(cell, str) for cell in cells):
        return without_missing_words(cells)
    is_label = name == LABEL and not any(isinstance(cell, float) for cell in cells)
    return cells_to_classes(cells) if is_label else ParsedColumn(cells)


def _column_notice(name: str, cells: Sequence[Cell], kind: ColumnKind | None, is_learned: bool, parsed: str) -> Notice:
    """Notice about the type of a column and how it was parsed."""
    converted = _converted(name, cells, kind)
    is_number = has_numbers(converted.cells)
    integers = {cell for cell in cells if isinstance(cell, int)} - {0, 1}
    if kind and any(isinstance(cell, str) for cell in cells):
        parsed = ""  # explains why the column is text, which a requested type overrides
    remarks = [*filter(None, [parsed]), *converted.remarks]
    is_guess = bool(remarks) or (kind is None and bool(integers) and name != LABEL)
    if kind is None and integers and is_number and not any(isinstance(cell, float) for cell in cells):
        remarks.append(f"{len(integers):,} different integers")
    more = f" ({'; '.join(remarks)})" if remarks else ""
    other = "class" if is_number or (converted.remarks and not kind) else "number"
    is_possible = other == "class" or any(cell is not None for cell in cells_to_numbers(cells).cells)
    flag = f"--condition {name}:{other}" if is_possible else ""
    return Notice("columns", f"{name}: {_description(converted.cells)}{more}.", flag, is_learned and is_guess)


def _description(cells: Sequence[Cell]) -> str:
    """Describes the values of a column."""
    known = [cell for cell in cells if cell is not None]
    if has_numbers(known):
        numbers = [float(cell) for cell in known]
        return f"numbers {min(numbers):g} to {max(numbers):g}"
    values = {str(cell) for cell in cells_to_classes(known).cells}
    if not values:
        return "no filled cell"
    if len(values) > MOST_CATEGORIES:
        return f"text, {len(values):,} different values, too many for classes"
    names = listed(sorted(values, key=natural_key), MOST_SHOWN)
    return f"{len(values)} class{'' if len(values) == 1 else 'es'} {names}"


def label_by_folder(title: str, folders: Sequence[str | None], unreadable: Sequence[str]) -> Labelling:
    """Labels images by their folders if every image lies in a sub-folder.

    Args:
        title: Name of the source for messages.
        folders: Class of each image by its folder; None for images outside sub-folders.
        unreadable: Classes of skipped images. A class without readable images is dropped with a notice.

    Raises:
        DataError: A class has only one readable image.
    """
    named = [name for name in folders if name is not None]
    if len(named) < len(folders):
        outside = f"{len(folders) - len(named)} of the images are in {title} itself, not in a class folder"
        notice = Notice("classes", f"Labels are not used: {outside}.")
        return Labelling(notices=(notice,) if named else ())
    counts = Counter(named)
    names = tuple(sorted(counts, key=natural_key))
    texts = []
    if dropped := sorted(set(unreadable) - counts.keys(), key=natural_key):
        texts.append(f"Classes without any readable image were dropped: {', '.join(dropped)}.")
    if len(names) == 1:
        texts.append(f"All images are in one class ({names[0]}), so labels are not used.")
    notices = tuple(Notice("classes", text) for text in texts)
    if len(names) == 1:
        return Labelling(notices=notices)
    if single := [name for name in names if counts[name] == 1]:
        raise DataError(
            f"Each class needs at least 2 readable images, but there is only 1 in: {', '.join(single)}",
            "Add images, remove the folder, or pass --no-labels.",
        )
    index = {name: i for i, name in enumerate(names)}
    return Labelling(torch.tensor([index[name] for name in named]), names, notices=notices)
