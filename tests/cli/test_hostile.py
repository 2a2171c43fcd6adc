"""Broken and hostile inputs give an error message with reason and remedy, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostile import CASES

from .conftest import TINY, Command

SAMPLE = [
    *[name for name in CASES if "a broken image whose name has" in name],
    *list(CASES)[::9],
]


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize("name", dict.fromkeys(SAMPLE))
def test_hostile_input_gives_an_error_message(
    name: str, sfumato: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    source = case.make(tmp_path / "made")
    monkeypatch.setenv("COLUMNS", "2000")
    outcome = sfumato("train", source, "--size", 8, "--out", tmp_path / "run", "--images", 4, *TINY)
    assert "Traceback" not in outcome.out + outcome.error
    if case.loads:
        assert outcome.code == 0, outcome.error
        assert all(piece in outcome.out for piece in case.says)
    else:
        assert outcome.code == 2
        assert outcome.error.startswith("sfumato: ")
        assert all(piece in outcome.error for piece in case.says)
