"""Paths, quoting and closed output on Windows and macOS."""

import errno
import os
import shlex
import sys
from pathlib import Path

import pytest

from sfumato import cli
from sfumato.cli.train import run_name
from sfumato.training import recommendation
from sfumato.training.recommendation import _shell_line

WORDS = ["sfumato", "train", r"C:\my photos" + "\\", r"C:\photos", "a&b", "hf:user/set:train", "--size", "64x48"]


@pytest.mark.parametrize(
    ("on_windows", "line"),
    [
        (True, r'sfumato train "C:\my photos\\" C:\photos "a&b" hf:user/set:train --size 64x48'),
        (False, shlex.join(WORDS)),
    ],
)
def test_the_recommended_command_is_quoted_for_the_shell(
    on_windows: bool, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommendation, "ON_WINDOWS", on_windows)
    assert _shell_line(WORDS) == line


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf:user/flowers", "flowers"),
        ("hf:user/flowers:train", "train"),
        (r"hf:C:\data\flowers", "flowers"),
        ("hf:C:\\data\\flowers\\", "flowers"),
        ("hf:C:/data/flowers", "flowers"),
    ],
)
def test_the_default_run_name_is_the_last_part_of_the_source(source: str, name: str) -> None:
    assert run_name(source) == name


@pytest.mark.parametrize(
    ("error", "on_windows", "is_gone"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), False, True),
        (OSError(errno.EINVAL, "Invalid argument"), True, True),
        (OSError(errno.EINVAL, "Invalid argument"), False, False),
        (OSError(errno.EINVAL, "Invalid argument", "a:b?"), True, False),
        (OSError(errno.ENOSPC, "No space left on device"), True, False),
    ],
)
def test_a_closed_output_gives_exit_code_141(
    error: OSError, on_windows: bool, is_gone: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def closed(_: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "ON_WINDOWS", on_windows)
    monkeypatch.setattr(cli, "_run", closed)
    with (tmp_path / "out").open("w", encoding="utf-8") as out:
        monkeypatch.setattr(sys, "stdout", out)
        if is_gone:
            assert cli.main([]) == cli.BROKEN_PIPE
        else:
            with pytest.raises(OSError, match=os.strerror(error.errno)):
                cli.main([])
