"""Imports go one way: each room imports only the rooms in the table."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sfumato

SOURCE = Path(sfumato.__file__).parent

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "utils": {"errors"},
    "networks": {"errors", "utils"},
    "data": {"errors", "utils"},
    "diffusion": {"data", "errors", "utils"},
    "models": {"data", "diffusion", "errors", "networks", "utils"},
    "exchange": {"data", "diffusion", "errors", "models", "networks", "sampling", "utils"},
    "sampling": {"data", "diffusion", "errors", "models", "networks", "utils"},
    "likelihood": {"data", "diffusion", "errors", "sampling", "utils"},
    "metrics": {"data", "errors", "utils"},
    "training": {"data", "diffusion", "errors", "exchange", "metrics", "models", "networks", "sampling", "utils"},
    "evaluation": {
        *("data", "diffusion", "errors", "likelihood", "metrics", "models", "sampling", "training", "utils"),
    },
    "reports": {"data", "diffusion", "errors", "models", "networks", "sampling", "training", "utils"},
    "sharing": {
        *("diffusion", "errors", "evaluation", "exchange", "models", "networks", "sampling", "training", "utils"),
    },
    "cli": {
        *("data", "diffusion", "errors", "evaluation", "exchange", "metrics", "models", "reports", "sampling"),
        *("sharing", "training", "utils"),
    },
    "__main__": {"cli", "utils"},
}
"""What each room, a module or a package, may know of sfumato besides itself."""


def files(room: str) -> list[Path]:
    """The sources of a room."""
    module = SOURCE / f"{room}.py"
    return [module] if module.exists() else sorted((SOURCE / room).rglob("*.py"))


def imported_rooms(file: Path) -> Iterator[str]:
    """The rooms of sfumato that a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports by a relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("sfumato."))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_allowed_rooms(room: str) -> None:
    assert files(room)
    for file in files(room):
        assert set(imported_rooms(file)) <= MAY_IMPORT[room] | {room}, file


def test_every_room_is_in_the_table() -> None:
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__pycache__"} == set(MAY_IMPORT)


def test_the_table_has_no_cycles() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()  # raises CycleError


def test_every_form_of_import_is_found(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "import torch\nimport sfumato.diffusion.schedules\nfrom sfumato import models\n"
        "from sfumato.networks.layers import sinusoidal\ndef late():\n    from sfumato.sampling.sampler import sample\n"
    )
    assert set(imported_rooms(file)) == {"diffusion", "models", "networks", "sampling"}
