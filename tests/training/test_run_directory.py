"""Run directories: what prevents resuming, locking, and invalid directories and config.toml files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sfumato.data import load_images
from sfumato.errors import RunError
from sfumato.training.checkpoints import Run
from sfumato.training.run_directory import DataRecord, read_record, training_images

from .conftest import Settings, Train


def test_a_run_does_not_resume_with_other_settings(settings: Settings, go: Train, tmp_path: Path) -> None:
    run = tmp_path / "run"
    go(settings(images=8), run)
    before = (run / "config.toml").read_bytes()
    with pytest.raises(RunError, match=r"run contains a run with other settings or data \(--batch: 4 -> 8\)"):
        go(settings(images=8, batch=8), run)
    assert (run / "config.toml").read_bytes() == before
    go(settings(images=12, validate_every=4, keep=1), run)
    assert read_record(run).config == settings(images=12, validate_every=4, keep=1)


def test_a_run_does_not_resume_with_other_data(settings: Settings, go: Train, photos: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "copy", tmp_path / "run"
    data.mkdir()
    for number in range(4):
        Image.new("L", (8, 8), 10 * number).save(data / f"{number}.png")
    config = settings(source=data, images=8)
    go(config, run)
    assert training_images(run) is not None

    Image.new("L", (8, 8), 99).save(data / "3.png")
    with pytest.raises(RunError, match=r"other settings or data \(pixels of the images, their range .* differ\)"):
        go(config, run)
    assert training_images(run) is None

    Image.new("L", (8, 8), 30).save(data / "4.png")
    with pytest.raises(RunError, match="images: 4 -> 5"):
        go(config, run)
    with pytest.raises(RunError, match=r"classes: \(\) -> \('cat', 'dog'\)"):
        go(replace(config, source=str(photos)), run)


def test_a_run_resumes_with_the_same_data_at_another_path(
    settings: Settings, go: Train, photos: Path, tmp_path: Path
) -> None:
    go(settings(images=8), tmp_path / "run")
    moved = tmp_path / "moved"
    moved.symlink_to(photos)
    assert go(settings(images=12, source=moved), tmp_path / "run").counters.images_seen == 12


def test_only_one_process_trains_in_a_run(settings: Settings, go: Train, photos: Path, tmp_path: Path) -> None:
    config = settings(images=8)
    with (
        Run(tmp_path / "run", config, DataRecord.of(load_images(photos))),
        pytest.raises(RunError, match=r"another process is training in .*run"),
    ):
        go(config, tmp_path / "run")
    assert go(config, tmp_path / "run").counters.images_seen == 8


def test_a_folder_with_other_content_is_rejected_and_unchanged(settings: Settings, go: Train, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(RunError, match="letters is not empty and is not a run directory"):
        go(settings(), tmp_path / "letters")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["a.txt"]


def test_a_file_is_not_a_run_directory(settings: Settings, go: Train, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    with pytest.raises(RunError, match="file is a file, not a run directory"):
        go(settings(), tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "config: Field required"),
        ("[config", "is not valid TOML"),
        ("format = 'other'", "Field required"),
    ],
)
def test_a_broken_config_is_named_with_its_reason(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(RunError, match=rf"config.toml .*{reason}"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("batch = 4", "batch = 0", "--batch 0 is out of range"),
        ("batch = 4", 'batch = "many"', "config.optimization.batch: Input should be a valid integer"),
        ("batch = 4", "batch = 4\nbitch = 5", "config.optimization.bitch: Unexpected"),
        ("version = 2", "version = 3", "version: Input should be 2"),
        ("version = 2", "version = 1", "was written by an earlier sfumato"),
        ("sfumato-run", "another-run", "format: Input should be 'sfumato-run'"),
        ("batch = 4", "", "other settings"),
    ],
)
def test_a_modified_config_is_rejected(
    old: str, new: str, reason: str, settings: Settings, go: Train, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    go(settings(images=4), run)
    text = (run / "config.toml").read_text()
    assert old in text
    (run / "config.toml").write_text(text.replace(old, new))
    with pytest.raises(RunError, match=reason):
        go(settings(images=4), run)
