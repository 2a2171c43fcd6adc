"""What is learned of each image beside its pixels: columns of a table that are asked for, or else its class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from sfumato.data.conditions import MOST_SHOWN, MOST_VALUES, Column, encoded, has_numbers
from sfumato.data.sources import Cell, Notice
from sfumato.data.sources.columns import Reading, as_classes, as_numbers, without_missing_words
from sfumato.data.sources.source import LABEL as LABEL  # re-exported
from sfumato.errors import DataError
from sfumato.utils.natural_sort import natural_key
from sfumato.utils.text import printable

Kind = Literal["number", "class"]

KINDS: dict[str, Kind] = {":number": "number", ":class": "class"}
"""How `--condition` says what a column is, after its name."""


@dataclass(frozen=True)
class Labelling:
    """What is known of the images.

    Attributes:
        labels: int64, (N,), indices into `names`, or float32, (N, K), rows of `columns`; None when nothing is known.
        names: The names of the classes, in natural order.
        columns: What the rows say.
        notices: What was decided about them.
        learned: The columns of the table that are learned, as `--condition` names them.
    """

    labels: torch.Tensor | None = None
    names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    notices: tuple[Notice, ...] = ()
    learned: tuple[str, ...] = ()


def name_and_kind(requested: str) -> tuple[str, Kind | None]:
    """The column that `--condition` names, and what it is to be taken as, if that is said.

    >>> name_and_kind("age:number"), name_and_kind("age"), name_and_kind("a:b")
    (('age', 'number'), ('age', None), ('a:b', None))
    """
    for suffix, kind in KINDS.items():
        if requested.endswith(suffix) and requested != suffix:
            return requested.removesuffix(suffix), kind
    return requested, None


def requested_columns(
    columns: Mapping[str, Sequence[Cell]], wanted: Sequence[str], folders: Sequence[str | None] = ()
) -> dict[str, Sequence[Cell]]:
    """The columns that are to be learned, each as what it is requested to be, or else as what its cells are.

    Args:
        columns: All that is known, a cell an image.
        wanted: The names of the columns, at least one: "age", or "age:number" or "age:class" to say what it is.
        folders: The class of each image by its folder: the column `label`, if the table has none.

    Raises:
        DataError: There is no such column, or one that is to be numbers has none.
    """
    found: dict[str, Sequence[Cell]] = {}
    for name, kind in map(name_and_kind, wanted):
        if name in columns:
            found[name] = _taken(name, columns[name], kind).cells
            _check_filled(name, columns[name], found[name])
        elif name == LABEL and folders:
            found[name] = folders
        else:
            known = ", ".join([*([LABEL] if folders else []), *columns]) or "none"
            raise DataError(
                f"there is no column {name!r} beside the images, but: {known}",
                "Name one of these with --condition, or add it to metadata.csv.",
            )
    return found


def label_by_columns(cells: Mapping[str, Sequence[Cell]], wanted: Sequence[str]) -> Labelling:
    """Label images by the columns that were requested.

    Args:
        cells: Those of `requested_columns`.
        wanted: As they were requested.

    Raises:
        DataError: A column cannot be learned.
    """
    found = encoded(cells)
    return Labelling(found.labels, found.label_names, found.columns, learned=tuple(wanted))


def label_by_table(columns: Mapping[str, Sequence[Cell]]) -> Labelling:
    """Label images by the column `label`, as `requested_columns` has it, if it has at least two classes."""
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
    """The notices of a source, with one for each column on what it is taken as.

    Those of learned columns matter, where another way to take them was possible.

    Args:
        columns: All that is known, a cell an image.
        learned: The columns that are learned, as `--condition` names them.
        notices: Of the source, with what it says of how it read its columns.
    """
    kinds = dict(map(name_and_kind, learned))
    read = {name: [notice for notice in notices if _is_about(notice, name)] for name in columns}
    others = [notice for notice in notices if not any(notice in found for found in read.values())]
    said = (_column_notice(name, cells, kinds.get(name), name in kinds, read[name]) for name, cells in columns.items())
    return (*others, *said)


def _taken(name: str, cells: Sequence[Cell], kind: Kind | None) -> Reading:
    """A column as what it is asked to be, or else as what its cells are."""
    if kind == "number":
        return as_numbers(cells)
    if kind == "class":
        return as_classes(cells)
    if any(isinstance(cell, str) for cell in cells):
        return without_missing_words(cells)
    is_label = name == LABEL and not any(isinstance(cell, float) for cell in cells)
    return as_classes(cells) if is_label else Reading(cells)


def _check_filled(name: str, cells: Sequence[Cell], taken: Sequence[Cell]) -> None:
    """Raises `DataError` if nothing is left of a column that was asked to be numbers."""
    if all(cell is None for cell in taken) and any(cell is not None for cell in cells):
        first = next(cell for cell in cells if cell is not None)
        raise DataError(
            f"no cell of the column {name} is a number, but: {first}", f"Learn its classes: --condition {name}:class."
        )


def _is_about(notice: Notice, name: str) -> bool:
    return notice.topic == "columns" and notice.flag in [f"--condition {name}{suffix}" for suffix in KINDS]


def _column_notice(
    name: str, cells: Sequence[Cell], kind: Kind | None, is_learned: bool, read: Sequence[Notice]
) -> Notice:
    """What a column is taken as, and how it was read."""
    taken = _taken(name, cells, kind)
    is_number = has_numbers(taken.cells)
    integers = {cell for cell in cells if isinstance(cell, int)} - {0, 1}
    if kind and any(isinstance(cell, str) for cell in cells):
        read = ()  # why it is not numbers, which is settled now
    is_guess = bool(read or taken.remarks) or (kind is None and bool(integers) and name != LABEL)
    remarks = [notice.text.removeprefix(f"{name}: ").removesuffix(".") for notice in read] + [*taken.remarks]
    if kind is None and integers and is_number and not any(isinstance(cell, float) for cell in cells):
        remarks.append(f"{len(integers):,} different integers")
    more = f" ({'; '.join(remarks)})" if remarks else ""
    other = "class" if is_number or (taken.remarks and not kind) else "number"
    is_possible = other == "class" or any(cell is not None for cell in as_numbers(cells).cells)
    flag = f"--condition {name}:{other}" if is_possible else ""
    return Notice("columns", f"{name}: {_said(taken.cells)}{more}.", flag, is_learned and is_guess)


def _said(cells: Sequence[Cell]) -> str:
    """The values of a column in words."""
    known = [cell for cell in cells if cell is not None]
    if has_numbers(known):
        numbers = [float(cell) for cell in known]
        return f"numbers {min(numbers):g} to {max(numbers):g}"
    values = {str(cell) for cell in as_classes(known).cells}
    if not values:
        return "no filled cell"
    if len(values) > MOST_VALUES:
        return f"text, {len(values):,} different values, too many for classes"
    first = sorted(values, key=natural_key)[:MOST_SHOWN]
    more = f" and {len(values) - MOST_SHOWN} more" if len(values) > MOST_SHOWN else ""
    return f"{len(values)} class{'' if len(values) == 1 else 'es'} {', '.join(map(printable, first))}{more}"


def label_by_folder(title: str, folders: Sequence[str | None], unreadable: Sequence[str]) -> Labelling:
    """Label images by their folders, when every one lies in a sub-folder.

    Args:
        title: Of the source, for messages.
        folders: The class of each image by its folder; None where it lies in none.
        unreadable: The classes of images that were skipped. One with no others is dropped, with a notice.

    Raises:
        DataError: A class has a single readable image.
    """
    named = [name for name in folders if name is not None]
    if len(named) < len(folders):
        return Labelling(notices=(_beside(title, len(folders) - len(named)),) if named else ())
    names = tuple(sorted(set(named), key=natural_key))
    notices = _dropped(names, unreadable)
    if len(names) == 1:
        return Labelling(
            notices=(*notices, Notice("classes", f"All images lie in one class ({names[0]}), so labels are not used."))
        )
    _check_class_sizes(named)
    index = {name: i for i, name in enumerate(names)}
    return Labelling(torch.tensor([index[name] for name in named]), names, notices=notices)


def _beside(title: str, count: int) -> Notice:
    text = f"Labels are not used: {count} of the images lie in {title} itself, not in the folder of a class."
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
