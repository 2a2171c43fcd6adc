"""Zip and tar archives, and folders of tar files (shards), as written by WebDataset.

Members are read in place; nothing is extracted to a path from the archive.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from io import BufferedIOBase
from pathlib import Path

from sfumato.data.sources.decompress import LARGE_MEMBER, LARGEST_RATIO, decompress
from sfumato.data.sources.entry import (
    MOST_BYTES,
    BadImageError,
    Content,
    Entry,
    SliceEntry,
    Unreadable,
    check_file_size,
    read_array,
)
from sfumato.data.sources.extensions import is_image_name, is_junk, is_junk_folder
from sfumato.data.sources.file_listing import known_dataset, list_images
from sfumato.data.sources.file_names import UTF8, normalized, tar_names, zip_names
from sfumato.data.sources.file_set import Files
from sfumato.data.sources.folder_labels import splits_of_files, with_folder_labels, without_shared_folders
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.source import FileSource, Listing, Notice, Source, stat_signature
from sfumato.data.sources.webdataset import with_sidecar_files
from sfumato.errors import DataError
from sfumato.utils.text import printable

COMPRESSED: dict[bytes, Callable[[Path], BufferedIOBase]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
"""Functions that open compressed tar files, by the first bytes of the file."""


@dataclass(frozen=True)
class ZipEntry(Entry):
    """A member of a zip file.

    Attributes:
        path: Path of the zip file.
        index: Index of the member, since names may be repeated.
    """

    path: Path
    index: int

    def read(self, most: int = MOST_BYTES) -> Content:
        """The content of the member, decompressed up to the size limit of an image."""
        opened = _zip(self.path, stat_signature(self.path))
        info = opened.infolist()[self.index]
        size, packed = info.file_size, min(info.compress_size, self.path.stat().st_size)
        check_file_size(size)  # zipfile decompresses no more than this
        if size > LARGE_MEMBER and size > LARGEST_RATIO * packed:
            raise BadImageError(f"it unpacks to more than {LARGEST_RATIO} times its size, as a decompression bomb does")
        try:
            with opened.open(info) as member:
                if self.name.lower().endswith(".npy"):
                    return read_array(member)
                return member.read(most)
        except NotImplementedError as error:
            raise BadImageError("its compression is unknown") from error
        except RuntimeError as error:
            raise BadImageError("it is encrypted") from error
        except (zipfile.BadZipFile, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            raise BadImageError("it is damaged within the archive") from error


class ZipSource(FileSource):
    """The images in a zip file."""

    kind = "zip"

    def listing(self, scratch: Path) -> Listing:
        """Members of the archive, with the columns of its metadata files."""
        try:
            members = zipfile.ZipFile(self.path).infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(f"{self.path} is not a zip, or it is truncated", "Copy it again.") from error
        names, notices = zip_names(self.title, members, self.options)
        entries = [ZipEntry(name, self.path, index) for index, name in enumerate(names) if not name.endswith("/")]
        files, unusable = _files(self.title, entries)
        found = known_dataset(files, self.options, scratch) or with_folder_labels(
            without_shared_folders(list_images(files, unusable)), self.options
        )
        return replace(found, notices=[*notices, *found.notices])


class TarSource(FileSource):
    """The images in a tar file, which may be compressed with gzip, bzip2 or xz."""

    kind = "tar"

    def listing(self, scratch: Path) -> Listing:
        """Members of the archive, with the columns of its tables and of the sidecar file of each image."""
        files, unusable, notices = self.files(scratch)
        found = known_dataset(files, self.options, scratch)
        if found is None:
            found = with_folder_labels(
                without_shared_folders(with_sidecar_files(list_images(files, unusable), files)), self.options
            )
        return replace(found, notices=[*notices, *found.notices])

    def files(self, scratch: Path) -> tuple[Files, list[Unreadable], Sequence[Notice]]:
        """Members, members that are not read (such as links and sparse files), and notices about the names."""
        plain = self._uncompressed(scratch)
        try:
            with tarfile.open(plain, "r:", encoding=UTF8, errors="surrogateescape") as opened:
                members = list(opened)
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise DataError(f"{self.path} is not a tar, or it is truncated", "Copy it again.") from error
        names, notices = tar_names(self.title, [member.name for member in members], self.options)
        named = list(zip(names, members, strict=True))
        links = [name for name, member in named if member.issym() or member.islnk() or member.issparse()]
        entries = [
            SliceEntry(name, plain, member.offset_data, member.size)
            for name, member in named
            if member.isreg() and not member.issparse()
        ]
        return *_files(self.title, entries, links), notices

    def _uncompressed(self, scratch: Path) -> Path:
        with self.path.open("rb") as file:
            start = file.read(6)
        for magic, opener in COMPRESSED.items():
            if start.startswith(magic):
                return decompress(self.path, partial(opener, self.path), scratch / "archive.tar")
        return self.path


class ShardSource(Source):
    """The images of all tar files of a folder.

    Args:
        root: Path of the folder.
        names: Sorted names of the tar files, with slashes.
        options: How the images are read.
    """

    def __init__(self, root: Path, names: Sequence[str], options: ReadOptions = DEFAULT_OPTIONS) -> None:
        self.options = options
        self.title = f"the tars in {printable(str(root))}"
        self.identity = str(root.resolve())
        self.shards = {name: TarSource(root / name, options) for name in names}

    def signature(self) -> str:
        """Names, sizes and times of the tar files."""
        return "\0".join(f"{name} {stat_signature(shard.path)}" for name, shard in self.shards.items())

    def listing(self, scratch: Path) -> Listing:
        """Members of all tar files, with splits from the folders in them, else from names such as val-000.tar."""
        members: dict[str, Entry] = {}
        shard_of: dict[str, str] = {}
        unusable: list[Unreadable] = []
        notices: list[Notice] = []
        for number, (shard, source) in enumerate(self.shards.items()):
            files, rejected, encodings = source.files(scratch / str(number))
            for name in files.names:
                entry = files.entry(name)
                members[f"{shard}/{name}"] = replace(entry, name=f"{shard}/{entry.name}")
                shard_of[f"{shard}/{entry.name}"] = shard
            unusable += [replace(one, name=f"{shard}/{one.name}") for one in rejected]
            notices += encodings
        files = Files(self.title, sorted(members), members.__getitem__)
        found = with_sidecar_files(list_images(files, unusable), files)
        found = replace(found, notices=[*notices, *found.notices])
        shards = [shard_of[entry.name] for entry in found.entries]
        named = zip(found.entries, shards, strict=True)
        inner = [replace(entry, name=entry.name.removeprefix(f"{shard}/")) for entry, shard in named]
        labelled = replace(with_folder_labels(replace(found, entries=inner), self.options), entries=found.entries)
        split_of = dict(zip(self.shards, splits_of_files(list(self.shards), self.options), strict=True))
        if labelled.splits or not any(split_of.values()):
            return labelled
        return replace(labelled, splits=[split_of[shard] for shard in shards])


def _files(title: str, entries: Sequence[Entry], links: Sequence[str] = ()) -> tuple[Files, list[Unreadable]]:
    """Readable members of an archive, and images that are not read."""
    members = {posixpath.normpath(entry.name): entry for entry in entries}  # of repeated names the last, as in tar
    rejected = dict.fromkeys(links, "it is a link or a sparse file")
    rejected |= dict.fromkeys(filter(_escapes, members), "its path is outside the archive")
    rejected = {name: reason for name, reason in rejected.items() if not _is_ignored(name)}
    kept = {
        name: replace(entry, name=normalized(name))
        for name, entry in members.items()
        if name not in rejected and not _is_ignored(name)
    }
    unusable = [Unreadable(printable(name), reason) for name, reason in rejected.items() if is_image_name(name)]
    return Files(title, sorted(kept), kept.__getitem__), unusable


def _is_ignored(name: str) -> bool:
    """Whether it is a system file, or in a folder of system files."""
    *folders, base = name.split("/")
    return is_junk(base) or any(is_junk_folder(folder) for folder in folders if folder not in (".", ".."))


def _escapes(name: str) -> bool:
    parts = name.split("/")
    return ".." in parts or parts[0] == "" or parts[0].endswith(":")


@lru_cache(maxsize=1)
def _zip(path: Path, signature: str) -> zipfile.ZipFile:  # noqa: ARG001 (another archive may lie there later)
    """The open archive, cached for the next members."""
    return zipfile.ZipFile(path)
