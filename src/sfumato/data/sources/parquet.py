"""Parquet files whose rows hold images, as on the Hugging Face Hub, or metadata of images."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.data.sources.entry import MOST_BYTES, BadImageError, Content, Entry, check_file_size
from sfumato.data.sources.folder_labels import splits_of_files
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.source import Cell, Listing, Source, joined_columns, stat_signature
from sfumato.errors import DataError
from sfumato.utils.text import printable

if TYPE_CHECKING:
    import pyarrow as pa

EXTRA = 'pip install "sfumato[hub]"'


@dataclass(frozen=True)
class ParquetEntry(Entry):
    """The image of one row.

    Attributes:
        path: Path of the file.
        column: Column of encoded images, or of structs with the field `bytes`.
        group: Index of the row group.
        row: Index within the row group.
    """

    path: Path
    column: str
    group: int
    row: int

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """Reads the encoded image of the row."""
        group = _group(self.path, stat_signature(self.path), self.column, self.group)
        return image_bytes(group[self.row].as_py())


class ParquetSource(Source):
    """Images in the rows of Parquet files.

    Args:
        path: Path of a file, or of a folder with `.parquet` files at any depth.
        options: How the images are read.

    Raises:
        DataError: pyarrow is not installed, or a folder cannot be listed.
    """

    def __init__(self, path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> None:
        self.options = options
        require_pyarrow("Parquet files")
        self.title = f"the Parquet data {printable(str(path))}"
        self.identity = str(path.resolve())
        self.path = path
        self.root = path if path.is_dir() else path.parent
        visible = [file for file in path.rglob("*.parquet") if "/." not in f"/{file.relative_to(path).as_posix()}"]
        self.files = sorted(visible) if path.is_dir() else [path]

    def signature(self) -> str:
        """Names, sizes and times of the files."""
        return json.dumps([[str(file), stat_signature(file)] for file in self.files])

    def listing(self, scratch: Path) -> Listing:  # noqa: ARG002 (other sources unpack there)
        """The rows of all files, with their other columns of text and numbers."""
        from pyarrow import ArrowException

        names = [file.relative_to(self.root).as_posix() for file in self.files]
        entries: list[Entry] = []
        tables: list[tuple[int, dict[str, list[Cell]]]] = []
        splits: list[str | None] = []
        for file, split in zip(self.files, splits_of_files(names, self.options), strict=True):
            try:
                rows, columns = _rows(file)
            except (ArrowException, OSError, ValueError) as error:
                title = printable(str(file))
                raise DataError(
                    f"{title} is not a Parquet file, or it is truncated", "Download or copy it again."
                ) from error
            entries += rows
            tables.append((len(rows), columns))
            splits += [split] * len(rows)
        return Listing(entries, joined_columns(tables), splits=splits if any(splits) else [])


def _rows(file: Path) -> tuple[list[ParquetEntry], dict[str, list[Cell]]]:
    """Images and other columns of a file."""
    from pyarrow.parquet import ParquetFile

    opened = ParquetFile(file)
    schema = opened.schema_arrow
    image = image_column(schema, str(file))
    counts = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
    places = [(group, row) for group, count in enumerate(counts) for row in range(count)]
    rows = [ParquetEntry(f"{file.name}#{number}", file, image, *place) for number, place in enumerate(places)]
    described = [field.name for field in schema if field.name != image and _is_plain(field.type)]
    names = class_names(schema)
    return rows, {
        column: named_cells(opened.read(columns=[column]).column(0).to_pylist(), names.get(column))
        for column in described
    }


def parquet_rows(title: str, content: bytes) -> list[dict[str, Cell]]:
    """Rows of a metadata file; columns that are neither text nor numbers are left out.

    Raises:
        DataError: pyarrow is not installed, or the file is broken.
    """
    require_pyarrow(title)
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(io.BytesIO(content))
    except (ArrowException, OSError) as error:
        raise DataError(f"{title} is not a Parquet file, or it is truncated", "Write it again.") from error
    rows: list[dict[str, Cell]] = table.select([f.name for f in table.schema if _is_plain(f.type)]).to_pylist()
    return rows


def require_pyarrow(wanted: str) -> None:
    """Raises `DataError` unless pyarrow is installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError(f"{wanted} cannot be read without pyarrow", f"Install it: {EXTRA}.") from error


def image_bytes(cell: object) -> bytes:
    """Encoded image of a cell: bytes, or a struct of `bytes` and `path`.

    Raises:
        BadImageError: The cell is empty or holds something else.
    """
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if content is None:
        raise BadImageError("the row holds no image")
    if not isinstance(content, bytes):
        raise BadImageError("the row does not hold an encoded image")
    check_file_size(len(content))
    return content


def image_column(schema: pa.Schema, title: str) -> str:
    """Column of images: structs with `bytes`, or else bytes.

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
            "Keep one column of encoded images as on the Hugging Face Hub: bytes, or a struct with bytes.",
        )
    return str(found[0])


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Class names of the integer class columns in the schema of the Hub."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {column: feature.get("names") for column, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, AttributeError, TypeError):
        return {}
    return {column: names for column, names in found.items() if isinstance(names, list)}


def named_cells(cells: Sequence[Any], names: Sequence[str] | None) -> list[Cell]:
    """Cells of a column; class indices become class names, and NaN becomes None."""
    if names is None:
        return [None if cell != cell else cell for cell in cells]
    return [names[cell] if isinstance(cell, int) and 0 <= cell < len(names) else None for cell in cells]


def _is_plain(kind: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    return any(is_one(kind) for is_one in tests)


@lru_cache(maxsize=1)
def _group(path: Path, signature: str, column: str, group: int) -> pa.ChunkedArray:  # noqa: ARG001
    """Images of one row group; it is cached for the next rows."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path).read_row_group(group, columns=[column]).column(0)
    except (ArrowException, OSError) as error:
        raise BadImageError("its row group cannot be read") from error
