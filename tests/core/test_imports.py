"""Imports run one way: each room knows the rooms below it and no others."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sfumato

SOURCE = Path(sfumato.__file__).parent

MAY_IMPORT: dict[str, set[str]] = {
    "__main__": {"cli", "interrupts"},
    "errors": set(),
    "filesystem": set(),
    "shapes": set(),
    "text": set(),
    "gaussian": set(),
    "defaults": set(),
    "natural": set(),
    "named": {"errors"},
    "conditions": {"errors", "natural", "shapes"},
    "schedule": {"errors", "gaussian", "named", "shapes"},
    "denoiser": {"conditions", "depth", "errors", "gaussian", "schedule", "shapes"},
    "conversions": {"errors", "schedule", "shapes"},
    "oracle": {"denoiser", "errors", "gaussian", "schedule", "shapes"},
    "guidance": {"denoiser", "errors", "shapes"},
    "objective": {"denoiser", "errors", "gaussian", "named", "schedule", "shapes"},
    "grids": {"errors", "named", "schedule"},
    "ode": {"errors"},
    "solvers": {"conversions", "defaults", "denoiser", "errors", "gaussian", "named", "ode", "schedule", "shapes"},
    "likelihood": {
        "conditions",
        "denoiser",
        "errors",
        "gaussian",
        "grids",
        "guidance",
        "ode",
        "sampling",
        "schedule",
        "shapes",
        "solvers",
    },
    "sampling": {"conditions", "defaults", "denoiser", "errors", "grids", "guidance", "schedule", "shapes", "solvers"},
    "acceleration": {"capture", "denoiser", "devices", "nn", "sampling", "shapes", "store"},
    "bulk": {"acceleration", "denoiser", "devices", "errors", "sampling", "shapes"},
    "sphere": {"errors", "shapes"},
    "latents": {"denoiser", "errors", "guidance", "sampling", "schedule", "shapes", "solvers", "sphere"},
    "nn": {"errors"},
    "depth": {"errors"},
    "sources": {"errors", "text"},
    "store": {"errors", "filesystem", "sources", "text"},
    "data": {"conditions", "depth", "errors", "natural", "sources", "store", "text"},
    "storage": {"errors", "filesystem"},
    "metrics": {"data", "depth", "errors", "storage", "store"},
    "captions": set(),
    "pictures": {"captions", "depth", "storage"},
    "models": {"conditions", "denoiser", "depth", "errors", "nn", "schedule", "storage"},
    "training": {
        *("capture", "data", "denoiser", "devices", "errors", "flags", "models", "named", "nn", "objective"),
        *("sampling", "schedule", "shapes", "sources", "storage", "store"),
    },
    "architecture": {"data", "errors", "models", "nn", "training"},
    "speed": {"architecture", "data", "devices", "errors", "models", "training"},
    "rules": {"architecture", "data", "models", "presets", "speed", "training"},
    "steering": {
        *("conditions", "defaults", "denoiser", "devices", "errors", "flags", "guidance", "models", "sampling", "text"),
    },
    "presets": {"errors", "training"},
    "measurements": set(),
    "runs": {"measurements", "conditions", "data", "errors", "models", "sources", "storage", "training"},
    "open_run": {"background", "errors", "filesystem", "measurements", "models", "runs", "storage", "training"},
    "curves": {"measurements", "pictures", "schedule"},
    "trainer": {
        *("architecture", "data", "denoiser", "devices", "errors", "evaluation", "models", "open_run", "pictures"),
        *("progress", "rules", "runs", "sampling", "sources", "store", "training"),
    },
    "hashes": set(),
    "thumbnails": {"data"},
    "duplicates": {"data", "hashes", "thumbnails"},
    "evaluation": {
        *("bulk", "data", "denoiser", "depth", "errors", "guidance", "likelihood", "metrics", "models", "pictures"),
        *("runs", "sampling", "schedule", "solvers", "sources", "storage", "store", "text", "training"),
    },
    "recommendation": {
        *("architecture", "data", "filesystem", "models", "presets", "rules", "sources", "store", "training"),
    },
    "inspection": {
        *("conditions", "data", "devices", "duplicates", "errors", "pictures", "recommendation", "sources", "store"),
    },
    "findings": {"text"},
    "devices": {"errors"},
    "capture": set(),
    "background": set(),
    "flags": set(),
    "interrupts": set(),
    "progress": {"text"},
    "writers": {"conditions", "depth", "pictures", "shapes", "storage"},
    "output": {"conditions", "depth", "errors", "pictures", "shapes", "storage", "text", "writers"},
    "explain": {
        *("curves", "data", "denoiser", "depth", "grids", "measurements", "oracle", "pictures", "runs", "sampling"),
        *("schedule", "shapes", "solvers"),
    },
    "summary": {
        *("conditions", "curves", "errors", "measurements", "models", "nn", "pictures", "runs", "schedule", "text"),
        "training",
    },
    "cli": {
        *(
            "data",
            "denoiser",
            "devices",
            "errors",
            "explain",
            "findings",
            "guidance",
            "inspection",
            "interrupts",
            "latents",
            "models",
            "output",
        ),
        *(
            "presets",
            "progress",
            "runs",
            "sampling",
            "shapes",
            "solvers",
            "sphere",
            "steering",
            "summary",
            "trainer",
            "training",
        ),
        *("bulk", "evaluation", "filesystem", "flags", "metrics", "storage"),
    },
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
def test_a_room_knows_only_the_rooms_below_it(room: str) -> None:
    assert files(room)
    for file in files(room):
        assert set(imported_rooms(file)) <= MAY_IMPORT[room] | {room}, file


def test_every_room_is_in_the_table() -> None:
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__pycache__"} == set(MAY_IMPORT)


def test_the_table_has_no_circles() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()  # raises CycleError


def test_every_way_to_import_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "import torch\nimport sfumato.schedule\nfrom sfumato import grids\n"
        "from sfumato.nn.layers import sinusoidal\ndef late():\n    from sfumato.oracle import images\n"
    )
    assert set(imported_rooms(file)) == {"schedule", "grids", "nn", "oracle"}
