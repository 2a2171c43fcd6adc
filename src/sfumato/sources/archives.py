"""Zip and tar files, read in place: a member is looked at where it lies, and nothing is unpacked by its name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from io import BufferedIOBase
from pathlib import Path

from sfumato.errors import DataError
from sfumato.sources.entry import (
    MOST_BYTES,
    BadImageError,
    Content,
    Entry,
    SliceEntry,
    Unreadable,
    printable,
    read_array,
    refuse_size,
)
from sfumato.sources.folder import is_image_name
from sfumato.sources.metadata import METADATA, described
from sfumato.sources.options import USUAL, ReadOptions
from sfumato.sources.source import Listing, Source, stat_signature
from sfumato.sources.spool import unpacked

COMPRESSED: dict[bytes, Callable[[Path], BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
"""How a compressed tar begins, and what reads it."""


@dataclass(frozen=True)
class ZipEntry(Entry):
    """A member of a zip.

    Attributes:
        archive: The zip.
        index: Of the member, since names may occur twice.
    """

    archive: Path
    index: int

    def read(self, most: int = MOST_BYTES) -> Content:
        """The content of the member, unpacked no further than an image may be large."""
        opened = _zip(self.archive, stat_signature(self.archive))
        told = opened.infolist()[self.index]
        refuse_size(told.file_size)  # more than that is never unpacked
        try:
            with opened.open(told) as member:
                if self.name.lower().endswith(".npy"):
                    return read_array(member)
                return member.read(most)
        except NotImplementedError as error:
            raise BadImageError("its compression is unknown") from error
        except RuntimeError as error:
            raise BadImageError("it is encrypted") from error
        except (zipfile.BadZipFile, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            raise BadImageError("it is damaged within the archive") from error


class ZipSource(Source):
    """The images in a zip.

    Args:
        path: The zip.
        options: How its images are read.
    """

    def __init__(self, path: Path, options: ReadOptions = USUAL) -> None:
        self.options = options
        self.title = f"the zip {printable(str(path))}"
        self.identity = str(path.resolve())
        self.path = path

    def signature(self) -> str:
        """Its size and times."""
        return stat_signature(self.path)

    def listing(self, spool: Path) -> Listing:  # noqa: ARG002 (other sources unpack there)
        """Its members, with what metadata files say of them."""
        try:
            members = zipfile.ZipFile(self.path).infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(f"{self.path} is not a zip, or only a part of one", "Copy it anew.") from error
        files = {index: member.filename for index, member in enumerate(members) if not member.is_dir()}
        return _listed([ZipEntry(name, self.path, index) for index, name in files.items()])


class TarSource(Source):
    """The images in a tar, which may be compressed with gzip, bzip2 or xz.

    Args:
        path: The tar.
        options: How its images are read.
    """

    def __init__(self, path: Path, options: ReadOptions = USUAL) -> None:
        self.options = options
        self.title = f"the tar {printable(str(path))}"
        self.identity = str(path.resolve())
        self.path = path

    def signature(self) -> str:
        """Its size and times."""
        return stat_signature(self.path)

    def listing(self, spool: Path) -> Listing:
        """Its members, with what metadata files say of them. Links and sparse files are not read."""
        plain = self._uncompressed(spool)
        try:
            with tarfile.open(plain, "r:") as opened:
                members = list(opened)
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise DataError(f"{self.path} is not a tar, or only a part of one", "Copy it anew.") from error
        plain_files = [member for member in members if member.isreg() and not member.issparse()]
        others = [member.name for member in members if member.issym() or member.islnk() or member.issparse()]
        return _listed([_tar_entry(plain, member) for member in plain_files], others)

    def _uncompressed(self, spool: Path) -> Path:
        with self.path.open("rb") as file:
            start = file.read(6)
        for magic, opener in COMPRESSED.items():
            if start.startswith(magic):
                return unpacked(self.path, partial(opener, self.path), spool / "archive.tar")
        return self.path


def _tar_entry(path: Path, member: tarfile.TarInfo) -> Entry:
    kind = ArraySlice if member.name.lower().endswith(".npy") else SliceEntry
    return kind(member.name, path, member.offset_data, member.size)


@dataclass(frozen=True)
class ArraySlice(SliceEntry):
    """A `.npy` inside a larger file."""

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """The array."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return read_array(file)


def _listed(files: Sequence[Entry], others: Sequence[str] = ()) -> Listing:
    """Those members of an archive that are images, and what its metadata files say of them.

    A folder that holds all of them is left out of their names: archives of a folder often begin with its name.
    """
    entries: dict[str, Entry] = {}
    tables: dict[str, Callable[[], bytes]] = {}
    unusable = [Unreadable(printable(name), "it is a link or a sparse file") for name in others if _is_image(name)]
    for name, file in _by_name(files).items():
        if posixpath.basename(name) in METADATA and not _is_hidden(name):
            tables[name] = partial(_whole, file)
        elif not _is_image(name):
            continue
        elif _escapes(name):
            unusable.append(Unreadable(printable(name), "its path leads out of the archive"))
        else:
            entries[name] = file
    shared = _shared_folder([*entries, *tables])
    kept = [replace(file, name=name.removeprefix(shared)) for name, file in sorted(entries.items())]
    return described(kept, {name.removeprefix(shared): read for name, read in tables.items()}, unusable)


def _by_name(files: Iterable[Entry]) -> dict[str, Entry]:
    """A name that occurs twice means what was added last, as for the tools that unpack archives."""
    return {posixpath.normpath(file.name): file for file in files}


def _is_image(name: str) -> bool:
    return is_image_name(name) and not _is_hidden(name)


def _shared_folder(names: Iterable[str]) -> str:
    """The first folder of all names, with a slash; nothing if they have none in common."""
    first = {"".join(name.partition("/")[:2]) if "/" in name else "" for name in names}
    return first.pop() if len(first) == 1 else ""


def _whole(file: Entry) -> bytes:
    try:
        content = file.read()
    except BadImageError as error:
        raise DataError(f"{printable(file.name)} cannot be read: {error}", "Pack the archive anew.") from error
    assert isinstance(content, bytes)
    return content


def _is_hidden(name: str) -> bool:
    """Hidden files, and the shadows that macOS puts into zips."""
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in _parts(name))


def _escapes(name: str) -> bool:
    parts = _parts(name)
    return ".." in parts or name.startswith(("/", "\\")) or parts[0].endswith(":")


def _parts(name: str) -> list[str]:
    return name.replace("\\", "/").split("/")


@lru_cache(maxsize=1)
def _zip(path: Path, signature: str) -> zipfile.ZipFile:  # noqa: ARG001 (another archive may lie there later)
    """The open archive, kept for the members that follow."""
    return zipfile.ZipFile(path)
