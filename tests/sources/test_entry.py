"""Entries that are files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from images import noise, npy, png
from sfumato.data.sources import BadImageError
from sfumato.data.sources.decode import failure_reason
from sfumato.data.sources.entry import FileEntry
from sfumato.utils.text import printable


def entry(path: Path) -> FileEntry:
    return FileEntry(path.name, path)


def reason(path: Path) -> str:
    """Reason why a file cannot be read."""
    with pytest.raises((BadImageError, OSError)) as caught:
        entry(path).read()
    return failure_reason(caught.value)


def test_a_file_is_read_as_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(noise(4, 4)))
    assert entry(tmp_path / "x.png").read() == png(noise(4, 4))
    assert entry(tmp_path / "x.png").read(most=10) == png(noise(4, 4))[:10]


@pytest.mark.parametrize("name", ["x.npy", "x.NPY"])
def test_a_npy_file_is_read_as_an_array(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(npy(noise(4, 5, 3)))
    assert np.array_equal(entry(tmp_path / name).read(), noise(4, 5, 3))


def test_a_npz_file_is_not_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", noise(4, 4))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    assert reason(tmp_path / "x.npy") == "it is not a NumPy array, or it is truncated"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    assert reason(tmp_path / "x.png") == "the file is empty"


@pytest.mark.parametrize("name", ["x.png", "x.npy"])
def test_a_file_that_is_too_large(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.write(npy(noise(4, 4)).replace(b"(4, 4), }" + b" " * 12, b"(44444, 44444), }    "))
        file.truncate(2**31)
    assert reason(tmp_path / name) == "it has more than 1024 MiB"


def test_a_missing_file_and_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    assert reason(tmp_path / "gone.png") == "no such file or directory"
    assert "symbolic links" in reason(tmp_path / "self.png")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    assert reason(tmp_path / "x.png") == "permission denied"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ünïcödé 🙂 [red]", "plain ünïcödé 🙂 [red]"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("caf\udce9", r"caf\udce9"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
    ],
)
def test_control_characters_are_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BadImageError("a reason"), "a reason"),
        (MemoryError(), "it does not fit into memory"),
        (OSError(5, "Input/output error"), "input/output error"),
        (OSError("image file is truncated"), "it is truncated"),
        (KeyError(), "it is damaged (KeyError)"),
        (ValueError("two\nlines"), "it is damaged (two lines)"),
    ],
)
def test_reasons_of_exceptions(error: Exception, expected: str) -> None:
    assert failure_reason(error) == expected
