"""A folder of images, searched recursively."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from sfumato.data.sources.entry import FileEntry
from sfumato.data.sources.extensions import is_image_name, is_junk, is_junk_folder, may_matter, other_kind
from sfumato.data.sources.file_listing import known_dataset, list_images
from sfumato.data.sources.file_names import normalized
from sfumato.data.sources.file_set import Files
from sfumato.data.sources.folder_labels import with_folder_labels
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.source import Listing, Source, signature_of
from sfumato.errors import DataError
from sfumato.utils.text import printable

Found = tuple[str, str]
"""Path of a file relative to the folder, with slashes, and its size and times; "" if the file does not matter."""


class FolderSource(Source):
    """All files below a folder whose names do not show that they are not images.

    Hidden files and folders, and runs and samples of sfumato, are ignored. Symbolic links to folders are followed after
    all other folders. Each folder is read once, so that links may form loops.

    Args:
        root: Path of the folder.
        options: How the images are read.

    Raises:
        DataError: A folder cannot be listed.
    """

    def __init__(self, root: Path, options: ReadOptions = DEFAULT_OPTIONS) -> None:
        self.options = options
        self.root = root
        self.title = f"the folder {printable(str(root))}"
        self.identity = str(root.resolve())
        try:
            self.found = sorted(_walk(str(root)))
        except OSError as error:
            raise DataError(
                f"{printable(str(error.filename))} cannot be read ({error.strerror})",
                f"Change its permissions, or move it out of {printable(str(root))}.",
            ) from error

    def signature(self) -> str:
        """Hash of the name, size and times of every file that may hold or describe images."""
        text = "\0".join(f"{name}\0{facts}" for name, facts in self.found if facts)
        return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    def listing(self, scratch: Path) -> Listing:
        """The images, with columns from tables and labels from folder names."""

        def entry(name: str) -> FileEntry:
            return FileEntry(normalized(name), self.root / name)

        files = Files(self.title, [name for name, _ in self.found], entry, self.root)
        return known_dataset(files, self.options, scratch) or with_folder_labels(list_images(files), self.options)


def _walk(root: str) -> Iterator[Found]:
    visited: set[str] = set()
    pending = deque([""])
    while pending:
        folder = pending.popleft()
        real = os.path.realpath(f"{root}/{folder}")
        if real in visited:
            continue
        visited.add(real)
        with os.scandir(f"{root}/{folder}") as children:
            for child in sorted(children, key=lambda child: child.name):
                name = folder + child.name
                if _is_folder(child):
                    if not is_junk_folder(child.name) and not _is_made_by_sfumato(child.path):
                        (pending.append if child.is_symlink() else pending.appendleft)(name + "/")
                elif not is_junk(child.name) and (facts := _file_facts(child)):
                    yield name, facts if may_matter(child.name) else ""


def _is_folder(child: os.DirEntry[str]) -> bool:
    """Whether it is a folder; links that form a loop and folders without permission are not."""
    try:
        return child.is_dir()
    except OSError:
        return False


def _is_made_by_sfumato(folder: str) -> bool:
    """Whether a folder is a run or samples of sfumato; generated images are not training data."""
    path = Path(folder)
    try:
        config = (path / "config.toml").read_text(encoding="utf-8", errors="replace")
        is_run = config.startswith('format = "sfumato-run"')
    except OSError:
        is_run = False
    return is_run or ((path / "grid.png").is_file() and (path / "images" / "000000.png").is_file())


def _file_facts(child: os.DirEntry[str]) -> str:
    """Size and times of a file; "" for a pipe or device, and for a broken link whose name does not show a type."""
    try:
        facts = child.stat()
    except OSError:
        is_known = is_image_name(child.name) or other_kind(child.name) is not None
        return "broken link" if is_known else ""
    return signature_of(facts) if stat.S_ISREG(facts.st_mode) else ""
