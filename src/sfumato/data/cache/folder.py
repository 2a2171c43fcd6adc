"""The decoded images of a source on disk: made once for each content and each set of choices, then opened at once.

CACHE/stores/NAME-CHOICES/CONTENT/   NAME is the source's, the other two are hashes
    pixels.bin                       one image after the other, (C, H, W) each
    index.json                       what is known of them; written last
    pieces/                          while it is built: which parts are done
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from sfumato.data.cache.build import JOURNAL, PIXELS, SPOOL, build
from sfumato.data.cache.index import Index, read_index, write_index
from sfumato.data.cache.pixels import MappedPixels
from sfumato.data.sources import ReadOptions, Source
from sfumato.data.sources.progress import tell
from sfumato.errors import DataError

FORMAT = 2
"""Raised when stores of older versions cannot be read."""

VARIABLE = "SFUMATO_CACHE"


@dataclass(frozen=True)
class Store:
    """A complete store.

    Attributes:
        folder: Where it is.
        index: What it says of its images.
    """

    folder: Path
    index: Index

    def pixels(self) -> MappedPixels:
        """The pixels of all rows."""
        return MappedPixels(self.folder / PIXELS, self.index.shape, self.index.dtype)


def cache_folder(cache: Path | None = None) -> Path:
    """Where stores are kept: what is given, else what SFUMATO_CACHE says, else the user's cache."""
    from platformdirs import user_cache_path

    return cache or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else user_cache_path("sfumato"))


def open_store(source: Source, options: ReadOptions, cache: Path | None = None) -> Store:
    """The store of a source, built if it is not there.

    Two processes never build the same one: the second waits for the first. Once it is built, stores of former contents
    of the same source are removed.

    Args:
        source: Where the images are.
        options: What is asked of them.
        cache: The folder of all stores; None: see `cache_folder`.

    Raises:
        DataError: The images cannot be used, or the store cannot be written.
    """
    folder = _place(source, options, cache_folder(cache))
    if (store := _complete(folder)) is not None:
        return store
    with kept_in(folder, source):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, source):
            if (store := _complete(folder)) is None:
                store = _built(source, options, folder)
        _remove_former(folder)
    return store


@contextmanager
def kept_in(folder: Path, source: Source) -> Iterator[None]:
    """For what is written to a folder of the cache.

    Raises:
        DataError: It could not be written.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The decoded images of {source.title} could not be kept in {folder}: {error.strerror or error}",
            f"Free space, or name a folder that you may write to with --cache or {VARIABLE}.",
        ) from error


def _place(source: Source, options: ReadOptions, cache: Path) -> Path:
    name = re.sub(r"[^\w.-]+", "_", Path(source.identity).name)[:40] or "images"
    request = _hash([FORMAT, source.identity, asdict(stored(options))])
    return cache / "stores" / f"{name}-{request}" / _hash(source.signature())


def stored(options: ReadOptions) -> ReadOptions:
    """The options that change what a store holds: it has the images of all splits, and their values as in the files."""
    return replace(options, range=None, split="none" if options.split == "none" else "auto")


def _hash(content: object) -> str:
    text = json.dumps(content).encode(errors="surrogateescape")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _complete(folder: Path) -> Store | None:
    index = read_index(folder)
    if index is None:
        return None
    count, channels, height, width = index.shape
    wanted = count * channels * height * width * {"uint8": 1, "uint16": 2, "float32": 4}[index.dtype]
    try:
        return Store(folder, index) if (folder / PIXELS).stat().st_size == wanted else None
    except OSError:
        return None


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_name(folder.name + ".lock"))


def _locked(folder: Path, source: Source) -> FileLock:
    """The lock on a store in the making, waited for if another process builds it."""
    lock = _lock_of(folder)
    try:
        lock.acquire(blocking=False)
        lock.release()
    except Timeout:
        tell(f"Another process is reading {source.title}; waiting for it.")
    return lock


def _built(source: Source, options: ReadOptions, folder: Path) -> Store:
    try:
        index = build(source, options, folder)
    finally:
        shutil.rmtree(folder / SPOOL, ignore_errors=True)
    write_index(index, folder)
    shutil.rmtree(folder / JOURNAL, ignore_errors=True)
    return Store(folder, index)


def _remove_former(folder: Path) -> None:
    """Removes the stores of what the source held before, unless somebody is building them."""
    for other in folder.parent.iterdir():
        if not other.is_dir() or other == folder:
            continue
        lock = _lock_of(other)
        with suppress(Timeout, OSError), lock.acquire(blocking=False):
            shutil.rmtree(other, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
