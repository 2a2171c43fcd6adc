"""Which images of a source are learned, where it is divided into training, validation and test images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sfumato.data.sources import Notice
from sfumato.data.sources.layout import TEST, TRAIN, VALIDATION, canonical_split
from sfumato.errors import DataError

UNDIVIDED = ("all", "none")
"""Words for `split` that use every image."""

USES = {TRAIN: "are learned", VALIDATION: "are for validation", TEST: "are kept for sfumato eval"}


class Division(NamedTuple):
    """The places of images among all those of a source.

    Attributes:
        learned: Those to learn.
        others: Those of the other splits that have a use, by "validation" and "test".
        notices: What was decided.
    """

    learned: list[int]
    others: dict[str, list[int]]
    notices: tuple[Notice, ...] = ()


def divided(title: str, splits: Sequence[str | None], wanted: str) -> Division:
    """Divides images by their splits.

    Args:
        title: Of the source, for messages.
        splits: Of each image; None where it is in none.
        wanted: "auto" learns the training images, and validates by those for validation; "all" and "none" learn every
            image; any other text learns the images of that split alone.

    Raises:
        DataError: There is no such split, or none for training.
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
        raise DataError(f"{title} has no split {wanted!r}, but: {known}", "Choose another --split, or --split all.")
    if wanted != "auto":
        return Division(_places(splits, wanted), {})
    others = {name: _places(splits, name) for name in (VALIDATION, TEST) if name in counts}
    uses = [f"{count:,} in {name} {USES.get(name, 'are not used')}" for name, count in counts.items()]
    if beside := len(splits) - counts.total():
        uses.append(f"{beside:,} in none of them are not used")
    notice = Notice("split", f"Splits: {'; '.join(uses)}.", "--split NAME|all|none")
    return Division(_places(splits, TRAIN), others, (notice,))


def _places(splits: Sequence[str | None], name: str) -> list[int]:
    return [place for place, split in enumerate(splits) if split == name]
