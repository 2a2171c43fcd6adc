"""What is learned of each image beside its pixels: columns of a table that are asked for, or else its class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from sfumato.conditions import Column, encoded
from sfumato.errors import DataError
from sfumato.natural import natural_key
from sfumato.sources import Cell, Notice

LABEL = "label"
"""The column that is learned without being asked for; without a table, the folders of the classes by this name."""


@dataclass(frozen=True)
class Labelling:
    """What is known of the images.

    Attributes:
        labels: int64, (N,), indices into `names`, or float32, (N, K), rows of `columns`; None when nothing is known.
        names: The names of the classes, in natural order.
        columns: What the rows say.
        notices: What was decided about them.
    """

    labels: torch.Tensor | None = None
    names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    notices: tuple[Notice, ...] = ()


def label_by_columns(columns: Mapping[str, Sequence[Cell]], wanted: Sequence[str]) -> Labelling:
    """Label images by columns of their table.

    Args:
        columns: All that is known, a cell an image.
        wanted: The names of the columns to learn; at least one.

    Raises:
        DataError: There is no such column, or it cannot be learned.
    """
    for name in wanted:
        if name not in columns:
            known = ", ".join(columns) or "none"
            raise DataError(
                f"there is no column {name!r} beside the images, but: {known}",
                "Name one of these with --condition, or add it to metadata.csv.",
            )
    found = encoded({name: columns[name] for name in wanted})
    return Labelling(found.labels, found.label_names, found.columns)


def label_by_table(columns: Mapping[str, Sequence[Cell]]) -> Labelling:
    """Label images by the column `label`, if their table has one with at least two classes."""
    others = [name for name in columns if name != LABEL]
    not_learned = f"Columns that are not learned: {', '.join(others)}."
    notices = (Notice("columns", not_learned, f"--condition {others[0]}", matters=False),) if others else ()
    classes = set(columns.get(LABEL, ())) - {None}
    if len(classes) == 1:
        same = f"All labels are the same ({next(iter(classes))}), so they are not used."
        notices = (*notices, Notice("classes", same))
    if len(classes) < 2:
        return Labelling(notices=notices)
    found = label_by_columns(columns, [LABEL])
    return Labelling(found.labels, found.names, found.columns, notices)


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
    _refuse_single_images(named)
    index = {name: i for i, name in enumerate(names)}
    return Labelling(torch.tensor([index[name] for name in named]), names, notices=notices)


def _beside(title: str, count: int) -> Notice:
    text = f"Labels are not used: {count} of the images lie in {title} itself, not in the folder of a class."
    return Notice("classes", text)


def _dropped(names: tuple[str, ...], unreadable: Sequence[str]) -> tuple[Notice, ...]:
    dropped = sorted(set(unreadable) - set(names), key=natural_key)
    text = f"Classes without any readable image were dropped: {', '.join(dropped)}."
    return (Notice("classes", text),) if dropped else ()


def _refuse_single_images(classes: list[str]) -> None:
    counts = Counter(classes)
    single = sorted((name for name, count in counts.items() if count == 1), key=natural_key)
    if single:
        raise DataError(
            f"Each class needs at least 2 readable images, but there is only 1 in: {', '.join(single)}",
            "Add images, remove the folder, or pass --no-labels.",
        )
