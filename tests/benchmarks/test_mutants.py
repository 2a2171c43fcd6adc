"""The files of benchmarks/mutate.py: every mutant, source file and test file that they name exists. Runs no mutant."""

import runpy
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "sfumato"
SCRIPT = SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "mutants.py")))


def test_every_room_of_a_structural_mutant_exists() -> None:
    """A mutant of an unknown room would never run."""
    groups = tomllib.loads(SCRIPT.STRUCTURAL.read_text())["structural"]
    assert {group["room"] for group in groups} <= set(SCRIPT.ROOMS)


@pytest.mark.parametrize("name", SCRIPT.ROOMS)
def test_every_pattern_of_a_room_matches_a_file(name: str) -> None:
    """Source files and test files; `matched` raises an error for a pattern without a file."""
    room = SCRIPT.ROOMS[name]
    assert room.test_files(ROOT)
    assert len(room.source_files(SOURCES)) >= len(room.sources)


@pytest.mark.parametrize("name", SCRIPT.ROOMS)
def test_every_structural_mutant_matches_its_source_exactly_once(name: str) -> None:
    """The replaced text occurs exactly once in its file, and the mutated file is valid Python and different."""
    for mutant in SCRIPT.structural_mutants(name, SOURCES):
        assert mutant.before != mutant.after, mutant


def test_every_explained_mutant_exists() -> None:
    """Each explanation belongs to a small mutant of a room."""
    files = sorted({file for room in SCRIPT.ROOMS.values() for file in room.source_files(SOURCES)})
    sources = [SCRIPT.Source(file, (SOURCES / file).read_bytes()) for file in files]
    keys = {mutant.key for source in sources for mutant in source.mutants()}
    assert not set(SCRIPT.explanations()) - keys


def test_a_pattern_without_a_file_raises_an_error(tmp_path: Path) -> None:
    """It would otherwise be skipped silently after a file is renamed."""
    (tmp_path / "b.py").touch()
    (tmp_path / "a.py").touch()
    assert SCRIPT.matched(tmp_path, ["*.py", "a.py"]) == ["a.py", "b.py"]
    with pytest.raises(ValueError, match=r"no file matches 'c\.py'"):
        SCRIPT.matched(tmp_path, ["*.py", "c.py"])


def test_a_text_that_does_not_match_once_raises_an_error() -> None:
    """A structural mutant whose text was changed, or is not unique."""
    source = SCRIPT.Source("a.py", b"x = 1\ny = 1\n")
    assert source.structural("one", "x = 1", "x = 2").after == "x = 2"
    for text in ("z = 1", "= 1"):
        with pytest.raises(ValueError, match="exactly one"):
            source.structural("fault", text, "= 2")
