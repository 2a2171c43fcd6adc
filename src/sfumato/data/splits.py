"""Selects the training, validation and test images of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sfumato.data.sources import Notice
from sfumato.data.sources.folder_labels import TEST, TRAIN, VALIDATION, canonical_split
from sfumato.errors import DataError

UNDIVIDED = ("all", "none")
"""Values of `split` that use every image."""

SPLIT_USES = {TRAIN: "are used for training", VALIDATION: "are for validation", TEST: "are kept for sfumato eval"}


class Division(NamedTuple):
    """Indices of the images of each split.

    Attributes:
        learned: Indices of the training images.
        others: Indices of the validation and test images, with the keys "validation" and "test".
        notices: Notices about the splits.
    """

    learned: list[int]
    others: dict[str, list[int]]
    notices: tuple[Notice, ...] = ()


def select_split(title: str, splits: Sequence[str | None], wanted: str) -> Division:
    """Selects images by their splits.

    Args:
        title: Name of the source for messages.
        splits: Split of each image; None if it has none.
        wanted: "auto" uses the training images, and the validation images for validation; "all" and "none" use every
            image for training; any other text is the name of the split to train on.

    Raises:
        DataError: The split does not exist, or there are no training images.
    """
    counts = Counter(split for split in splits if split is not None)
    if wanted in UNDIVIDED or (wanted == "auto" and not counts):
        return Division(list(range(len(splits))), {})
    wanted = wanted if wanted == "auto" or wanted in counts else canonical_split(wanted)
    known = ", ".join(f"{name} ({count:,} images)" for name, count in counts.items()) or "none"
    if wanted == "auto" and TRAIN not in counts:
        problem = f"{title} has the splits {known}, but none for training"
        raise DataError(problem, "Choose one with --split NAME, or all with --split all.")
    if wanted != "auto" and wanted not in counts:
        raise DataError(
            f"{title} has no split {wanted!r}; its splits are: {known}", "Choose another --split, or --split all."
        )
    if wanted != "auto":
        return Division(_places(splits, wanted), {})
    others = {name: _places(splits, name) for name in (VALIDATION, TEST) if name in counts}
    uses = [f"{count:,} in {name} {SPLIT_USES.get(name, 'are not used')}" for name, count in counts.items()]
    if unsplit := len(splits) - counts.total():
        uses.append(f"{unsplit:,} without a split are not used")
    notice = Notice("split", f"Splits: {'; '.join(uses)}.", "--split NAME|all|none")
    return Division(_places(splits, TRAIN), others, (notice,))


def _places(splits: Sequence[str | None], name: str) -> list[int]:
    return [place for place, split in enumerate(splits) if split == name]
