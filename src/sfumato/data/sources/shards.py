"""Folders of tar files (shards), as written by WebDataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sfumato.data.sources.archives import TarSource
from sfumato.data.sources.entry import Entry, Unreadable
from sfumato.data.sources.file_listing import list_images
from sfumato.data.sources.files import Files
from sfumato.data.sources.folder_labels import splits_of_files, with_folder_labels
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.source import Listing, Notice, Source, stat_signature
from sfumato.data.sources.webdataset import with_sidecar_files
from sfumato.utils.text import printable


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
        """Members of all tar files; names such as train-000.tar and val-000.tar give the splits."""
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
        shards = [shard_of[entry.name] for entry in found.entries]
        return self._arranged(replace(found, notices=[*notices, *found.notices]), shards)

    def _arranged(self, listing: Listing, shards: Sequence[str]) -> Listing:
        """Adds classes and splits from the folders in the tar files, else splits from the names of the tar files."""
        named = zip(listing.entries, shards, strict=True)
        inner = [replace(entry, name=entry.name.removeprefix(f"{shard}/")) for entry, shard in named]
        found = replace(with_folder_labels(replace(listing, entries=inner), self.options), entries=listing.entries)
        split_of = dict(zip(self.shards, splits_of_files(list(self.shards), self.options), strict=True))
        if found.splits or not any(split_of.values()):
            return found
        return replace(found, splits=[split_of[shard] for shard in shards])
