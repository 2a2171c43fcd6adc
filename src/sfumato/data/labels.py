"""Class labels, from the first level of sub-folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sfumato.errors import DataError


@dataclass(frozen=True)
class Labelling:
    """What the folders say of the images.

    Attributes:
        labels: int64, (N,), indices into `names`; None when the folders are no classes.
        names: The names of the classes, in natural order.
        notices: Sentences a person should read.
    """

    labels: torch.Tensor | None = None
    names: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def label_by_folder(title: str, folders: Sequence[str | None], unreadable: Sequence[str]) -> Labelling:
    """Label images by their folders, when every one lies in a sub-folder.

    Args:
        title: Of the source, for messages.
        folders: The first folder of each image; None where it lies in none.
        unreadable: The names of images that were skipped. A class with no others is dropped, with a notice.

    Raises:
        DataError: A class has a single readable image.
    """
    named = [name for name in folders if name is not None]
    if len(named) < len(folders):
        return Labelling(notices=(_beside(title, len(folders) - len(named)),) if named else ())
    names = tuple(sorted(set(named), key=natural_key))
    notices = _dropped(names, unreadable)
    if len(names) == 1:
        return Labelling(notices=(*notices, f"All images lie in one class ({names[0]}), so labels are not used."))
    _refuse_single_images(named)
    index = {name: i for i, name in enumerate(names)}
    return Labelling(torch.tensor([index[name] for name in named]), names, notices)


def natural_key(name: str) -> tuple[list[str | int], str]:
    """A key that sorts the numbers in names by value.

    >>> sorted(["10", "9", "b2", "b10"], key=natural_key)
    ['9', '10', 'b2', 'b10']
    """
    parts = re.split(r"(\d+)", name)
    return [int(part) if part.isdecimal() else part.casefold() for part in parts], name


def _beside(title: str, count: int) -> str:
    return f"Labels are not used: {count} of the images lie in {title} itself, not in the folder of a class."


def _dropped(names: tuple[str, ...], unreadable: Sequence[str]) -> tuple[str, ...]:
    classes = {name.split("/")[0] for name in unreadable if "/" in name}
    dropped = sorted(classes - set(names), key=natural_key)
    return (f"Classes without any readable image were dropped: {', '.join(dropped)}.",) if dropped else ()


def _refuse_single_images(classes: list[str]) -> None:
    counts = Counter(classes)
    single = sorted((name for name, count in counts.items() if count == 1), key=natural_key)
    if single:
        raise DataError(
            f"Each class needs at least 2 readable images, but there is only 1 in: {', '.join(single)}",
            "Add images, remove the folder, or pass --no-labels.",
        )
