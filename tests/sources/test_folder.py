"""Search for images in folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sfumato.data.sources import open_source
from sfumato.data.sources.folder import FolderSource
from sfumato.errors import DataError
from sfumato.utils.text import printable


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path) -> list[str]:
    return [printable(entry.name) for entry in FolderSource(root).listing(root).entries]


def test_images_are_found_at_every_depth_in_sorted_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z/y.png", "a.png", "a/b.png", "B.png")
    assert found(tmp_path) == ["B.png", "a.png", "a/b.png", "a/z/y.png", "b.png"]


@pytest.mark.parametrize(
    "name", ["x.png", "x.PNG", "x.Jpeg", "x.webp", "x.tif", "x.bmp", "x.gif", "x.ppm", "x.y.jpg", "x.npy", "x.NPY"]
)
def test_image_extensions_are_found_in_any_case(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    assert found(tmp_path) == [name]


@pytest.mark.parametrize("name", ["x.txt", "x.pdf", "x.png.txt", ".x.png", ".git/x.png", "a/.b/c/x.png"])
def test_other_and_hidden_files_are_ignored(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    assert found(tmp_path) == []


def test_a_folder_within_a_hidden_one_can_be_the_source(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden/x.png")
    assert found(tmp_path / ".hidden") == ["x.png"]


@pytest.mark.parametrize("folder", ["folder.png", "metadata.csv", "folder.npy"])
def test_a_folder_with_an_image_extension_is_searched(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, f"{folder}/x.png")
    assert found(tmp_path) == [f"{folder}/x.png"]


def test_loops_of_links_are_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert found(tmp_path) == ["a/x.png"]


@pytest.mark.parametrize("name", ["x.png", "metadata.png"])
def test_a_link_to_itself_is_listed(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / name).symlink_to(tmp_path / name)
    assert found(tmp_path) == ["a.png", name]


def test_linked_folders_outside_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/x.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cats").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "root") == ["cats/x.png"]


def test_a_folder_with_two_paths_is_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/y.png", "b/c/x.png")
    (tmp_path / "alias").symlink_to(tmp_path / "b" / "c")
    (tmp_path / "a" / "alias").symlink_to(tmp_path / "b")
    assert found(tmp_path) == ["a/y.png", "b/c/x.png"]


def test_a_broken_link_is_listed(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to(tmp_path / "gone.png")
    assert found(tmp_path) == ["x.png"]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    assert found(tmp_path) == []


def test_a_folder_without_permission_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        FolderSource(tmp_path)


def test_names_that_are_not_utf8_are_escaped(tmp_path: Path) -> None:
    touch(tmp_path, os.fsdecode(b"caf\xe9.png"), "a\nb.png")
    assert found(tmp_path) == [r"a\nb.png", r"caf\udce9.png"]


def test_runs_and_samples_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "runs/a/samples/1.png", "samples/a/grid.png", "samples/a/images/000000.png")
    (tmp_path / "runs" / "a" / "config.toml").write_text('format = "sfumato-run"\nversion = 1\n')
    assert found(tmp_path) == ["a.png"]


def test_the_title_has_the_path_of_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b/c/d.png")
    assert list(FolderSource(tmp_path).listing(tmp_path).classes) == [None, "b"]


def test_the_signature_does_not_depend_on_the_order(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}.png" for name in "hgfedcba"))
    assert FolderSource(tmp_path).signature() == FolderSource(tmp_path).signature()


@pytest.mark.parametrize(
    "change", ["write", "add", "remove", "rename", "rename the folder", "touch", "replace", "metadata"]
)
def test_the_signature_detects_every_change(tmp_path: Path, change: str) -> None:
    touch(tmp_path, "a.png", "b/c.png")
    (tmp_path / "a.png").write_bytes(b"before")
    before, facts = FolderSource(tmp_path).signature(), (tmp_path / "a.png").stat()
    match change:
        case "write":
            (tmp_path / "a.png").write_bytes(b"longer than before")
        case "add":
            touch(tmp_path, "b/d.png")
        case "remove":
            (tmp_path / "b" / "c.png").unlink()
        case "rename":
            (tmp_path / "b" / "c.png").rename(tmp_path / "b" / "d.png")
        case "rename the folder":  # keeps the times of its files
            (tmp_path / "b").rename(tmp_path / "d")
        case "touch":
            os.utime(tmp_path / "a.png", (1, 1))
        case "replace":  # by a file of the same size and time
            (tmp_path / "a.png").write_bytes(b"after!")
            os.utime(tmp_path / "a.png", ns=(facts.st_atime_ns, facts.st_mtime_ns))
            assert (tmp_path / "a.png").stat().st_mtime_ns == facts.st_mtime_ns
        case "metadata":
            touch(tmp_path, "metadata.csv")
    assert FolderSource(tmp_path).signature() != before


def test_other_files_do_not_change_the_signature(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    before = FolderSource(tmp_path).signature()
    touch(tmp_path, "notes.txt", ".DS_Store")
    assert FolderSource(tmp_path).signature() == before


@pytest.mark.parametrize("name", ["x" * 5000, "x\0y", "gone"])
def test_a_missing_source(name: str) -> None:
    with pytest.raises(DataError, match=r"no file or folder .* Give a folder of images, a zip or tar of one"):
        open_source(name)


@pytest.mark.parametrize(
    ("name", "message"), [("a.png", "is a single image"), ("a.txt", "is a file that holds no images")]
)
def test_a_file_that_is_not_a_source(tmp_path: Path, name: str, message: str) -> None:
    touch(tmp_path, name)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path / name)


def test_a_pipe_that_is_not_a_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        open_source(tmp_path / "pipe")
