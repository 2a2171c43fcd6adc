"""Flushing, replacing and removing files on systems that cannot open folders or replace open files."""

import errno
import os
import sys
from pathlib import Path

import pytest
from tests.windows import play_windows

from sfumato.errors import RunError
from sfumato.utils import filesystem
from sfumato.utils.files import write_whole
from sfumato.utils.filesystem import flush_folder, remove_file, replace_file

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc which files are in use")


@LINUX
def test_a_file_is_written_on_systems_that_cannot_open_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_windows(monkeypatch)
    write_whole(tmp_path / "made" / "a", b"content")
    assert (tmp_path / "made" / "a").read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["a"]


@LINUX
def test_a_file_that_remains_open_is_kept_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = play_windows(monkeypatch)
    (tmp_path / "a").write_bytes(b"former")
    with (tmp_path / "a").open("rb"), pytest.raises(RunError, match="a could not be written"):
        write_whole(tmp_path / "a", b"later")
    assert failed == [str(tmp_path / "a")] * (len(filesystem.PAUSES) + 1)
    assert (tmp_path / "a").read_bytes() == b"former"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("on_windows", "failures", "attempts", "is_replaced"),
    [(True, 0, 1, True), (True, 2, 3, True), (True, 9, 4, False), (False, 0, 1, True), (False, 1, 1, False)],
)
def test_an_open_file_is_replaced_later_on_windows_only(
    on_windows: bool,
    failures: int,
    attempts: int,
    is_replaced: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempted, replace = [], Path.replace

    def busy(source: Path, target: Path) -> Path:
        attempted.append(target)
        if len(attempted) <= failures:
            raise PermissionError(errno.EACCES, "in use")
        return replace(source, target)

    monkeypatch.setattr(filesystem, "ON_WINDOWS", on_windows)
    monkeypatch.setattr(filesystem, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(Path, "replace", busy)
    (tmp_path / "new").write_bytes(b"new")
    if is_replaced:
        replace_file(tmp_path / "new", tmp_path / "old")
    else:
        with pytest.raises(PermissionError):
            replace_file(tmp_path / "new", tmp_path / "old")
    assert (len(attempted), (tmp_path / "old").exists()) == (attempts, is_replaced)


@pytest.mark.parametrize(("on_windows", "is_silent"), [(True, True), (False, False)])
def test_an_open_file_is_not_removed_on_windows(
    on_windows: bool, is_silent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "in use")

    remove_file(tmp_path / "none")
    monkeypatch.setattr(filesystem, "ON_WINDOWS", on_windows)
    monkeypatch.setattr(Path, "unlink", busy)
    if is_silent:
        remove_file(tmp_path / "a")
    else:
        with pytest.raises(PermissionError):
            remove_file(tmp_path / "a")


def test_a_folder_is_flushed_if_it_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    flush_folder(tmp_path)
    assert len(flushed) == 1
    monkeypatch.delattr(os, "O_DIRECTORY")
    flush_folder(tmp_path)
    assert len(flushed) == 1
