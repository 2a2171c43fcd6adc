"""Labels of the images: requested columns of a table, else the class from the column `label` or the folder name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from sfumato.data.conditions import MOST_SHOWN, MOST_VALUES, Column, encoded, has_numbers
from sfumato.data.sources import Cell, Notice
from sfumato.data.sources.column_types import ParsedColumn, cells_to_classes, cells_to_numbers, without_missing_words
from sfumato.data.sources.source import LABEL as LABEL  # re-exported
from sfumato.errors import DataError
from sfumato.utils.text import natural_key, printable

ColumnKind = Literal["number", "class"]

KIND_SUFFIXES: dict[str, ColumnKind] = {":number": "number", ":class": "class"}
"""Suffixes in `--condition` that set the type of a column."""


@dataclass(frozen=True)
class Labelling:
    """Labels of images.

    Attributes:
        labels: int64, (N,), indices into `names`, or float32, (N, K), rows of `columns`; None if there are no labels.
        names: Names of the classes, in natural order.
        columns: Columns of the rows; empty for classes.
        notices: Notices about the labels.
        learned: Columns of the table that are used, as given to `--condition`.
    """

    labels: torch.Tensor | None = None
    names: tuple[str, ...] = ()
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
            _check_filled(name, columns[name], found[name])
        elif name == LABEL and folders:
            found[name] = folders
        else:
            known = ", ".join([*([LABEL] if folders else []), *columns]) or "none"
            raise DataError(
                f"there is no column {name!r}; the columns are: {known}",
                "Choose one of these with --condition, or add it to metadata.csv.",
            )
    return found


def label_by_columns(cells: Mapping[str, Sequence[Cell]], wanted: Sequence[str]) -> Labelling:
    """Labels images by the requested columns.

    Args:
        cells: Columns as returned by `requested_columns`.
        wanted: Names as given to `--condition`.

    Raises:
        DataError: A column cannot be encoded.
    """
    found = encoded(cells)
    return Labelling(found.labels, found.label_names, found.columns, learned=tuple(wanted))


def label_by_table(columns: Mapping[str, Sequence[Cell]]) -> Labelling:
    """Labels images by the column `label`, as returned by `requested_columns`, if it has at least two classes."""
    notices: tuple[Notice, ...] = ()
    classes = set(columns.get(LABEL, ())) - {None}
    if len(classes) == 1:
        same = f"All labels are the same ({next(iter(classes))}), so they are not used."
        notices = (Notice("classes", same),)
    if len(classes) < 2:
        return Labelling(notices=notices)
    found = label_by_columns({LABEL: columns[LABEL]}, [LABEL])
    return replace(found, notices=notices)


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
    read = {name: [notice for notice in notices if _is_about(notice, name)] for name in columns}
    others = [notice for notice in notices if not any(notice in found for found in read.values())]
    column_texts = (
        _column_notice(name, cells, kinds.get(name), name in kinds, read[name]) for name, cells in columns.items()
    )
    return (*others, *column_texts)


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


def _check_filled(name: str, cells: Sequence[Cell], converted: Sequence[Cell]) -> None:
    """Raises `DataError` if a column requested as numbers has none."""
    if all(cell is None for cell in converted) and any(cell is not None for cell in cells):
        first = next(cell for cell in cells if cell is not None)
        raise DataError(
            f"no cell of the column {name} is a number; the first is: {first}",
            f"Use it as classes: --condition {name}:class.",
        )


def _is_about(notice: Notice, name: str) -> bool:
    return notice.topic == "columns" and notice.flag in [f"--condition {name}{suffix}" for suffix in KIND_SUFFIXES]


def _column_notice(
    name: str, cells: Sequence[Cell], kind: ColumnKind | None, is_learned: bool, read: Sequence[Notice]
) -> Notice:
    """Notice about the type of a column and how it was parsed."""
    converted = _converted(name, cells, kind)
    is_number = has_numbers(converted.cells)
    integers = {cell for cell in cells if isinstance(cell, int)} - {0, 1}
    if kind and any(isinstance(cell, str) for cell in cells):
        read = ()  # explains why the column is text, which a requested type overrides
    is_guess = bool(read or converted.remarks) or (kind is None and bool(integers) and name != LABEL)
    remarks = [notice.text.removeprefix(f"{name}: ").removesuffix(".") for notice in read] + [*converted.remarks]
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
    if len(values) > MOST_VALUES:
        return f"text, {len(values):,} different values, too many for classes"
    first = sorted(values, key=natural_key)[:MOST_SHOWN]
    more = f" and {len(values) - MOST_SHOWN} more" if len(values) > MOST_SHOWN else ""
    return f"{len(values)} class{'' if len(values) == 1 else 'es'} {', '.join(map(printable, first))}{more}"


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
        return Labelling(notices=(_outside_notice(title, len(folders) - len(named)),) if named else ())
    names = tuple(sorted(set(named), key=natural_key))
    notices = _dropped(names, unreadable)
    if len(names) == 1:
        return Labelling(
            notices=(*notices, Notice("classes", f"All images are in one class ({names[0]}), so labels are not used."))
        )
    _check_class_sizes(named)
    index = {name: i for i, name in enumerate(names)}
    return Labelling(torch.tensor([index[name] for name in named]), names, notices=notices)


def _outside_notice(title: str, count: int) -> Notice:
    text = f"Labels are not used: {count} of the images are in {title} itself, not in a class folder."
    return Notice("classes", text)


def _dropped(names: tuple[str, ...], unreadable: Sequence[str]) -> tuple[Notice, ...]:
    dropped = sorted(set(unreadable) - set(names), key=natural_key)
    text = f"Classes without any readable image were dropped: {', '.join(dropped)}."
    return (Notice("classes", text),) if dropped else ()


def _check_class_sizes(classes: list[str]) -> None:
    counts = Counter(classes)
    single = sorted((name for name, count in counts.items() if count == 1), key=natural_key)
    if single:
        raise DataError(
            f"Each class needs at least 2 readable images, but there is only 1 in: {', '.join(single)}",
            "Add images, remove the folder, or pass --no-labels.",
        )
