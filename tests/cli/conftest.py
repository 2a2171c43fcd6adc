"""Fixtures: the command line in this process, and small trained runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jaxtyping
import pytest

from sfumato.cli import main

TINY = [
    *("--preset", "tiny", "--width", "8", "--multipliers", "1", "--blocks", "1", "--schedule", "linear:timesteps=50"),
    *("--batch", "4", "--warmup", "0.1", "--device", "cpu"),
    *("--preview-count", "4", "--preview-steps", "5", "--validation-count", "10"),
]
"""Flags of a network that trains in milliseconds."""


class Outcome(NamedTuple):
    """Result of a command."""

    code: int
    out: str
    error: str


Command = Callable[..., Outcome]


def run_main(arguments: list[str]) -> int:
    """Runs `sfumato ARGUMENTS` in this process, without runtime type checks, and returns the exit code."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        return main(arguments)
    except SystemExit as left:
        return int(left.code or 0)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def sfumato(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`sfumato(...)` runs the command line in this process."""
    monkeypatch.setenv("COLUMNS", "300")

    def command(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run_main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return command


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps with class labels; read only."""
    out = tmp_path_factory.mktemp("runs") / "pets"
    assert run_main(["train", str(photos), "--out", str(out), "--images", "24", *TINY]) == 0
    return out


@pytest.fixture(scope="session")
def unlabelled(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step without class labels; read only."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    assert run_main(["train", str(photos), "--out", str(out), "--images", "4", "--no-labels", *TINY]) == 0
    return out
