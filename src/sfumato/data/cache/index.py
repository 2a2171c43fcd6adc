"""Index of a cache entry: written when the entry is complete, read when it is opened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sfumato.data.cache.pixel_statistics import DatasetStatistics
from sfumato.data.sources import Cell, ImageInfo, Notice
from sfumato.data.sources.pixel_arrays import Dtype
from sfumato.utils.filesystem import replace_file

INDEX = "index.json"


@dataclass(frozen=True)
class Index:
    """Metadata of the images of a cache entry. Lists have one element for each readable image, in order.

    Attributes:
        shape: (rows, C, H, W) of the file of pixels; rows of unreadable images are 0.
        dtype: Dtype of the pixels.
        opacity: Whether the last of four channels is opacity.
        values: Statistics of all pixels.
        rows: Row of each image in the file of pixels.
        names: Printable name of each image within its source.
        folders: Class of each image by its folder; None if there is none.
        splits: Split of each image, such as "train"; None if it has none.
        digests: Hash of each image's pixels, in hexadecimal digits.
        sizes: (width, height) of each original image.
        channels: Number of channels of each original image.
        opacities: Whether the last of the four channels of each original image was opacity.
        dtypes: Dtype of each original image.
        columns: Columns of the table of each image.
        unreadable: Name of each skipped image, and the reason.
        unreadable_folders: Classes by folder of the skipped images.
        others: Number of files that are not images, by type.
        notices: Notices about the images.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    shape: tuple[int, int, int, int]
    dtype: Dtype
    opacity: bool
    values: DatasetStatistics
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
    def image_infos(self) -> Sequence[ImageInfo]:
        """Properties of the original images."""
        kinds = zip(self.sizes, self.channels, self.dtypes, self.opacities, strict=True)
        return [
            ImageInfo(width, height, channels, dtype, opacity) for (width, height), channels, dtype, opacity in kinds
        ]


def write_index(index: Index, folder: Path) -> None:
    """Writes the index into `folder` atomically.

    Raises:
        OSError: It cannot be written.
    """
    temporary = folder / (INDEX + ".unfinished")
    temporary.write_text(json.dumps(vars(index), default=vars, separators=(",", ":")), encoding="utf-8")
    replace_file(temporary, folder / INDEX)


def read_index(folder: Path) -> Index | None:
    """Index of a complete cache entry; None if there is none, or if another version wrote it."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Index).validate_json((folder / INDEX).read_bytes())
    except (OSError, ValidationError):
        return None
