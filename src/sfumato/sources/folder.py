"""A folder of images, at any depth."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from sfumato.errors import DataError
from sfumato.sources.decode import SAFE_FORMATS
from sfumato.sources.entry import FileEntry, printable
from sfumato.sources.metadata import METADATA, described
from sfumato.sources.options import USUAL, ReadOptions
from sfumato.sources.source import Listing, Source

Found = tuple[str, str]
"""The path of a file relative to the folder, with slashes, and a text of its size and times."""


class FolderSource(Source):
    """Every file below a folder that carries an extension Pillow can read or `.npy`, in whatever case.

    Hidden files and folders, whose names begin with a dot, are ignored, and so are runs and samples that sfumato made.
    Linked folders are followed, after all others; a folder reached twice is read once, so links may form loops.

    Args:
        root: The folder.
        options: How its images are read.

    Raises:
        DataError: A folder cannot be listed.
    """

    def __init__(self, root: Path, options: ReadOptions = USUAL) -> None:
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
        """A hash of every file's name, size and times."""
        text = "\0".join(f"{name}\0{facts}" for name, facts in self.found)
        return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    def listing(self, spool: Path) -> Listing:  # noqa: ARG002 (other sources unpack there)
        """The images, with what metadata files say of them."""
        entries = [FileEntry(name, self.root / name) for name, _ in self.found if not _is_metadata(name)]
        tables = {name: self.root / name for name, _ in self.found if _is_metadata(name)}
        return described(entries, {name: path.read_bytes for name, path in tables.items()})


def is_image_name(name: str) -> bool:
    """Whether a file of this name is to be read as an image."""
    return name[name.rfind(".") :].lower() in _readable_extensions()


def _readable_extensions() -> set[str]:
    if not _EXTENSIONS:
        known = Image.registered_extensions()
        _EXTENSIONS.update({extension for extension, kind in known.items() if kind in SAFE_FORMATS} | {".npy"})
    return _EXTENSIONS


_EXTENSIONS: set[str] = set()


def _is_metadata(name: str) -> bool:
    return name.rpartition("/")[2] in METADATA


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
                if child.name.startswith("."):
                    continue
                name = folder + child.name
                if _is_folder(child):
                    if not _is_made_by_sfumato(child.path):
                        (pending.append if child.is_symlink() else pending.appendleft)(name + "/")
                elif (is_image_name(name) or _is_metadata(name)) and _is_file(child):
                    yield name, _facts(child)


def _is_folder(child: os.DirEntry[str]) -> bool:
    """Whether to look into it; a link that leads to itself, or to where nobody may look, is no folder."""
    try:
        return child.is_dir()
    except OSError:
        return False


def _is_made_by_sfumato(folder: str) -> bool:
    """Whether a folder is a run, or samples: pictures that a model drew are not data because they lie beside data."""
    path = Path(folder)
    try:
        is_run = (path / "config.toml").read_text(errors="replace").startswith('format = "sfumato-run"')
    except OSError:
        is_run = False
    return is_run or ((path / "grid.png").is_file() and (path / "images" / "000000.png").is_file())


def _is_file(child: os.DirEntry[str]) -> bool:
    """Whether to open it: a broken link counts, and is reported as unreadable; a pipe or a device does not."""
    try:
        return stat.S_ISREG(child.stat().st_mode)
    except OSError:
        return True


def _facts(child: os.DirEntry[str]) -> str:
    try:
        facts = child.stat()
    except OSError:
        return "broken link"
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"
