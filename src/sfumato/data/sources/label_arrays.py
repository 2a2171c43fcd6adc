"""Converts label arrays to columns: class indices, text, one-hot rows, or several labels per image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sfumato.data.sources.source import LABEL, Cell
from sfumato.errors import DataError

MISSING_LABEL = -1


def columns_of(title: str, labels: Sequence[np.ndarray], names: np.ndarray | None) -> dict[str, list[Cell]]:
    """Converts label arrays to the column `label`, or to one column for each of several labels per image.

    Args:
        title: Name of the file for messages.
        labels: One array for each split: (N,) or (N, 1) of integers, floats with whole values, text or bytes; one-hot
            rows (N, K) for K classes; or (N, K) of 0 and 1 for K columns.
        names: Class names if the labels are indices, or names of the K columns.

    Raises:
        DataError: The labels have another form, or do not match the names.
    """
    tables = [array.reshape(len(array), -1) for array in labels]
    if len({table.shape[1] for table in tables}) > 1:
        shapes = ", ".join(str(array.shape) for array in labels)
        raise DataError(f"the labels of {title} have the shapes {shapes}", "Give all splits labels of one kind.")
    known = None if names is None else _class_names(title, names)
    width = tables[0].shape[1]
    if width == 1:
        cells = [cell for table in tables for cell in _cells(title, table[:, 0])]
    else:
        rows = np.concatenate(tables)
        if not np.isin(rows, (0, 1)).all():
            raise DataError(
                f"the labels of {title} have the shape {rows.shape}, but other values than 0 and 1",
                "Give one label per image, or 0 or 1 for each class.",
            )
        if (rows.sum(1) != 1).any():
            columns = [f"label_{index}" for index in range(width)] if known is None else known
            if len(columns) != width:
                problem = f"{title} has {width} labels per image, but {len(columns)} label_names"
                raise DataError(problem, "Give as many names.")
            return {name: rows[:, index].astype(int).tolist() for index, name in enumerate(columns)}
        cells = rows.argmax(1).tolist()
    return {LABEL: cells if known is None else [_named(title, cell, known) for cell in cells]}


def _cells(title: str, labels: np.ndarray) -> list[Cell]:
    match labels.dtype.kind:
        case "S":
            return [label.decode(errors="replace") for label in labels.tolist()]
        case "i" | "u" | "b" | "U":
            return [None if label == MISSING_LABEL else label for label in labels.tolist()]
        case "f" if (np.isnan(labels) | (labels == np.rint(labels))).all() and not np.isinf(labels).any():
            return [None if label != label or label == MISSING_LABEL else int(label) for label in labels.tolist()]
    raise DataError(f"the labels of {title} are {labels.dtype}", "Give whole numbers or text.")


def _class_names(title: str, names: np.ndarray) -> list[str]:
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(
            f"the label_names of {title} are {names.dtype} {list(names.shape)}, not a 1-dimensional array of text",
            "Save them as numpy.array(names, dtype=str), or leave them out.",
        )
    known: list[str] = names.tolist()
    if len(set(known)) < len(known):
        twice = next(name for name in known if known.count(name) > 1)
        raise DataError(f"the label_names of {title} have {twice!r} more than once", "Give each class its own name.")
    return known


def _named(title: str, label: Cell, names: Sequence[str]) -> Cell:
    """Name of a label index; other labels are unchanged."""
    if not isinstance(label, int) or isinstance(label, bool):
        return label
    if not 0 <= label < len(names):
        raise DataError(
            f"{title} has the label {label}, but {len(names)} label_names", "Give labels from 0, or no label_names."
        )
    return names[label]
