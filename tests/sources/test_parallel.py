"""Parallel work and progress bars."""

from __future__ import annotations

import os
import time
import warnings

import pytest

from sfumato.data.sources import parallel
from sfumato.data.sources.parallel import in_parallel
from sfumato.errors import DataError

PIECES = list(range(20))


def late(piece: int) -> int:
    """Returns the piece after a delay."""
    time.sleep(0.002)
    return piece


def process_of(piece: int) -> int:
    """Process that works on the piece."""
    return os.getpid() + 0 * piece


def warn(piece: int) -> None:
    """Emits a warning."""
    warnings.warn(str(piece), stacklevel=1)


def test_results_are_in_order_in_a_single_process() -> None:
    assert list(in_parallel(late, PIECES, PIECES, "Testing")) == PIECES


def test_long_work_uses_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PATIENCE", -1.0)
    assert sorted(in_parallel(abs, PIECES, PIECES, "Testing")) == PIECES
    who = "__import__('time').sleep(0.05) or __import__('os').getpid()"
    processes = set(in_parallel(eval, [who] * 80, [1] * 80, "Testing"))
    assert os.getpid() in processes, "it goes on while others begin"
    assert len(processes) > 1


def test_a_killed_process_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PATIENCE", -1.0)
    other = f"__import__('os').getpid() != {os.getpid()} and __import__('os').kill(__import__('os').getpid(), 9)"
    with pytest.raises(DataError, match=r"was killed.*Run the same command again"):
        list(in_parallel(eval, [f"__import__('time').sleep(0.05) or {other}"] * 80, [1] * 80, "Testing"))
    assert sorted(in_parallel(abs, PIECES, PIECES, "Testing")) == PIECES


def test_a_single_piece_stays_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "PATIENCE", -1.0)
    assert list(in_parallel(process_of, [1], [1], "Testing")) == [os.getpid()]


def test_no_work_finishes_immediately() -> None:
    assert list(in_parallel(late, [], [], "Testing")) == []


def test_only_warnings_of_decoders_are_suppressed() -> None:
    list(in_parallel(warn, PIECES, PIECES, "Testing"))
    with pytest.raises(UserWarning):
        warnings.warn("still an error", stacklevel=1)


@pytest.mark.parametrize(("patience", "terminal", "shown"), [(0.0, "1", True), (0.0, "", False), (60.0, "1", False)])
def test_a_bar_appears_on_a_terminal_after_a_delay(
    patience: float, terminal: str, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parallel, "BAR_DELAY", patience)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    monkeypatch.setenv("FORCE_COLOR", terminal)
    monkeypatch.setenv("TERM", "xterm")
    list(in_parallel(late, PIECES, [1] * len(PIECES), "Testing"))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("Testing" in printed.err) == shown == (printed.err != "")


def test_the_title_of_a_bar_is_not_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(parallel, "BAR_DELAY", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with parallel.progress_bar("Unpacking [/red].tar.gz") as advance:
        advance(1)
    assert "Unpacking [/red].tar.gz" in capsys.readouterr().err


def test_a_message_is_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    parallel.print_message("[red]a[/red] :smile: b.png")
    assert capsys.readouterr().err == "[red]a[/red] :smile: b.png\n"
