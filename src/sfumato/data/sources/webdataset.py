"""WebDataset tar files: files with the same name and different extensions belong to one image."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from sfumato.data.sources.file_names import normalized
from sfumato.data.sources.files import Files
from sfumato.data.sources.source import LABEL, Cell, Listing, Notice
from sfumato.data.sources.tables import Row

CLASS, JSON, CAPTIONS = "cls", "json", ("txt", "text", "caption")


def with_sidecar_files(listing: Listing, files: Files) -> Listing:
    """Adds columns from the sidecar files of each image.

    `.cls` gives the column `label`; an object in `.json` gives a column for each value that is text or a number.
    Captions are not used.

    Args:
        listing: Images of a tar file, with their names in it.
        files: All files in the tar file.

    Raises:
        DataError: A file cannot be read.
    """
    sidecars = _sidecars(files)
    if not sidecars:
        return listing
    found = [next((sidecars[stem] for stem in _stems(entry.name) if stem in sidecars), {}) for entry in listing.entries]
    rows = [_row(files, extensions) for extensions in found]
    names = {column: None for row in rows for column in row}
    columns = {column: [row.get(column) for row in rows] for column in names}
    captions = Counter(extension for extensions in found for extension in extensions if extension in CAPTIONS)
    notices = [
        Notice("captions", f"{count} captions (.{extension}) are not used.", matters=False)
        for extension, count in captions.items()
    ]
    return replace(listing, columns=columns | dict(listing.columns), notices=[*listing.notices, *notices])


def _sidecars(files: Files) -> dict[str, dict[str, str]]:
    """Sidecar files by the name without extension, and by extension."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in files.names:
        stem, _, extension = name.rpartition(".")
        if stem and extension.lower() in (CLASS, JSON, *CAPTIONS):
            found[normalized(stem)][extension.lower()] = name
    return dict(found)


def _stems(name: str) -> Iterator[str]:
    """The name without its last extension, and, as in WebDataset, without all of them."""
    yield name.rpartition(".")[0]
    folder, slash, base = name.rpartition("/")
    yield folder + slash + base.partition(".")[0]


def _row(files: Files, extensions: Mapping[str, str]) -> Row:
    row = _object(files.content(extensions[JSON])) if JSON in extensions else {}
    if CLASS in extensions:
        row[LABEL] = _label(files.content(extensions[CLASS]).decode(errors="replace").strip())
    return row


def _object(content: bytes) -> Row:
    """Text and numbers of a JSON object; empty for other content."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, Cell)} if isinstance(found, dict) else {}


def _label(text: str) -> Cell:
    return int(text) if text.isdecimal() and str(int(text)) == text else text or None
