"""Class labels, from the first level of sub-folders."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from sfumato.data.folder import printable_path
from sfumato.errors import DataError
from sfumato.natural import natural_key


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


def label_images(root: Path, readable: list[Path], unreadable: list[Path]) -> Labelling:
    """Label images by their folders, when every readable one lies in a sub-folder of `root`.

    Args:
        root: The folder that holds the classes.
        readable: The images to label, below `root`.
        unreadable: Images that were skipped. A class with no others is dropped, with a notice.

    Raises:
        DataError: A class has a single readable image.
    """
    classes = [class_of(path, root) for path in readable]
    named = [name for name in classes if name is not None]
    if len(named) < len(classes):
        return Labelling(notices=(_beside(root, len(classes) - len(named)),) if named else ())
    names = tuple(sorted(set(named), key=natural_key))
    notices = _dropped(root, names, unreadable)
    if len(names) == 1:
        return Labelling(notices=(*notices, f"All images lie in one class ({names[0]}), so labels are not used."))
    _refuse_single_images(named)
    index = {name: i for i, name in enumerate(names)}
    return Labelling(torch.tensor([index[name] for name in named]), names, notices)


def class_of(path: Path, root: Path) -> str | None:
    """The first folder between `root` and `path`; None when there is none.

    >>> class_of(Path("pets/cats/old/tom.png"), Path("pets"))
    'cats'
    """
    first, *rest = printable_path(path, root).split("/")
    return first if rest else None


def _beside(root: Path, count: int) -> str:
    return f"Labels are not used: {count} of the images lie in {root} itself, not in the folder of a class."


def _dropped(root: Path, names: tuple[str, ...], unreadable: list[Path]) -> tuple[str, ...]:
    classes = {class_of(path, root) for path in unreadable}
    dropped = sorted((name for name in classes if name is not None and name not in names), key=natural_key)
    return (f"Classes without any readable image were dropped: {', '.join(dropped)}.",) if dropped else ()


def _refuse_single_images(classes: list[str]) -> None:
    counts = Counter(classes)
    single = sorted((name for name, count in counts.items() if count == 1), key=natural_key)
    if single:
        raise DataError(
            f"Each class needs at least 2 readable images, but there is only 1 in: {', '.join(single)}",
            "Add images, remove the folder, or pass --no-labels.",
        )
