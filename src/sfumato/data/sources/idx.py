"""The idx files of MNIST, such as train-images-idx3-ubyte.gz, with the label files of the same name."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from sfumato.data.sources.entry import MOST_BYTES, Content, FileEntry, SliceEntry
from sfumato.data.sources.file_set import Files
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
    names = [name for name in files.names if (found := NAME.search(name)) and found["what"].lower() == "images"]
    names = [name for name in names if not (name.lower().endswith(".gz") and name[:-3] in files.names)]
    if not names:
        return None
    if len({_meaning(name)[1] for name in names}) > 1:
        raise DataError(
            f"{files.title} holds more than one data set of idx files: {', '.join(map(printable, sorted(names)))}",
            "Give one of these files.",
        )
    kind = TransposedEntry if "emnist" in _meaning(names[0])[1] else RowEntry
    entries: list[RowEntry] = []
    labels: list[Cell] = []
    splits: list[str | None] = []
    for name in sorted(names):
        rows = _rows(name, files.records(name, scratch), kind)
        entries += rows
        labels += _label_cells(name, len(rows), files, scratch)
        splits += [_meaning(name)[0]] * len(rows)
    transposed = "The images of EMNIST are stored with rows and columns exchanged, and are transposed."
    return Listing(
        entries,
        columns={LABEL: labels} if any(label is not None for label in labels) else {},
        notices=[Notice("orientation", transposed)] if kind is TransposedEntry else [],
        splits=splits if len(set(splits)) > 1 and options.split != "none" else [],
    )


def _meaning(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Split of a file, and the words of the name of its data set."""
    found = NAME.search(name)
    assert found is not None
    return parsed_split(found["set"].lower().replace("t10k", "test"))


def _labels_of(name: str, names: list[str]) -> str | None:
    """Label file of a file of images, compressed or not."""
    wanted = re.sub("images([-.])idx3", r"labels\1idx1", name, flags=re.IGNORECASE).removesuffix(".gz")
    return next((found for found in (wanted, f"{wanted}.gz") if found in names and found != name), None)


def _rows(name: str, stretch: SliceEntry, kind: type[RowEntry]) -> list[RowEntry]:
    shape, start = _header(name, stretch)
    count, *image = shape
    if len(image) < 2 or 0 in image:
        raise DataError(f"{printable(name)} has the shape {shape}, which is not that of images", "Check the file.")
    places = range(start, start + count * math.prod(image), math.prod(image))
    return [kind(f"{name}#{row}", stretch.path, place, tuple(image), "|u1") for row, place in enumerate(places)]


def _label_cells(name: str, count: int, files: Files, scratch: Path) -> list[Cell]:
    labels = _labels_of(name, list(files.names))
    if labels is None:
        return [None] * count
    stretch = files.records(labels, scratch)
    shape, start = _header(labels, stretch)
    if shape != (count,):
        raise DataError(
            f"{printable(labels)} has the shape {shape}, but {printable(name)} has {count} images",
            "Download or copy both again.",
        )
    with stretch.path.open("rb") as file:
        file.seek(start)
        return list(file.read(count))


def _header(name: str, stretch: SliceEntry) -> tuple[tuple[int, ...], int]:
    """Shape of the array, and offset of its data in the file in bytes.

    The header is two zero bytes, the data type, the number of axes, and the length of each axis.
    """
    with stretch.path.open("rb") as file:
        file.seek(stretch.offset)
        zeros, kind, axes = int.from_bytes(file.read(2), "big"), *(file.read(2) + b"\0\0")[:2]
        shape = tuple(int.from_bytes(file.read(4), "big") for _ in range(axes))
    if zeros or kind != UNSIGNED_BYTES or not shape:
        raise DataError(f"{printable(name)} is not an idx file of 8-bit numbers", "Download or copy it again.")
    if stretch.size < 4 + 4 * axes + math.prod(shape):
        raise DataError(f"{printable(name)} ends before its array does", "Download or copy it again.")
    return shape, stretch.offset + 4 + 4 * axes
