"""Writes the same files into every container, and reads them again."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from sfumato.data.sources import Entry, Listing, open_source

from .decoding import decode_pixels


def listing(path: Path | str, scratch: Path) -> Listing:
    """Listing of a source."""
    return open_source(path).listing(scratch)


def pixels(entries: Sequence[Entry]) -> list[np.ndarray]:
    """Pixels of all entries."""
    return [decode_pixels(entry.read()) for entry in entries]


def zipped(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Writes files into a zip file."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: Mapping[str, bytes], compression: str = "") -> Path:
    """Writes files into a tar file."""
    with tarfile.open(path, f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def hub_table(files: Mapping[str, bytes], names: Sequence[str]) -> pa.Table:
    """A table in the format of the Hub: structs with bytes, and class indices with names in the schema."""
    images = pa.array([{"bytes": content, "path": name} for name, content in files.items()])
    labels = pa.array([names.index(name.partition("/")[0]) for name in files])
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table({"image": images, "label": labels}).replace_schema_metadata(metadata)


def write_parquet(table: pa.Table, path: Path, rows_a_group: int = 3) -> Path:
    """Writes a table with several row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=rows_a_group)
    return path
