"""The files, snippets and commands of docs/extending.md run as printed, in this order."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?P<fails><!-- exits with 2 -->\n)?"
    r"(?:<!-- needs (?P<needs>\w+) -->\n)?"
    r"(?:Save this as `(?P<file>\w+\.py)`:\n\n)?"
    r"```(?P<language>\w+)\n(?P<body>.*?)```",
    re.DOTALL,
)


def script() -> str:
    """The page as one program: files are written, commands are run, and snippets share their names."""
    parts = ["import subprocess, sys", "from pathlib import Path", "sys.path.insert(0, '.')"]
    for block in BLOCK.finditer(PAGE):
        if block["needs"] and find_spec(block["needs"]) is None:
            continue
        if block["file"]:
            parts.append(f"Path({block['file']!r}).write_text({block['body']!r})")
        elif block["language"] == "console":
            lines = [line.removeprefix("$ ") for line in block["body"].splitlines() if line.startswith("$ ")]
            for line in lines:
                called = f"subprocess.run([sys.executable, '-m', 'sfumato', *{line.split()[1:]!r}])"
                parts.append(f"assert {called}.returncode == {2 if block['fails'] else 0}")
        else:
            parts.append(block["body"])
    return "\n".join(parts)


@pytest.mark.slow
def test_everything_on_the_page_runs_as_printed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", script()], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (refusal,) = re.findall(r"^sfumato: the network is .*$", PAGE, re.MULTILINE)
    assert refusal in done.stderr.replace("\n", " ")
    assert (tmp_path / "models/mine/model.safetensors").is_file()
    assert len(list((tmp_path / "samples/typed/images").glob("*.png"))) == 4
