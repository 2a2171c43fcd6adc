"""Files of a folder or an archive, including files that are not images."""

from __future__ import annotations

import gzip
import io
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfumato.data.sources.decompress import decompress
from sfumato.data.sources.entry import BadImageError, Entry, FileEntry, SliceEntry
from sfumato.errors import DataError
from sfumato.utils.text import printable

GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Files:
    """Files of a source.

    Attributes:
        title: Name of the source for messages.
        names: Sorted names of all files except system files, with slashes.
        entry: Creates the entry of a file from its name.
        root: The folder, if the files are in a folder.
    """

    title: str
    names: Sequence[str]
    entry: Callable[[str], Entry]
    root: Path | None = None

    def by_base(self) -> dict[str, str]:
        """Names by their base names in lower case; of several the first."""
        return {posixpath.basename(name).lower(): name for name in reversed(self.names)}

    def content(self, name: str) -> bytes:
        """Reads the whole content of a file.

        Raises:
            DataError: It cannot be read.
        """
        entry = self.entry(name)
        try:
            return entry.path.read_bytes() if isinstance(entry, FileEntry) else _bytes(entry)
        except (BadImageError, OSError) as error:
            raise _unreadable(name, error) from error

    def records(self, name: str, scratch: Path) -> SliceEntry:
        """Returns the content of a file for random access; gzip is decompressed.

        Args:
            name: Name of the file.
            scratch: Folder for decompressed files.

        Raises:
            DataError: It cannot be read.
        """
        entry = self.entry(name)
        try:
            stretch = _stretch(entry, scratch / f"{self.names.index(name)}.bin")
            with stretch.path.open("rb") as file:
                file.seek(stretch.offset)
                is_compressed = file.read(len(GZIP)) == GZIP
        except (BadImageError, OSError) as error:
            raise _unreadable(name, error) from error
        if not is_compressed:
            return stretch
        target = scratch / f"{self.names.index(name)}.plain"
        # the content is read first, since gzip would continue after the end of a slice
        plain = decompress(stretch.path, lambda: gzip.GzipFile(fileobj=io.BytesIO(_bytes(stretch))), target)
        return SliceEntry(name, plain, 0, plain.stat().st_size)


def _stretch(entry: Entry, target: Path) -> SliceEntry:
    match entry:
        case SliceEntry():
            return entry
        case FileEntry():
            return SliceEntry(entry.name, entry.path, 0, entry.path.stat().st_size)
    content = _bytes(entry)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return SliceEntry(entry.name, target, 0, len(content))


def _bytes(entry: Entry) -> bytes:
    content = entry.read()
    assert isinstance(content, bytes)
    return content


def _unreadable(name: str, error: Exception) -> DataError:
    if isinstance(error, OSError):
        return DataError(f"{printable(name)} cannot be read ({error.strerror})", "Change its permissions.")
    return DataError(f"{printable(name)} cannot be read: {error}", "Download or copy it again.")
