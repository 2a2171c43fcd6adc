"""The same files in every container, and what comes out of it again."""

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
from sfumato.data.sources.decode import pixels_of


def listing(path: Path | str, spool: Path) -> Listing:
    """What a source says of its images."""
    return open_source(path).listing(spool)


def pixels(entries: Sequence[Entry]) -> list[np.ndarray]:
    """The pixels of all entries."""
    return [pixels_of(entry.read()) for entry in entries]


def zipped(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of these files."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: Mapping[str, bytes], compression: str = "") -> Path:
    """A tar of these files."""
    with tarfile.open(path, f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def hub_table(files: Mapping[str, bytes], names: Sequence[str]) -> pa.Table:
    """A table as the Hub has it: structs with bytes, and class numbers whose names stand in the schema."""
    images = pa.array([{"bytes": content, "path": name} for name, content in files.items()])
    labels = pa.array([names.index(name.partition("/")[0]) for name in files])
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table({"image": images, "label": labels}).replace_schema_metadata(metadata)


def write_parquet(table: pa.Table, path: Path, rows_a_group: int = 3) -> Path:
    """The table in a file of several row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=rows_a_group)
    return path
