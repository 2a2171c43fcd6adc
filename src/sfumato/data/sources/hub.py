"""Data sets of the Hugging Face Hub, or local folders in its layout, read with the library `datasets`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.data.sources.entry import MOST_BYTES, Content, Entry, FileEntry
from sfumato.data.sources.folder_labels import canonical_split
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.parquet import EXTRA, image_bytes, named_cells
from sfumato.data.sources.source import Listing, Source, joined_columns
from sfumato.errors import DataError
from sfumato.utils.hub import PREFIX
from sfumato.utils.text import first_line, printable

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class HubEntry(Entry):
    """One row of a data set on disk.

    Attributes:
        rows: Data set with encoded images.
        column: Column of the images.
        row: Index of the row.
    """

    rows: datasets.Dataset
    column: str
    row: int

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """Reads the encoded image from the row or from the file that it refers to."""
        cell = self.rows[self.row][self.column]
        is_in_file = cell is not None and cell["bytes"] is None
        return FileEntry(self.name, Path(cell["path"])).read() if is_in_file else image_bytes(cell)


class HubSource(Source):
    """A data set by name: `hf:NAME` for all splits, `hf:NAME:SPLIT` for one split; NAME may be a folder.

    Args:
        name: Name without the prefix.
        options: How the images are read.

    Raises:
        DataError: `datasets` is not installed, or the data set cannot be loaded or has no column of images.
    """

    def __init__(self, name: str, options: ReadOptions = DEFAULT_OPTIONS) -> None:
        self.options = options
        self.title = f"the data set {printable(name)}"
        drive = name[:2] if name[1:3] in (":\\", ":/") else ""
        path, _, split = name.removeprefix(drive).partition(":")
        path = drive + path
        self.identity = PREFIX + (f"{Path(path).resolve()}:{split}" if Path(path).exists() else name)
        self.parts = _loaded(name, path, split)
        self.column = _image_column(next(iter(self.parts.values())), name)

    def signature(self) -> str:
        """Fingerprints of `datasets`."""
        return " ".join(f"{split}={rows._fingerprint}" for split, rows in self.parts.items())

    def listing(self, scratch: Path) -> Listing:  # noqa: ARG002 (other sources unpack there)
        """The rows, with their other columns of text and numbers; class indices become class names."""
        parts = {split: _described_rows(rows, self.column) for split, rows in self.parts.items()}
        entries = [entry for part in parts.values() for entry in part.entries]
        tables = [(len(part.entries), part.columns) for part in parts.values()]
        has_splits = len(parts) > 1 and self.options.split != "none"
        splits = [canonical_split(split) for split, part in parts.items() for _ in part.entries] if has_splits else []
        if has_splits:
            entries = [replace(one, name=f"{split}{one.name}") for one, split in zip(entries, splits, strict=True)]
        return Listing(entries, joined_columns(tables), splits=splits)


def _described_rows(rows: datasets.Dataset, column: str) -> Listing:
    from datasets import Image

    raw = rows.cast_column(column, Image(decode=False))
    entries = [HubEntry(f"#{row}", raw, column, row) for row in range(len(raw))]
    columns = {
        name: named_cells(raw.with_format(None)[name][:], getattr(feature, "names", None))
        for name, feature in raw.features.items()
        if _is_plain(feature)
    }
    return Listing(entries, columns)


def _loaded(name: str, path: str, split: str) -> dict[str, datasets.Dataset]:
    """All splits of a data set by name, or the given split."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{PREFIX}{name} cannot be read without the library datasets", f"Install it: {EXTRA}."
        ) from error
    try:
        return {split: datasets.load_dataset(path, split=split)} if split else dict(datasets.load_dataset(path))
    except Exception as error:  # the library and the network raise many types of exceptions
        which = f" (split {split})" if split else ""
        raise DataError(
            f"the data set {path}{which} cannot be loaded: {first_line(error)}",
            "Check its name on the Hub and the connection; a split is given as hf:NAME:SPLIT.",
        ) from error


def _image_column(rows: datasets.Dataset, name: str) -> str:
    from datasets import Image

    found = [column for column, feature in rows.features.items() if isinstance(feature, Image)]
    if len(found) != 1:
        raise DataError(
            f"the data set {name} has {len(found) or 'no'} columns of images ({', '.join(rows.features)})",
            "Choose one with a single column of images.",
        )
    return str(found[0])


def _is_plain(feature: object) -> bool:
    from datasets import ClassLabel, Value

    is_value = isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "float", "bool", "string"))
    return is_value or isinstance(feature, ClassLabel)
