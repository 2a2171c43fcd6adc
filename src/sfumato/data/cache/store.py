"""Cache entries: decoded images of a source, built once for each content and each set of options.

CACHE/stores/NAME-OPTIONS/CONTENT/   NAME of the source, hash of the options, hash of the content
    pixels.bin                       all images, (C, H, W) each
    index.json                       metadata of the images; written last
    pieces/                          journal of an unfinished build
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

from sfumato.data.cache.build import JOURNAL, PIXELS_FILE, SCRATCH, build
from sfumato.data.cache.image_arrays import MappedPixels
from sfumato.data.cache.index import Index, read_index, write_index
from sfumato.data.sources import ReadOptions, Source
from sfumato.data.sources.parallel import print_message
from sfumato.errors import DataError

FORMAT = 2
"""Version of the cache; increased when older entries cannot be read."""

VARIABLE = "SFUMATO_CACHE"


@dataclass(frozen=True)
class Store:
    """A complete cache entry.

    Attributes:
        folder: Folder of the entry.
        index: Metadata of its images.
    """

    folder: Path
    index: Index

    def pixels(self) -> MappedPixels:
        """Pixels of all rows."""
        return MappedPixels(self.folder / PIXELS_FILE, self.index.shape, self.index.dtype)


def cache_folder(cache: Path | None = None) -> Path:
    """Folder of the cache: the argument, else SFUMATO_CACHE, else the cache folder of the user."""
    from platformdirs import user_cache_path

    return cache or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else user_cache_path("sfumato"))


def open_store(source: Source, options: ReadOptions, cache: Path | None = None) -> Store:
    """Opens the cache entry of a source; builds it if it does not exist.

    If another process builds the same entry, this one waits. After a build, entries of the source's former contents are
    removed.

    Args:
        source: Source of the images.
        options: How the images are read.
        cache: Folder of the cache; None uses `cache_folder`.

    Raises:
        DataError: The images cannot be used, or the cache cannot be written.
    """
    name = re.sub(r"[^\w.-]+", "_", Path(source.identity).name)[:40] or "images"
    stored = replace(options, range=None, split="none" if options.split == "none" else "auto")
    request = _hash([FORMAT, source.identity, asdict(stored)])  # all splits are stored, with their original values
    folder = cache_folder(cache) / "stores" / f"{name}-{request}" / _hash(source.signature())
    if (store := _read_store(folder)) is not None:
        return store
    with cache_write_errors(folder, source):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, source):
            if (store := _read_store(folder)) is None:
                store = _build_store(source, options, folder)
        _remove_outdated(folder)
    return store


@contextmanager
def cache_write_errors(folder: Path, source: Source) -> Iterator[None]:
    """Context in which errors of writing to the cache are explained.

    Raises:
        DataError: The cache cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The decoded images of {source.title} could not be saved in {folder}: {error.strerror or error}",
            f"Free space, or choose a folder that you may write to with --cache or {VARIABLE}.",
        ) from error


def _hash(content: object) -> str:
    text = json.dumps(content).encode(errors="surrogateescape")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _read_store(folder: Path) -> Store | None:
    index = read_index(folder)
    if index is None:
        return None
    count, channels, height, width = index.shape
    wanted = count * channels * height * width * {"uint8": 1, "uint16": 2, "float32": 4}[index.dtype]
    try:
        return Store(folder, index) if (folder / PIXELS_FILE).stat().st_size == wanted else None
    except OSError:
        return None


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_name(folder.name + ".lock"))


def _locked(folder: Path, source: Source) -> FileLock:
    """Lock of an entry; prints a message if another process holds it."""
    lock = _lock_of(folder)
    try:
        lock.acquire(blocking=False)
        lock.release()
    except Timeout:
        print_message(f"Another process is reading {source.title}; waiting for it.")
    return lock


def _build_store(source: Source, options: ReadOptions, folder: Path) -> Store:
    try:
        index = build(source, options, folder)
    finally:
        shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    write_index(index, folder)
    shutil.rmtree(folder / JOURNAL, ignore_errors=True)
    return Store(folder, index)


def _remove_outdated(folder: Path) -> None:
    """Removes entries of the source's former contents, unless another process builds them."""
    for other in folder.parent.iterdir():
        if not other.is_dir() or other == folder:
            continue
        lock = _lock_of(other)
        with suppress(Timeout, OSError), lock.acquire(blocking=False):
            shutil.rmtree(other, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
