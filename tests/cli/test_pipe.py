"""A closed pipe, as in `sfumato show RUN | head`, ends the command without an error message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ENDED = {1: "as rich ends a program", 141: "as a shell tells of SIGPIPE"}


def unread(*arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command whose stdout is closed from the start."""
    command = subprocess.Popen(
        [sys.executable, "-m", "sfumato", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout
    assert command.stderr
    command.stdout.close()
    said = command.stderr.read()
    command.stderr.close()
    return command.wait(), said


@pytest.mark.parametrize("arguments", [["--help"], ["sample", "--help"]])
def test_help_to_a_closed_pipe_is_not_an_error(arguments: list[str]) -> None:
    assert unread(*arguments) == (141, "")


@pytest.mark.slow
def test_errors_are_printed_although_stdout_is_closed(tmp_path: Path) -> None:
    command = f'exec "{sys.executable}" -m sfumato show "{tmp_path / "none"}" >&-'
    ended = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.slow
def test_output_to_a_closed_pipe_is_not_an_error(run: Path, tmp_path: Path, flags: list[str]) -> None:
    code, said = unread("show", str(run), "--out", str(tmp_path / "curves.png"), *flags)
    assert code in ENDED
    assert said == ""
