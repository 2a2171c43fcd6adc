"""A data set of the Hugging Face Hub, or of that layout on disk, through the library `datasets`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import DataError
from sfumato.sources.entry import MOST_BYTES, BadImageError, Content, Entry, FileEntry, printable
from sfumato.sources.options import USUAL, ReadOptions
from sfumato.sources.parquet import EXTRA, image_bytes, named_cells
from sfumato.sources.source import Listing, Source

if TYPE_CHECKING:
    import datasets

PREFIX = "hf:"
SPLIT = "train"


@dataclass(frozen=True)
class HubEntry(Entry):
    """One row of a data set that is on disk.

    Attributes:
        rows: The data set, its images not decoded.
        column: Of the images.
        row: In the data set.
    """

    rows: datasets.Dataset
    column: str
    row: int

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """The encoded image, from the row itself or from the file that it names."""
        cell = self.rows[self.row][self.column]
        if cell is None:
            raise BadImageError("the row holds no image")
        if cell["bytes"] is None:
            return FileEntry(self.name, Path(cell["path"])).read()
        return image_bytes(cell)


class HubSource(Source):
    """A data set by name, `hf:NAME` or `hf:NAME:SPLIT`; NAME may be a folder.

    Args:
        name: Without the prefix.
        options: How its images are read.

    Raises:
        DataError: `datasets` is missing, the data set cannot be loaded, or has no column of images.
    """

    def __init__(self, name: str, options: ReadOptions = USUAL) -> None:
        self.options = options
        self.title = f"the data set {printable(name)}"
        path = Path(name.partition(":")[0])
        self.identity = PREFIX + (f"{path.resolve()}:{name.partition(':')[2]}" if path.exists() else name)
        self.rows = _loaded(name)
        self.column = _image_column(self.rows, name)

    def signature(self) -> str:
        """The fingerprint that `datasets` keeps."""
        return str(self.rows._fingerprint)

    def listing(self, spool: Path) -> Listing:  # noqa: ARG002 (other sources unpack there)
        """The rows, with their other columns of text and numbers; class numbers carry their names."""
        from datasets import Image

        raw = self.rows.cast_column(self.column, Image(decode=False))
        entries = [HubEntry(f"#{row}", raw, self.column, row) for row in range(len(raw))]
        columns = {
            name: named_cells(raw.with_format(None)[name][:], getattr(feature, "names", None))
            for name, feature in raw.features.items()
            if _is_plain(feature)
        }
        return Listing(entries, columns)


def _loaded(name: str) -> datasets.Dataset:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{PREFIX}{name} cannot be read without the library datasets", f"Install it: {EXTRA}."
        ) from error
    path, _, split = name.partition(":")
    try:
        return datasets.load_dataset(path, split=split or SPLIT)
    except Exception as error:  # the library passes on whatever its loaders and the network raise
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"the data set {path} (split {split or SPLIT}) cannot be loaded: {first_line}",
            "Check its name on the Hub and the connection; another split is named as hf:NAME:SPLIT.",
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

    kind = getattr(feature, "dtype", "")
    return isinstance(feature, ClassLabel) or (
        isinstance(feature, Value) and any(kind.startswith(word) for word in ("int", "uint", "float", "bool", "string"))
    )
