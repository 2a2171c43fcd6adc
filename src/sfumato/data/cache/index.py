"""What a store says of its images: written once it is complete, read at every start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sfumato.data.cache.values import SetValues
from sfumato.data.sources import Cell, Notice, Shape, Unreadable
from sfumato.data.sources.pixels import Dtype
from sfumato.utils.filesystem import replace_file

INDEX = "index.json"


@dataclass(frozen=True)
class Index:
    """All about the images of a store but their pixels. Lists run over the readable images, in order.

    Attributes:
        shape: (rows, C, H, W) of the file of pixels; a row without a readable image is empty.
        dtype: Of the pixels.
        opacity: Whether the last of four channels is opacity.
        values: Of all pixels.
        rows: Where in the file each image is.
        names: Of each image within its source, printable.
        folders: The class of each by its folder; None where there is none.
        splits: The split of each, such as "train"; None where it is in none.
        digests: A hash of each image's pixels, in hexadecimal digits.
        sizes: (width, height) of each image before it was fitted.
        channels: Of each image before they were converted.
        opacities: Whether the last of the four channels of each image was opacity.
        dtypes: Of each image before it was converted.
        columns: What is known of each image.
        unreadable: The images that could not be used, by name and reason.
        unreadable_folders: The classes by their folders of those images.
        others: How many files of each kind are not images.
        notices: What was decided about them.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    shape: tuple[int, int, int, int]
    dtype: Dtype
    opacity: bool
    values: SetValues
    rows: list[int]
    names: list[str]
    folders: list[str | None]
    splits: list[str | None]
    digests: list[str]
    sizes: list[tuple[int, int]]
    channels: list[int]
    opacities: list[bool]
    dtypes: list[Dtype]
    columns: dict[str, list[Cell]]
    unreadable: list[tuple[str, str]]
    unreadable_folders: list[str]
    others: dict[str, int]
    notices: list[Notice]

    @property
    def shapes(self) -> Sequence[Shape]:
        """What the images were before they were fitted and converted."""
        kinds = zip(self.sizes, self.channels, self.dtypes, self.opacities, strict=True)
        return [Shape(width, height, channels, dtype, opacity) for (width, height), channels, dtype, opacity in kinds]

    @property
    def skipped(self) -> Sequence[Unreadable]:
        """The images that could not be used."""
        return [Unreadable(name, reason) for name, reason in self.unreadable]


def write_index(index: Index, folder: Path) -> None:
    """Puts the index into `folder`, whole or not at all.

    Raises:
        OSError: It could not be written.
    """
    temporary = folder / (INDEX + ".unfinished")
    temporary.write_text(json.dumps(vars(index), default=vars, separators=(",", ":")), encoding="utf-8")
    replace_file(temporary, folder / INDEX)


def read_index(folder: Path) -> Index | None:
    """The index of a complete store; None where there is none, or one that another version wrote."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Index).validate_json((folder / INDEX).read_bytes())
    except (OSError, ValidationError):
        return None
