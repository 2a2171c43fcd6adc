"""Full disks and folders without permission."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from pathlib import Path

import pytest

from sfumato.data import load_images
from sfumato.data.cache import build, store
from sfumato.data.cache.build import JOURNAL
from sfumato.errors import DataError

from .cached_images import COUNT, is_whole


def test_a_lack_of_disk_space_is_found_before_decoding(
    folder: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=build.SPARE_BYTES + COUNT * 6 * 7 * 3 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"40 images of 7 x 6 pixels take 0\.0 GB.*smaller --size.*--cache"):
        load_images(folder, cache=cache)
    assert not decoded
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=usage.free + 1))
    assert is_whole(load_images(folder, cache=cache))


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


REMEDY = (
    r"could not be saved in .*: No space left on device\. Free space, or choose a folder .* --cache or SFUMATO_CACHE"
)


@pytest.mark.parametrize(
    "where", ["os.posix_fallocate", "sfumato.data.cache.store.write_index", "sfumato.data.cache.build.decode_chunk"]
)
def test_a_full_disk_is_reported_with_a_remedy(
    where: str, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        with pytest.raises(DataError, match=REMEDY):
            load_images(folder, cache=cache)
    assert is_whole(load_images(folder, cache=cache))


def test_partially_written_pixels_are_not_in_the_journal(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A raw write may be incomplete without an error."""
    monkeypatch.setattr(build, "_reserve_space", lambda path, *_: path.touch())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))  # enough for the journal, and not for the pixels
    try:
        with pytest.raises(DataError, match=r"could not be saved in .*: File too large"):
            load_images(folder, cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    noted = sorted(int(note.stem) for note in cache.rglob(f"{JOURNAL}/*"))
    assert noted == [0, 8, 16]  # eight images take 1,008 bytes
    assert is_whole(load_images(folder, cache=cache))


@pytest.mark.parametrize("cache", [Path("/proc/sfumato"), Path("/dev/null"), Path("/dev/null/below")], ids=str)
def test_an_unwritable_cache_is_reported_with_a_remedy(folder: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=r"could not be saved in /.*\. Free space, or choose a folder"):
        load_images(folder, cache=cache)


def test_a_read_only_cache_is_reported_with_a_remedy(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        DataError, match=r"could not be saved in .*: Permission denied\. Free space, or choose a folder"
    ):
        load_images(folder, cache=cache)


def test_a_complete_entry_is_read_from_a_read_only_cache(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_images(folder, cache=cache)
    for call in ("mkdir", "write_text", "write_bytes", "unlink", "replace", "rename", "touch"):
        monkeypatch.setattr(Path, call, full)
    monkeypatch.delattr(store, "FileLock")
    assert is_whole(load_images(folder, cache=cache))
