"""The snippets of docs/python.md run as printed and in order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?P<remark><!-- not run[^>]*-->\n)?```python\n(?P<body>.*?)```", re.DOTALL)


@pytest.mark.slow
def test_snippets_run_as_printed(tmp_path: Path) -> None:
    bodies = [match["body"] for match in BLOCK.finditer(PAGE) if not match["remark"]]
    assert len(bodies) == PAGE.count("```python") - 1
    script = "\n".join(bodies)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout == "1797 (1, 8, 8) ('0', '1', '2')\n", "training prints nothing without a terminal"
    assert {"grid.png", "first.png", "runs"} <= {path.name for path in tmp_path.iterdir()}
