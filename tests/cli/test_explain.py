"""`sfumato explain`: pictures of a run, or of what diffusion does to a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from .conftest import Command


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("run", {"forward.png", "reverse.png", "schedule.png", "loss.png"}),
        ("unlabelled", {"forward.png", "reverse.png", "schedule.png", "loss.png"}),
        ("photos", {"forward.png", "reverse.png", "schedule.png"}),
    ],
)
def test_the_pictures_are_drawn(
    source: str, names: set[str], sfumato: Command, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = tmp_path / "new" / "pictures"
    outcome = sfumato("explain", request.getfixturevalue(source), "--out", out)
    assert outcome.code == 0, outcome.error
    assert {path.name for path in out.iterdir()} == names
    for name in names:
        assert str(out / name) in outcome.out
        with Image.open(out / name) as picture:
            width, height = picture.size
            assert 400 < width < 4000
            assert 100 < height < 4000
            assert len(set(picture.convert("L").tobytes())) > 20, f"{name} is blank"


def test_a_run_whose_data_are_gone_is_explained_by_its_own_samples(
    sfumato: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    config = copy / "config.toml"
    config.write_text(config.read_text().replace(str(photos), str(tmp_path / "gone")))
    outcome = sfumato("explain", copy, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.error
    assert (tmp_path / "out" / "forward.png").is_file()


def test_the_images_are_kept_where_they_are_asked_to_be(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    assert sfumato("explain", photos, "--out", tmp_path / "out", "--cache", tmp_path / "cache").code == 0
    assert len(list((tmp_path / "cache" / "stores").iterdir())) == 1
