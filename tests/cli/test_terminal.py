"""Control characters in names from files and folders are not printed."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import tomli_w

from .conftest import Command

HOSTILE = "\x1b[31mred\x9b2J\x07"


def is_plain(text: str) -> bool:
    """Whether a text has no control characters except newlines."""
    return all(line.isprintable() for line in text.split("\n"))


def test_names_of_images_classes_and_folders(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photos, tmp_path / HOSTILE)
    (folder / "cat").rename(folder / HOSTILE)
    (folder / HOSTILE / f"{HOSTILE}.png").write_text("no image")
    (folder / f"{HOSTILE}.csv").write_text(f"file_name,{HOSTILE}\na.png,{HOSTILE}\n")
    for verb in (["inspect", folder, "--out", tmp_path / "out"], ["explain", folder, "--out", tmp_path / "out"]):
        outcome = sfumato(*verb)
        assert outcome.code == 0, outcome.error
        assert is_plain(outcome.out + outcome.error)


def test_the_recommended_command_quotes_the_folder(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photos, tmp_path / f"it's {HOSTILE}\\n")
    lines = sfumato("inspect", folder, "--out", tmp_path / "out").out.splitlines()
    (command,) = [line.strip() for line in lines if line.startswith("  sfumato train ")]
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("the system has no bash")
    words = subprocess.run([bash, "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
    assert words.split(b"\0")[2] == str(folder).encode()


@pytest.mark.parametrize(("table", "field"), [("learned", "label_names"), ("config", "source"), ("config", "preset")])
def test_names_in_a_run(table: str, field: str, sfumato: Command, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    record = tomllib.loads((copy / "config.toml").read_text())
    record[table][field] = [HOSTILE, "dog"] if field == "label_names" else HOSTILE
    (copy / "config.toml").write_text(tomli_w.dumps(record), encoding="utf-8")
    for flags in ([], ["--json"]):
        outcome = sfumato("show", copy, *flags)
        assert outcome.code == 0, outcome.error
        assert is_plain(outcome.out + outcome.error)


def test_names_in_errors(sfumato: Command, tmp_path: Path) -> None:
    file = tmp_path / f"{HOSTILE}.zip"
    file.write_text("no zip")
    for verb in (["inspect", file], ["show", file], ["sample", tmp_path / HOSTILE], ["eval", tmp_path, HOSTILE],
                 ["eval", tmp_path, "digits", "--features", f"{HOSTILE}.onnx"]):  # fmt: skip
        outcome = sfumato(*verb)
        assert outcome.code == 2
        assert is_plain(outcome.out + outcome.error)
