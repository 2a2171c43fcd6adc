"""`show` and `eval` of a read-only run directory."""

from __future__ import annotations

import json
from pathlib import Path

from read_only import read_only

from .conftest import Command


def test_show_prints_a_read_only_run(sfumato: Command, run: Path) -> None:
    with read_only(run):
        outcome = sfumato("show", run)
        as_json = sfumato("show", run, "--json")
    assert outcome.code == as_json.code == 0
    assert "100% of 24 images" in outcome.out
    assert json.loads(as_json.out)["images_seen"] == 24
    assert json.loads(as_json.out)["curves"] is None
    assert "curves.png could not be written: Read-only file system" in outcome.error
    assert "Traceback" not in outcome.error


def test_show_writes_the_curves_to_another_folder(sfumato: Command, run: Path, tmp_path: Path) -> None:
    with read_only(run):
        outcome = sfumato("show", run, "--out", tmp_path / "curves.png")
    assert outcome.code == 0
    assert (tmp_path / "curves.png").is_file()


def test_curves_that_cannot_be_written_to_out_are_an_error(sfumato: Command, run: Path, tmp_path: Path) -> None:
    with read_only(tmp_path):
        outcome = sfumato("show", run, "--out", tmp_path / "curves.png")
    assert outcome.code == 2
    assert "100% of 24 images" in outcome.out


def test_eval_writes_all_files_to_another_folder(sfumato: Command, run: Path, tmp_path: Path) -> None:
    with read_only(run):
        outcome = sfumato(
            "eval", run, "--count", 6, "--metrics", "drift", "--device", "cpu", "--out", tmp_path, "--steps", 5
        )
    assert outcome.code == 0, outcome.error
    assert (tmp_path / "evaluations.jsonl").is_file()
    assert len(list(tmp_path.glob("*/samples.bin"))) == 1


def test_eval_of_a_read_only_run_without_out_is_an_error(sfumato: Command, run: Path) -> None:
    with read_only(run):
        outcome = sfumato("eval", run, "--count", 6, "--metrics", "drift", "--device", "cpu", "--steps", 5)
    assert outcome.code == 2
    assert "Read-only file system" in outcome.error
    assert "Traceback" not in outcome.error
