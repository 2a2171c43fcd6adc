"""Many files at once."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest
from sfumato.data.parallel import map_files

from sfumato.data import parallel

PATHS = [Path(str(number)) for number in range(20)]


def late(path: Path) -> str:
    """The name of a path, the earlier ones later."""
    time.sleep(0.001 * (20 - int(path.name)))
    return path.name


def test_results_come_in_the_order_of_the_paths() -> None:
    assert map_files(late, PATHS, "Testing") == [path.name for path in PATHS]


def test_warnings_of_decoders_are_silenced_and_only_theirs() -> None:
    map_files(lambda path: warnings.warn(path.name, stacklevel=1), PATHS, "Testing")
    with pytest.raises(UserWarning):
        warnings.warn("still an error", stacklevel=1)


@pytest.mark.parametrize(("patience", "terminal", "shown"), [(0.0, "1", True), (0.0, "", False), (60.0, "1", False)])
def test_a_bar_appears_on_a_terminal_when_it_takes_long(
    patience: float, terminal: str, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parallel, "PATIENCE", patience)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    monkeypatch.setenv("FORCE_COLOR", terminal)
    monkeypatch.setenv("TERM", "xterm")
    map_files(late, PATHS, "Testing")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("Testing" in printed.err) == shown == (printed.err != "")
