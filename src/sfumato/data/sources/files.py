"""All files of a folder or an archive, before it is known which ones are images."""

from __future__ import annotations

import gzip
import io
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sfumato.data.sources.decompress import decompress
from sfumato.data.sources.entry import BadImageError, Entry, FileEntry, SliceEntry
from sfumato.errors import DataError
from sfumato.utils.text import printable

GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Files:
    """The files of a source.

    Attributes:
        title: Of the source, for messages.
        names: Of all files but junk, with slashes, sorted.
        entry: Makes the entry of a name.
        root: The folder, where they are files of their own.
    """

    title: str
    names: Sequence[str]
    entry: Callable[[str], Entry]
    root: Path | None = None

    def by_base(self) -> dict[str, str]:
        """The names by their last parts, in lower case; of several the first."""
        return {posixpath.basename(name).lower(): name for name in reversed(self.names)}

    def content(self, name: str) -> bytes:
        """The whole content of a file.

        Raises:
            DataError: It cannot be read.
        """
        entry = self.entry(name)
        try:
            content = entry.path.read_bytes() if isinstance(entry, FileEntry) else entry.read()
        except (BadImageError, OSError) as error:
            raise _unreadable(name, error) from error
        assert isinstance(content, bytes)
        return content

    def records(self, name: str, spool: Path) -> SliceEntry:
        """The content of a file as a stretch of a plain one, from which records can be read; gzip is unpacked.

        Args:
            name: Of the file.
            spool: A folder for what has to be unpacked.

        Raises:
            DataError: It cannot be read.
        """
        entry = self.entry(name)
        try:
            stretch = _stretch(entry, spool / f"{self.names.index(name)}.bin")
            with stretch.path.open("rb") as file:
                file.seek(stretch.offset)
                is_compressed = file.read(len(GZIP)) == GZIP
        except (BadImageError, OSError) as error:
            raise _unreadable(name, error) from error
        if not is_compressed:
            return stretch
        plain = decompress(stretch.path, partial(_opened_gzip, stretch), spool / f"{self.names.index(name)}.plain")
        return SliceEntry(name, plain, 0, plain.stat().st_size)


def _stretch(entry: Entry, target: Path) -> SliceEntry:
    match entry:
        case SliceEntry():
            return entry
        case FileEntry():
            return SliceEntry(entry.name, entry.path, 0, entry.path.stat().st_size)
    content = entry.read()
    assert isinstance(content, bytes)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return SliceEntry(entry.name, target, 0, len(content))


def _opened_gzip(stretch: SliceEntry) -> gzip.GzipFile:
    """The unpacked content; what follows the stretch in its file is not read."""
    return gzip.GzipFile(fileobj=io.BytesIO(stretch.read()))  # type: ignore[arg-type]


def _unreadable(name: str, error: Exception) -> DataError:
    if isinstance(error, OSError):
        return DataError(f"{printable(name)} cannot be read ({error.strerror})", "Change its permissions.")
    return DataError(f"{printable(name)} cannot be read: {error}", "Restore it from its origin.")
