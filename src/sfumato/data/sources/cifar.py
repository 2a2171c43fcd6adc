"""CIFAR-10 and CIFAR-100 in the binary version of their authors. The Python version is a pickle and is not read."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import NamedTuple

from sfumato.data.sources.file_set import Files
from sfumato.data.sources.folder_labels import TEST, TRAIN
from sfumato.data.sources.numpy_files import RowEntry
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.source import Cell, Listing
from sfumato.errors import DataError
from sfumato.utils.text import printable

SHAPE = (3, 32, 32)
IMAGE_BYTES = 3 * 32 * 32


class Edition(NamedTuple):
    """Names of the image files without folders, and label columns in the order of their bytes before the pixels.

    Each column has the name of the file of its class names.
    """

    files: re.Pattern[str]
    labels: dict[str, str]


EDITIONS = (
    Edition(re.compile(r"(data_batch_\d+|test_batch)\.bin"), {"label": "batches.meta.txt"}),
    Edition(
        re.compile(r"(train|test)\.bin"), {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"}
    ),
)
"""CIFAR-10 and CIFAR-100."""

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
    names = {
        column: list(filter(None, map(str.strip, files.content(by_base[file]).decode(errors="replace").splitlines())))
        for column, file in edition.labels.items()
    }
    record = len(columns) + IMAGE_BYTES
    for batch in batches:
        stretch = files.records(batch, scratch)
        content = stretch.read()
        if not content or len(content) % record:
            raise DataError(
                f"{printable(batch)} has {len(content)} bytes, not a multiple of the {record} of an image",
                "Download or copy it again.",
            )
        for place, (column, cells) in enumerate(columns.items()):
            labels = bytes(content[place::record])
            if max(labels) >= len(names[column]):
                raise DataError(
                    f"{printable(batch)} has the label {max(labels)}, but {len(names[column])} names",
                    "Download or copy it again.",
                )
            cells += [names[column][label] for label in labels]
        starts = range(stretch.offset + len(columns), stretch.offset + len(content), record)
        entries += [RowEntry(f"{batch}#{row}", stretch.path, at, SHAPE, "|u1") for row, at in enumerate(starts)]
        splits += [TEST if posixpath.basename(batch).lower().startswith("test") else TRAIN] * len(starts)
    kept = splits if len(set(splits)) > 1 and options.split != "none" else []
    return Listing(entries, columns, splits=kept)


def _check_no_pickle(files: Files) -> None:
    for name in files.names:
        folders = f"{files.root or ''}/{name}".replace("\\", "/").split("/")[:-1]
        for folder in set(folders) & PICKLES.keys():
            raise DataError(
                f"{files.title} holds the Python version of CIFAR ({folder}), which is a pickle and may execute code "
                "when it is read",
                f"Download the binary version, {PICKLES[folder]}.",
            )
