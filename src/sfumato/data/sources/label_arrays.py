"""Converts label arrays to columns: class indices, text, one-hot rows, or several labels per image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import cast

import numpy as np

from sfumato.data.sources.source import LABEL, Cell
from sfumato.errors import DataError

UNLABELLED = -1


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
    widths = {array.shape[1] if array.ndim == 2 else 1 for array in labels}
    if len(widths) > 1:
        shapes = ", ".join(str(array.shape) for array in labels)
        raise DataError(f"the labels of {title} have the shapes {shapes}", "Give all splits labels of one kind.")
    if widths == {1}:
        joined = [cell for array in labels for cell in _cells(title, array.reshape(-1))]
    else:
        rows = np.concatenate(labels)
        if not np.isin(rows, (0, 1)).all():
            raise DataError(
                f"the labels of {title} have the shape {rows.shape}, but other values than 0 and 1",
                "Give one label per image, or 0 or 1 for each class.",
            )
        if (rows.sum(1) != 1).any():
            return _several(title, rows, names)
        joined = rows.argmax(1).tolist()
    is_index = all(cell is None or (isinstance(cell, int) and not isinstance(cell, bool)) for cell in joined)
    return {LABEL: joined if names is None or not is_index else _named(title, joined, names)}


def check_shape(title: str, name: str, labels: np.ndarray, count: int) -> None:
    """Raises `DataError` unless labels are (count,) or (count, K)."""
    if labels.ndim not in (1, 2) or labels.shape[0] != count or 0 in labels.shape[1:]:
        raise DataError(
            f"{title} has {count} images, but its {name} have the shape {labels.shape}", "Give one label per image."
        )


def _several(title: str, rows: np.ndarray, names: np.ndarray | None) -> dict[str, list[Cell]]:
    """One column of 0 and 1 for each label."""
    width = rows.shape[1]
    columns = [f"label_{index}" for index in range(width)] if names is None else _texts(title, names)
    if len(columns) != width:
        raise DataError(f"{title} has {width} labels per image, but {len(columns)} label_names", "Give as many names.")
    return {name: rows[:, index].astype(int).tolist() for index, name in enumerate(columns)}


def _cells(title: str, labels: np.ndarray) -> list[Cell]:
    match labels.dtype.kind:
        case "S":
            return [_decoded(label) for label in labels.tolist()]
        case "i" | "u" | "b" | "U":
            return [None if label == UNLABELLED else label for label in labels.tolist()]
        case "f" if (np.isnan(labels) | (labels == np.rint(labels))).all() and not np.isinf(labels).any():
            return [None if label != label or label == UNLABELLED else int(label) for label in labels.tolist()]
    raise DataError(f"the labels of {title} are {labels.dtype}", "Give whole numbers or text.")


def _decoded(label: bytes) -> str:
    try:
        return label.decode()
    except UnicodeDecodeError:
        return label.decode("latin-1")


def _texts(title: str, names: np.ndarray) -> list[str]:
    """Class names as text.

    Raises:
        DataError: They are not a 1-dimensional array of different texts.
    """
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(
            f"the label_names of {title} are {names.dtype} {list(names.shape)}, not a 1-dimensional array of text",
            "Save them as numpy.array(names, dtype=str), or leave them out.",
        )
    known: list[str] = names.tolist()
    twice = [name for name, times in Counter(known).items() if times > 1]
    if twice:
        raise DataError(f"the label_names of {title} have {twice[0]!r} more than once", "Give each class its own name.")
    return known


def _named(title: str, labels: Sequence[Cell], names: np.ndarray) -> list[Cell]:
    """Replaces label indices by the names.

    Raises:
        DataError: The names are not a 1-dimensional array of different texts, or a label is out of range.
    """
    known = _texts(title, names)
    for label in labels:
        if label is not None and not 0 <= cast(int, label) < len(known):
            raise DataError(
                f"{title} has the label {label}, but {len(known)} label_names", "Give labels from 0, or no label_names."
            )
    return [None if label is None else known[cast(int, label)] for label in labels]
