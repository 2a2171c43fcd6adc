"""`sfumato explain`: pictures of the diffusion process of a run or of a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.data import load_images
from sfumato.reports.explain import exact_count, explain_data

from .conftest import Command


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("run", {"forward.png", "reverse.png", "schedule.png", "loss.png"}),
        ("unlabelled", {"forward.png", "reverse.png", "schedule.png", "loss.png"}),
        ("photos", {"forward.png", "reverse.png", "schedule.png"}),
    ],
)
@pytest.mark.slow
def test_the_pictures_are_written(
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


def test_a_run_without_its_data_is_explained_with_its_samples(
    sfumato: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    config = copy / "config.toml"
    config.write_text(config.read_text().replace(str(photos), str(tmp_path / "gone")))
    outcome = sfumato("explain", copy, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.error
    assert (tmp_path / "out" / "forward.png").is_file()


def test_decoded_images_are_kept_in_the_requested_cache(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    assert sfumato("explain", photos, "--out", tmp_path / "out", "--cache", tmp_path / "cache").code == 0
    assert len(list((tmp_path / "cache" / "stores").iterdir())) == 1


@pytest.mark.parametrize(
    ("shape", "count", "held"),
    [((1, 8, 8), 1797, 1797), ((1, 28, 28), 9000, 2000), ((3, 64, 64), 9000, 170), ((3, 512, 512), 99, 16)],
)
def test_the_image_count_of_the_analytic_denoiser_is_limited(
    shape: tuple[int, int, int], count: int, held: int
) -> None:
    assert exact_count(count, shape) == held


def test_a_folder_sorted_by_class_is_explained_with_all_classes(tmp_path: Path) -> None:
    """There are more images than the analytic denoiser holds, and the first of them have one class."""
    levels = np.repeat([0, 255], 1100).astype(np.uint8)[:, None, None]
    np.savez(tmp_path / "a.npz", images=np.broadcast_to(levels, (2200, 4, 4)), labels=levels[:, 0, 0] // 255)
    steps: list[int] = []
    reverse: list[torch.Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sfumato.utils.pictures.strip", lambda rows, *_: reverse.extend(rows))
        explain_data(load_images(tmp_path / "a.npz"), tmp_path / "out", steps.append)
    assert sum(steps) == 2 * 1000
    first_estimate = reverse[3][0]
    assert first_estimate.abs().max() < 0.1, "the mean of black and white images is grey"


def test_the_help_describes_names_on_the_hub(sfumato: Command) -> None:
    assert "(hf:NAME is a data set, not a model)" in sfumato("explain", "--help").out
