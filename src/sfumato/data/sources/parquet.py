"""Parquet: a file or a folder of files whose rows hold images, as the Hugging Face Hub keeps them, or describe them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.data.sources.entry import MOST_BYTES, BadImageError, Content, Entry, check_size
from sfumato.data.sources.layout import split_of_files
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.source import Cell, Listing, Source, joined_columns, stat_signature
from sfumato.errors import DataError
from sfumato.utils.text import printable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

EXTRA = 'pip install "sfumato[hub]"'


@dataclass(frozen=True)
class ParquetEntry(Entry):
    """One row's image.

    Attributes:
        path: The file.
        column: Whose cells are encoded images, or structs with their `bytes`.
        group: The row group.
        row: Within the group.
    """

    path: Path
    column: str
    group: int
    row: int

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """The encoded image of the row."""
        group = _group(self.path, stat_signature(self.path), self.column, self.group)
        return image_bytes(group[self.row].as_py())


class ParquetSource(Source):
    """Images in the rows of Parquet files.

    Args:
        path: A file, or a folder with `.parquet` files at any depth.
        options: How its images are read.

    Raises:
        DataError: pyarrow is missing, or a folder cannot be listed.
    """

    def __init__(self, path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> None:
        self.options = options
        require_pyarrow("Parquet files")
        self.title = f"the Parquet data {printable(str(path))}"
        self.identity = str(path.resolve())
        self.path = path
        self.files = _visible_files(path) if path.is_dir() else [path]

    def signature(self) -> str:
        """Names, sizes and times of the files."""
        return json.dumps([[str(file), stat_signature(file)] for file in self.files])

    def listing(self, spool: Path) -> Listing:  # noqa: ARG002 (other sources unpack there)
        """The rows of all files, with their other columns of text and numbers."""
        entries: list[Entry] = []
        tables: list[tuple[int, dict[str, list[Cell]]]] = []
        splits: list[str | None] = []
        for file, split in zip(self.files, self._splits(), strict=True):
            opened = _open(file)
            schema = opened.schema_arrow
            image = image_column(schema, str(file))
            rows = _rows(file, image, opened)
            names = class_names(schema)
            columns = {
                name: named_cells(_column(file, opened, name), names.get(name)) for name in _described(schema, image)
            }
            entries += rows
            tables.append((len(rows), columns))
            splits += [split] * len(rows)
        return Listing(entries, joined_columns(tables), splits=splits if any(splits) else [])

    def _splits(self) -> list[str | None]:
        """The split of each file, by its name."""
        root = self.path if self.path.is_dir() else self.path.parent
        return split_of_files([file.relative_to(root).as_posix() for file in self.files], self.options)


def _visible_files(folder: Path) -> list[Path]:
    """The Parquet files at any depth, without hidden ones."""
    files = sorted(folder.rglob("*.parquet"))
    return [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def parquet_rows(title: str, content: bytes) -> Iterator[dict[str, Cell]]:
    """The rows of a metadata file in Parquet; columns that are neither text nor numbers are left out.

    Raises:
        DataError: pyarrow is missing, or the file is broken.
    """
    require_pyarrow(title)
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
    except (ArrowException, OSError) as error:
        raise DataError(f"{title} is not a Parquet file, or only a part of one", "Write it anew.") from error
    kept = table.select([field.name for field in table.schema if _is_plain(field.type)])
    yield from kept.to_pylist()


def require_pyarrow(wanted: str) -> None:
    """Raises `DataError` unless pyarrow is installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError(f"{wanted} cannot be read without pyarrow", f"Install it: {EXTRA}.") from error


def image_bytes(cell: object) -> bytes:
    """The encoded image of a cell: bytes, or a struct of `bytes` and `path`.

    Raises:
        BadImageError: The cell is empty or holds something else.
    """
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if content is None:
        raise BadImageError("the row holds no image")
    if not isinstance(content, bytes):
        raise BadImageError("the row holds something else than an encoded image")
    check_size(len(content))
    return content


def image_column(schema: pa.Schema, title: str) -> str:
    """The column that holds images: structs with `bytes`, or else bytes.

    Raises:
        DataError: There is none, or more than one.
    """
    import pyarrow as pa

    structs = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    binaries = [f.name for f in schema if pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type)]
    found = structs or binaries
    if len(found) != 1:
        raise DataError(
            f"{title} has {len(found) or 'no'} columns of images ({', '.join(map(printable, schema.names))})",
            "Keep one column of encoded images, as the Hugging Face Hub has them: bytes, or a struct with bytes.",
        )
    return str(found[0])


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names that the Hub's schema gives to the integers of its class columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {column: feature.get("names") for column, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, AttributeError, TypeError):
        return {}
    return {column: names for column, names in found.items() if isinstance(names, list)}


def named_cells(cells: Sequence[Any], names: Sequence[str] | None) -> list[Cell]:
    """A column's cells, integers replaced by their names where they have any; NaN is None."""
    if names is None:
        return [None if cell != cell else cell for cell in cells]
    return [names[cell] if isinstance(cell, int) and 0 <= cell < len(names) else None for cell in cells]


def _open(file: Path) -> ParquetFile:
    from pyarrow import ArrowException, parquet

    try:
        return parquet.ParquetFile(file)
    except (ArrowException, OSError) as error:
        raise _broken(file) from error


def _column(file: Path, opened: ParquetFile, name: str) -> list[Any]:
    from pyarrow import ArrowException

    try:
        cells: list[Any] = opened.read(columns=[name]).column(0).to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        raise _broken(file) from error
    return cells


def _broken(file: Path) -> DataError:
    return DataError(
        f"{printable(str(file))} is not a Parquet file, or only a part of one", "Restore it from its origin."
    )


def _rows(file: Path, image: str, opened: ParquetFile) -> list[Entry]:
    counts = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
    places = [(group, row) for group, count in enumerate(counts) for row in range(count)]
    return [
        ParquetEntry(f"{file.name}#{number}", file, image, group, row) for number, (group, row) in enumerate(places)
    ]


def _described(schema: pa.Schema, image: str) -> list[str]:
    return [field.name for field in schema if field.name != image and _is_plain(field.type)]


def _is_plain(kind: pa.DataType) -> bool:
    import pyarrow as pa

    tests = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_large_string,
    )
    return any(is_one(kind) for is_one in tests)


@lru_cache(maxsize=1)
def _group(path: Path, signature: str, column: str, group: int) -> pa.ChunkedArray:  # noqa: ARG001
    """The images of one row group; neighbours are read together, so the last one is kept."""
    from pyarrow import ArrowException

    try:
        return _open(path).read_row_group(group, columns=[column]).column(0)
    except (ArrowException, OSError, DataError) as error:
        raise BadImageError("its row group cannot be read") from error
