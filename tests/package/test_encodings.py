"""Text files are opened with an encoding, since the default is not UTF-8 on Windows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sfumato

SOURCE = Path(sfumato.__file__).parent

TEXT_CALLS = {"read_text": 0, "write_text": 1}
"""Calls that open text, and how many arguments stand before the encoding."""

NO_FILES = {"os", "zipfile", "tarfile", "Image", "archive", "opened", "handle", "webbrowser"}
"""What has an `open` that takes no encoding, by the names it has in the sources."""


def without_encoding(tree: ast.AST) -> Iterator[int]:
    """The lines of calls that open a text file in the encoding of the system."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(keyword.arg in ("encoding", None) for keyword in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if name == "open" and not (isinstance(owner, ast.Name) and owner.id in NO_FILES):
            modes = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
            if not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes):
                yield node.lineno
        elif name in TEXT_CALLS and len(node.args) <= TEXT_CALLS[name]:
            yield node.lineno


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("path.read_text()", [1]),
        ("path.read_text(errors='replace')", [1]),
        ("path.read_text(encoding='utf-8')\npath.read_text('utf-8')", []),
        ("path.write_text(text)", [1]),
        ("open(name)\nopen(name, 'rb')\npath.open('a')\npath.open('ab')", [1, 3]),
        ("os.open(name, flags)\nImage.open(file)", []),
    ],
)
def test_calls_without_an_encoding_are_found(code: str, lines: list[int]) -> None:
    assert list(without_encoding(ast.parse(code))) == lines


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCE)))
def test_every_text_file_has_its_encoding(file: Path) -> None:
    assert list(without_encoding(ast.parse(file.read_text(encoding="utf-8")))) == []
