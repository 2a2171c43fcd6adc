"""The idx files of MNIST, such as train-images-idx3-ubyte.gz, with the label files of the same name."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfumato.data.sources.entry import MOST_BYTES, Content, FileEntry, SliceEntry
from sfumato.data.sources.files import Files
from sfumato.data.sources.folder_labels import parsed_split
from sfumato.data.sources.numpy_files import RowEntry
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.source import LABEL, Cell, FileSource, Listing, Notice, stat_signature
from sfumato.errors import DataError
from sfumato.utils.text import printable

NAME = re.compile(
    r"(?:^|/)(?P<set>[^/]*?)[-_.]?(?P<what>images|labels)[-.]idx(?P<axes>\d)-ubyte(?:\.gz)?$", re.IGNORECASE
)


UNSIGNED_BYTES = 8
"""Data type in the third byte of a file."""


@dataclass(frozen=True)
class IdxHeader:
    """Header of an idx file.

    Attributes:
        shape: Shape of the array.
        offset: Offset of the data in bytes.
    """

    shape: tuple[int, ...]
    offset: int


class TransposedEntry(RowEntry):
    """An image that is stored with rows and columns exchanged."""

    def read(self, most: int = MOST_BYTES) -> Content:
        """Reads the pixels and transposes them."""
        pixels = super().read(most)
        assert isinstance(pixels, np.ndarray)
        return np.ascontiguousarray(pixels.swapaxes(0, 1))


class IdxSource(FileSource):
    """One idx file of images, with its labels; `is_idx_name` accepts its name."""

    kind = "idx file"

    def signature(self) -> str:
        """Sizes and times of the file and of its label file."""
        return "\0".join(f"{name} {stat_signature(self.path.parent / name)}" for name in self._names())

    def listing(self, scratch: Path) -> Listing:
        """One entry for each image, with its label if there is a label file."""
        root = self.path.parent
        files = Files(self.title, self._names(), lambda name: FileEntry(name, root / name), root)
        found = idx_listing(files, self.options, scratch)
        if found is None:
            raise DataError(f"{self.title} holds no images", "Give the file of the images, not the file of the labels.")
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


def idx_listing(files: Files, options: ReadOptions, scratch: Path) -> Listing | None:
    """Lists the images of all idx files with their labels and splits; None if there are no such files.

    Raises:
        DataError: A file is not an idx file or is truncated, or the labels do not match the images.
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
        rows = _rows(name, files.records(name, scratch))
        entries += rows
        labels += _label_cells(name, len(rows), files, scratch)
        splits += [_meaning(name)[0]] * len(rows)
    kept = splits if len(set(splits)) > 1 and options.split != "none" else []
    return Listing(
        entries,
        columns={LABEL: labels} if any(label is not None for label in labels) else {},
        notices=_transposed(sets),
        splits=kept,
    )


def _is_unpacked(name: str, files: Files) -> bool:
    """Whether the decompressed file exists next to a compressed one."""
    return name.lower().endswith(".gz") and name[:-3] in files.names


def _check_one_set(title: str, names: Collection[str]) -> None:
    if len({_meaning(name)[1] for name in names}) > 1:
        raise DataError(
            f"{title} holds more than one data set of idx files: {', '.join(map(printable, sorted(names)))}",
            "Give one of these files.",
        )


def _meaning(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Split of a file, and the words of the name of its data set."""
    found = NAME.search(name)
    assert found is not None
    return parsed_split(found["set"].lower().replace("t10k", "test"))


def _is_transposed(name: str) -> bool:
    return "emnist" in _meaning(name)[1]


def _transposed(names: Iterable[str]) -> list[Notice]:
    text = "The images of EMNIST are stored with rows and columns exchanged, and are transposed."
    return [Notice("orientation", text)] if any(map(_is_transposed, names)) else []


def _labels_of(name: str, names: list[str]) -> str | None:
    """Label file of a file of images, compressed or not."""
    wanted = re.sub("images([-.])idx3", r"labels\1idx1", name, flags=re.IGNORECASE).removesuffix(".gz")
    return next((found for found in (wanted, f"{wanted}.gz") if found in names and found != name), None)


def _rows(name: str, stretch: SliceEntry) -> list[RowEntry]:
    header = _header(name, stretch)
    count, *shape = header.shape
    if len(shape) < 2 or 0 in shape:
        raise DataError(
            f"{printable(name)} has the shape {header.shape}, which is not that of images", "Check the file."
        )
    size = math.prod(shape)
    start = stretch.offset + header.offset
    kind = TransposedEntry if _is_transposed(name) else RowEntry
    return [
        kind(f"{name}#{row}", stretch.path, start + row * size, tuple(shape), np.dtype(np.uint8).str)
        for row in range(count)
    ]


def _label_cells(name: str, count: int, files: Files, scratch: Path) -> list[Cell]:
    labels = _labels_of(name, list(files.names))
    if labels is None:
        return [None] * count
    stretch = files.records(labels, scratch)
    header = _header(labels, stretch)
    if header.shape != (count,):
        raise DataError(
            f"{printable(labels)} has the shape {header.shape}, but {printable(name)} has {count} images",
            "Download or copy both again.",
        )
    content = stretch.read()
    assert isinstance(content, bytes)
    return list(content[header.offset :])


def _header(name: str, stretch: SliceEntry) -> IdxHeader:
    """Reads the header: two zero bytes, the data type, the number of axes, and the length of each axis."""
    with stretch.path.open("rb") as file:
        file.seek(stretch.offset)
        zeros, kind, axes = int.from_bytes(file.read(2), "big"), *(file.read(2) + b"\0\0")[:2]
        shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(axes))
    if zeros or kind != UNSIGNED_BYTES or not shape:
        raise DataError(f"{printable(name)} is not an idx file of 8-bit numbers", "Download or copy it again.")
    header = IdxHeader(shape, 4 + 4 * axes)
    if stretch.size < header.offset + math.prod(shape):
        raise DataError(f"{printable(name)} ends before its array does", "Download or copy it again.")
    return header
