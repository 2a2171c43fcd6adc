"""Finding images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sfumato.data.folder import find_images, printable_path

from sfumato.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path) -> list[str]:
    return [printable_path(path, root) for path in find_images(root)]


def test_images_are_found_at_every_depth_in_sorted_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z/y.png", "a.png", "a/b.png", "B.png")
    assert found(tmp_path) == ["B.png", "a.png", "a/b.png", "a/z/y.png", "b.png"]


@pytest.mark.parametrize("name", ["x.png", "x.PNG", "x.Jpeg", "x.webp", "x.tif", "x.bmp", "x.gif", "x.ppm", "x.y.jpg"])
def test_extensions_that_pillow_reads_are_found_in_any_case(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    assert found(tmp_path) == [name]


@pytest.mark.parametrize("name", ["x.txt", "x.pdf", "png", "x.png.txt", ".x.png", ".git/x.png", "a/.b/c/x.png"])
def test_other_and_hidden_files_are_ignored(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    assert found(tmp_path) == []


def test_a_folder_below_a_hidden_one_can_be_searched(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden/x.png")
    assert found(tmp_path / ".hidden") == ["x.png"]


def test_a_folder_named_like_an_image_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, "folder.png/x.png")
    assert found(tmp_path) == ["folder.png/x.png"]


def test_links_that_loop_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert found(tmp_path) == ["a/x.png"]


def test_linked_folders_outside_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/x.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cats").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "root") == ["cats/x.png"]


def test_a_folder_reached_twice_is_read_once_under_its_own_name(tmp_path: Path) -> None:
    touch(tmp_path, "a/y.png", "b/c/x.png")
    (tmp_path / "alias").symlink_to(tmp_path / "b" / "c")
    (tmp_path / "a" / "alias").symlink_to(tmp_path / "b")
    assert found(tmp_path) == ["a/y.png", "b/c/x.png"]


def test_a_broken_link_is_found_so_that_it_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to(tmp_path / "gone.png")
    assert found(tmp_path) == ["x.png"]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    assert found(tmp_path) == []


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        find_images(tmp_path)


def test_names_that_are_no_utf8_can_be_printed(tmp_path: Path) -> None:
    assert printable_path(tmp_path / os.fsdecode(b"caf\xe9.png"), tmp_path) == "caf?.png"


def test_runs_and_samples_beside_the_data_are_no_data(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "runs/a/samples/1.png", "samples/a/grid.png", "samples/a/images/000000.png")
    (tmp_path / "runs" / "a" / "config.toml").write_text('format = "sfumato-run"\nversion = 1\n')
    assert found(tmp_path) == ["a.png"]
