"""MNIST's idx files, such as train-images-idx3-ubyte.gz, with the labels of the same name beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfumato.data.sources.arrays import RowEntry
from sfumato.data.sources.entry import MOST_BYTES, Content, FileEntry, SliceEntry
from sfumato.data.sources.files import Files
from sfumato.data.sources.layout import parsed_split
from sfumato.data.sources.notice import Notice
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.source import LABEL, Cell, FileSource, Listing, stat_signature
from sfumato.errors import DataError
from sfumato.utils.text import printable

NAME = re.compile(
    r"(?:^|/)(?P<set>[^/]*?)[-_.]?(?P<what>images|labels)[-.]idx(?P<axes>\d)-ubyte(?:\.gz)?$", re.IGNORECASE
)


UNSIGNED_BYTES = 8
"""The type of numbers, as the third byte of a file says it."""


@dataclass(frozen=True)
class Header:
    """What the head of an idx file says.

    Attributes:
        shape: Of the array.
        offset: Where its numbers begin.
    """

    shape: tuple[int, ...]
    offset: int


class TransposedEntry(RowEntry):
    """An image whose columns are stored where others have their rows."""

    def read(self, most: int = MOST_BYTES) -> Content:
        """The pixels, as they are meant."""
        pixels = super().read(most)
        assert isinstance(pixels, np.ndarray)
        return np.ascontiguousarray(pixels.swapaxes(0, 1))


class IdxSource(FileSource):
    """One idx file of images, whose name `is_idx_name` accepts, with its labels."""

    kind = "idx file"

    def signature(self) -> str:
        """Sizes and times of the file and of its labels."""
        return "\0".join(f"{name} {stat_signature(self.path.parent / name)}" for name in self._names())

    def listing(self, spool: Path) -> Listing:
        """One entry for each image, with its label if there are any."""
        root = self.path.parent
        files = Files(self.title, self._names(), lambda name: FileEntry(name, root / name), root)
        found = idx_listing(files, self.options, spool)
        if found is None:
            raise DataError(f"{self.title} holds no images", "Name the file of the images, not that of the labels.")
        return found

    def _names(self) -> list[str]:
        names = [self.path.name, *(file.name for file in self.path.parent.iterdir() if is_idx_name(file.name))]
        labels = _labels_of(self.path.name, sorted(names))
        return [self.path.name] if labels is None else [self.path.name, labels]


def is_idx_name(name: str) -> bool:
    """Whether this is the name of an idx file of images or labels.

    >>> is_idx_name("train-images-idx3-ubyte.gz"), is_idx_name("t10k-labels.idx1-ubyte"), is_idx_name("a.idx")
    (True, True, False)
    """
    return NAME.search(name) is not None


def idx_listing(files: Files, options: ReadOptions, spool: Path) -> Listing | None:
    """The images of all idx files, one entry each, with their labels and splits; None if there are no such files.

    Raises:
        DataError: A file is no idx file, or only a part of one, or labels do not fit the images.
    """
    sets = {
        name
        for name in files.names
        if (found := NAME.search(name)) and found["what"].lower() == "images" and not _is_unpacked(name, files)
    }
    if not sets:
        return None
    _check_one_set(files.title, sets)
    entries: list[RowEntry] = []
    labels: list[Cell] = []
    splits: list[str | None] = []
    for name in sorted(sets):
        rows = _rows(name, files.records(name, spool))
        entries += rows
        labels += _label_cells(name, len(rows), files, spool)
        splits += [_meaning(name)[0]] * len(rows)
    kept = splits if len(set(splits)) > 1 and options.split != "none" else []
    return Listing(
        entries,
        columns={LABEL: labels} if any(label is not None for label in labels) else {},
        notices=_transposed(sets),
        splits=kept,
    )


def _is_unpacked(name: str, files: Files) -> bool:
    """Whether a compressed file lies beside its own content."""
    return name.lower().endswith(".gz") and name[:-3] in files.names


def _check_one_set(title: str, names: Collection[str]) -> None:
    if len({_meaning(name)[1] for name in names}) > 1:
        raise DataError(
            f"{title} holds more than one data set of idx files: {', '.join(map(printable, sorted(names)))}",
            "Name one of these files.",
        )


def _meaning(name: str) -> tuple[str | None, tuple[str, ...]]:
    """The split of a file, and the words for its data set."""
    found = NAME.search(name)
    assert found is not None
    return parsed_split(found["set"].lower().replace("t10k", "test"))


def _is_transposed(name: str) -> bool:
    return "emnist" in _meaning(name)[1]


def _transposed(names: Iterable[str]) -> list[Notice]:
    text = "The images of EMNIST are stored with rows and columns exchanged, and are turned back."
    return [Notice("orientation", text)] if any(map(_is_transposed, names)) else []


def _labels_of(name: str, names: list[str]) -> str | None:
    """The file of the labels of a file of images, compressed or not."""
    wanted = re.sub("images([-.])idx3", r"labels\1idx1", name, flags=re.IGNORECASE).removesuffix(".gz")
    return next((found for found in (wanted, f"{wanted}.gz") if found in names and found != name), None)


def _rows(name: str, stretch: SliceEntry) -> list[RowEntry]:
    header = _header(name, stretch)
    count, *shape = header.shape
    if len(shape) < 2 or 0 in shape:
        raise DataError(f"{printable(name)} has the shape {header.shape}, which is not that of images", "Check it.")
    size = math.prod(shape)
    start = stretch.offset + header.offset
    kind = TransposedEntry if _is_transposed(name) else RowEntry
    return [
        kind(f"{name}#{row}", stretch.path, start + row * size, tuple(shape), np.dtype(np.uint8).str)
        for row in range(count)
    ]


def _label_cells(name: str, count: int, files: Files, spool: Path) -> list[Cell]:
    labels = _labels_of(name, list(files.names))
    if labels is None:
        return [None] * count
    stretch = files.records(labels, spool)
    header = _header(labels, stretch)
    if header.shape != (count,):
        raise DataError(
            f"{printable(labels)} has the shape {header.shape}, but {printable(name)} has {count} images",
            "Restore both from their origin.",
        )
    content = stretch.read()
    assert isinstance(content, bytes)
    return list(content[header.offset :])


def _header(name: str, stretch: SliceEntry) -> Header:
    """The head of an idx file of unsigned bytes: 0, 0, the type, the number of axes, and the length of each."""
    with stretch.path.open("rb") as file:
        file.seek(stretch.offset)
        zeros, kind, axes = int.from_bytes(file.read(2), "big"), *(file.read(2) + b"\0\0")[:2]
        shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(axes))
    if zeros or kind != UNSIGNED_BYTES or not shape:
        raise DataError(f"{printable(name)} is not an idx file of 8-bit numbers", "Restore it from its origin.")
    header = Header(shape, 4 + 4 * axes)
    if stretch.size < header.offset + math.prod(shape):
        raise DataError(f"{printable(name)} ends before its array does", "Restore it from its origin.")
    return header
