"""CIFAR-10 and CIFAR-100 in the binary version of their authors. The Python version is a pickle and is not read."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from sfumato.data.sources.entry import SliceEntry
from sfumato.data.sources.files import Files
from sfumato.data.sources.folder_labels import TEST, TRAIN
from sfumato.data.sources.numpy_files import RowEntry
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.source import Cell, Listing
from sfumato.errors import DataError
from sfumato.utils.text import printable

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Edition:
    """File format of one of the two data sets.

    Attributes:
        title: Name of the data set.
        files: Pattern of the names of the image files, without folders.
        labels: Label columns in the order of their bytes before the pixels, with the files of their class names.
    """

    title: str
    files: re.Pattern[str]
    labels: dict[str, str]


EDITIONS = (
    Edition("CIFAR-10", re.compile(r"(data_batch_\d+|test_batch)\.bin"), {"label": "batches.meta.txt"}),
    Edition(
        "CIFAR-100",
        re.compile(r"(train|test)\.bin"),
        {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
    ),
)
PICKLES = {
    "cifar-10-batches-py": "cifar-10-binary.tar.gz",
    "cifar-100-python": "cifar-100-binary.tar.gz",
}
"""Folders of the Python versions, and the archives of the corresponding binary versions."""


def cifar_listing(files: Files, options: ReadOptions, scratch: Path) -> Listing | None:
    """Lists the images of a binary version with their classes and splits; None if the files are not CIFAR.

    Raises:
        DataError: The files are the Python version, or a file is truncated.
    """
    by_base = files.by_base()
    for edition in EDITIONS:
        batches = [name for base, name in sorted(by_base.items()) if edition.files.fullmatch(base)]
        if batches and set(edition.labels.values()) <= by_base.keys():
            return _listing(edition, batches, by_base, files, options, scratch)
    _check_no_pickle(files)
    return None


def _listing(
    edition: Edition, batches: list[str], by_base: dict[str, str], files: Files, options: ReadOptions, scratch: Path
) -> Listing:
    entries: list[RowEntry] = []
    splits: list[str | None] = []
    columns: dict[str, list[Cell]] = {column: [] for column in edition.labels}
    names = {column: _lines(files.content(by_base[file])) for column, file in edition.labels.items()}
    for batch in batches:
        stretch = files.records(batch, scratch)
        record = len(columns) + PIXELS
        count = _count(stretch, record)
        places = [stretch.offset + number * record for number in range(count)]
        entries += [
            RowEntry(f"{batch}#{n}", stretch.path, at + len(columns), SHAPE, "|u1") for n, at in enumerate(places)
        ]
        content = stretch.read()
        for place, (column, cells) in enumerate(columns.items()):
            cells += [_name(names[column], content[at], batch) for at in range(place, count * record, record)]
        splits += [TEST if posixpath.basename(batch).lower().startswith("test") else TRAIN] * count
    kept = splits if len(set(splits)) > 1 and options.split != "none" else []
    return Listing(entries, columns, splits=kept)


def _lines(content: bytes) -> list[str]:
    return [line.strip() for line in content.decode(errors="replace").splitlines() if line.strip()]


def _name(names: list[str], label: int, batch: str) -> str:
    if label >= len(names):
        raise DataError(
            f"{printable(batch)} has the label {label}, but {len(names)} names", "Download or copy it again."
        )
    return names[label]


def _count(stretch: SliceEntry, record: int) -> int:
    count, rest = divmod(stretch.size, record)
    if rest or not count:
        raise DataError(
            f"{printable(stretch.name)} has {stretch.size} bytes, not a multiple of the {record} of an image",
            "Download or copy it again.",
        )
    return count


def _check_no_pickle(files: Files) -> None:
    for name in files.names:
        folders = f"{files.root or ''}/{name}".replace("\\", "/").split("/")[:-1]
        for folder in set(folders) & PICKLES.keys():
            raise DataError(
                f"{files.title} holds the Python version of CIFAR ({folder}), which is a pickle and may execute code "
                "when it is read",
                f"Download the binary version, {PICKLES[folder]}.",
            )
