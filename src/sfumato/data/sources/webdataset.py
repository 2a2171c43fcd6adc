"""WebDataset tar files: files with the same name and different extensions belong to one image."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from sfumato.data.sources.file_names import normalized
from sfumato.data.sources.file_set import Files
from sfumato.data.sources.source import LABEL, Cell, Listing
from sfumato.data.sources.tables import Row

CLASS, JSON = "cls", "json"


def with_sidecar_files(listing: Listing, files: Files) -> Listing:
    """Adds columns from the sidecar files of each image.

    `.cls` gives the column `label`; an object in `.json` gives a column for each value that is text or a number.
    Columns that the listing already has are not replaced.

    Args:
        listing: Images of a tar file, named by their paths in it.
        files: All files in the tar file.

    Raises:
        DataError: A file cannot be read.
    """
    sidecars: dict[str, dict[str, str]] = defaultdict(dict)
    for name in files.names:
        stem, _, extension = name.rpartition(".")
        if stem and extension.lower() in (CLASS, JSON):
            sidecars[normalized(stem)][extension.lower()] = name
    if not sidecars:
        return listing
    rows = []
    for entry in listing.entries:
        own = next((sidecars[stem] for stem in _stems(entry.name) if stem in sidecars), {})
        row = _object(files.content(own[JSON])) if JSON in own else {}
        if CLASS in own:
            text = files.content(own[CLASS]).decode(errors="replace").strip()
            row[LABEL] = int(text) if text.isdecimal() and str(int(text)) == text else text or None
        rows.append(row)
    names = {column: None for row in rows for column in row}
    columns = {column: [row.get(column) for row in rows] for column in names}
    return replace(listing, columns=columns | dict(listing.columns))


def _stems(name: str) -> Iterator[str]:
    """The name without its last extension; then, as in WebDataset, the name up to the first dot."""
    yield name.rpartition(".")[0]
    folder, slash, base = name.rpartition("/")
    yield folder + slash + base.partition(".")[0]


def _object(content: bytes) -> Row:
    """Text and numbers of a JSON object; empty for other content."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, Cell)} if isinstance(found, dict) else {}
