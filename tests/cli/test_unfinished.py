"""Interrupted sampling: the same command resumes, with the same result as without the interruption."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch import Tensor

from kills import killed_at
from sfumato.sampling import output
from sfumato.sampling.writers import Folder

from .conftest import TINY, Command

FLAGS = ("--count", 10, "--batch", 2, "--steps", 5, "--device", "cpu")
SEED = ("--seed", 3)


class Killed(BaseException):
    """Simulates the death of the process."""


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kill_after_six(sfumato: Command, run: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *flags: object) -> None:
    """Samples to a folder until the process dies after six images."""
    put = Folder.put

    def dies(writer: Folder, images: Tensor) -> None:
        if writer.count == 6:
            raise Killed
        put(writer, images)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "put", dies)
        with pytest.raises(Killed):
            sfumato("sample", run, "--out", out, *flags)


@pytest.fixture
def killed(sfumato: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An unfinished folder: six of ten samples."""
    kill_after_six(sfumato, run, tmp_path / "killed", monkeypatch, *FLAGS, *SEED)
    return tmp_path / "killed"


@pytest.mark.slow
def test_a_resumed_command_has_the_same_result(
    sfumato: Command, run: Path, killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(list((killed / "images").glob("*.png"))) == 6
    sfumato("sample", run, "--out", tmp_path / "whole", *FLAGS, *SEED)
    firsts: list[int] = []
    put = Folder.put

    def counted(writer: Folder, images: Tensor) -> None:
        firsts.append(writer.count)
        put(writer, images)

    monkeypatch.setattr(Folder, "put", counted)
    outcome = sfumato("sample", run, "--out", killed, *FLAGS, *SEED)
    assert outcome.code == 0, outcome.error
    assert content(killed) == content(tmp_path / "whole")
    assert firsts == [0, 6, 8]  # the existing six are read as one batch


def test_a_missing_image_is_sampled_again(sfumato: Command, run: Path, killed: Path, tmp_path: Path) -> None:
    (killed / "images" / "000003.png").unlink()
    sfumato("sample", run, "--out", tmp_path / "whole", *FLAGS, *SEED)
    assert sfumato("sample", run, "--out", killed, *FLAGS, *SEED).code == 0
    assert content(killed) == content(tmp_path / "whole")


@pytest.mark.parametrize("verb", [("sample", *FLAGS), ("interpolate", "--count", 2, "--frames", 3, *FLAGS[4:])])
@pytest.mark.slow
def test_a_kill_at_any_write_can_be_resumed(
    verb: tuple[object, ...], sfumato: Command, run: Path, tmp_path: Path
) -> None:
    command = (verb[0], run, *verb[1:], *SEED)
    with killed_at(tmp_path / "whole", 10**6) as counted:
        sfumato(*command, "--out", tmp_path / "whole")
    assert len(counted.changes) > 6
    for number, change in enumerate(counted.changes):
        out = tmp_path / str(number)
        with killed_at(out, number) as kill:
            sfumato(*command, "--out", out)
        assert kill.is_dead, change
        outcome = sfumato(*command, "--out", out)
        assert outcome.code == 0, (change, outcome.error)
        assert content(out) == content(tmp_path / "whole"), change


@pytest.mark.parametrize("size", [0, 40])
@pytest.mark.slow
def test_a_truncated_image_is_sampled_again(
    size: int, sfumato: Command, run: Path, killed: Path, tmp_path: Path
) -> None:
    truncated = killed / "images" / "000005.png"
    truncated.write_bytes(truncated.read_bytes()[:size])
    sfumato("sample", run, "--out", tmp_path / "whole", *FLAGS, *SEED)
    assert sfumato("sample", run, "--out", killed, *FLAGS, *SEED).code == 0
    assert content(killed) == content(tmp_path / "whole")


def test_a_retrained_model_cannot_resume(
    sfumato: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    copy, out = shutil.copytree(run, tmp_path / "run"), tmp_path / "killed"
    kill_after_six(sfumato, copy, out, monkeypatch, *FLAGS, *SEED)
    before = content(out)
    shutil.rmtree(copy)
    assert sfumato("train", photos, "--out", copy, "--images", 24, *TINY, "--seed", 1).code == 0
    outcome = sfumato("sample", copy, "--out", out, *FLAGS, *SEED)
    assert outcome.code == 2
    assert "weights of the model: " in outcome.error
    assert content(out) == before


@pytest.mark.slow
def test_the_same_command_resumes_after_ctrl_c(
    sfumato: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Folder.put

    def interrupted(writer: Folder, images: Tensor) -> None:
        if writer.count == 6:
            raise KeyboardInterrupt
        put(writer, images)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "put", interrupted)
        stopped = sfumato("sample", run, "--out", out, *FLAGS, *SEED)
    assert f"only the first 6 images were saved. To resume, run the same command with --out {out}" in stopped.error
    assert (out / "grid.png").is_file()
    sfumato("sample", run, "--out", tmp_path / "whole", *FLAGS, *SEED)
    assert sfumato("sample", run, "--out", out, *FLAGS, *SEED).code == 0
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.slow
def test_a_resumed_command_uses_the_seed_of_the_existing_images(
    sfumato: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after_six(sfumato, run, tmp_path / "killed", monkeypatch, *FLAGS)
    outcome = sfumato("sample", run, "--out", tmp_path / "killed", *FLAGS)
    seed = (tmp_path / "killed" / "seed.txt").read_text().strip()
    assert f"Seed: {seed}." in outcome.out
    sfumato("sample", run, "--out", tmp_path / "whole", *FLAGS, "--seed", seed)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_resuming_with_other_settings_is_rejected(sfumato: Command, run: Path, killed: Path) -> None:
    before = content(killed)
    outcome = sfumato("sample", run, "--out", killed, *FLAGS, "--seed", 7, "--guidance", 2)
    assert outcome.code == 2
    assert "has unfinished images with other settings" in outcome.error
    assert "seed: 3 -> 7" in outcome.error
    assert content(killed) == before


def test_a_finished_folder_is_rejected(sfumato: Command, run: Path, tmp_path: Path) -> None:
    assert sfumato("sample", run, "--out", tmp_path / "out", *FLAGS).code == 0
    assert not (tmp_path / "out" / output.MARK).exists()
    outcome = sfumato("sample", run, "--out", tmp_path / "out", *FLAGS)
    assert outcome.code == 2
    assert "already exists" in outcome.error


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {}, "seed": "x"}'])
def test_a_corrupted_mark_is_reported(text: str, sfumato: Command, run: Path, killed: Path) -> None:
    (killed / output.MARK).write_text(text)
    outcome = sfumato("sample", run, "--out", killed, *FLAGS, *SEED)
    assert outcome.code == 2
    assert output.MARK in outcome.error
