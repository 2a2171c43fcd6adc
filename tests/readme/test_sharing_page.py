"""The commands and snippets of docs/sharing.md run as printed and in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "sharing.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?P<remark><!-- not run[^>]*-->\n)?```(?P<kind>python|console)\n(?P<body>.*?)```", re.DOTALL)


@pytest.mark.slow
def test_the_page_runs_as_printed(tmp_path: Path) -> None:
    environment = os.environ | {"HF_HOME": str(tmp_path / "home")}

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    run("-m", "sfumato", "train", "digits", "--images", "2000")
    for match in BLOCK.finditer(PAGE):
        if match["remark"]:
            continue
        if match["kind"] == "python":
            run("-c", match["body"])
        for line in match["body"].splitlines() if match["kind"] == "console" else ():
            program, *arguments = shlex.split(line.removeprefix("$ "))
            assert program == "sfumato"
            run("-m", "sfumato", *arguments)
    assert {"three.png", "digits.png", "digits-diffusers"} <= {path.name for path in tmp_path.iterdir()}
