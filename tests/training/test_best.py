"""The best model of a run: chosen by its measurements, saved, and the same after a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sfumato.data import load_images
from sfumato.models import BEST, images_seen, load
from sfumato.training.architecture import model_for
from sfumato.training.checkpoints import BestModel
from sfumato.training.config import TrainConfig
from sfumato.training.measurements import Best, best_of, read_metrics
from sfumato.training.run_directory import kept_best, run_containing
from sfumato.training.state import copied

from .conftest import NewState, Settings, opened


def validation(images: int, loss: float | None) -> dict[str, Any]:
    return {"kind": "validation", "images": images, "loss": loss, "by_time": {}}


def evaluated(images: int, distance: float | None, count: int = 100) -> dict[str, Any]:
    return {"kind": "evaluation", "images": images, "distance": distance, "features": "pixels", "count": count}


@pytest.mark.parametrize(
    ("measurements", "best"),
    [
        ([], None),
        ([{"kind": "train", "images": 4, "loss": 0.1}], None),
        ([validation(10, 0.5), validation(20, 0.3), validation(30, 0.4)], Best(20, "loss", 0.3)),
        ([validation(10, None), validation(20, 0.3), validation(30, 0.3)], Best(20, "loss", 0.3)),
        ([evaluated(10, 2.0), validation(20, 0.1), evaluated(30, 3.0)], Best(10, "distance", 2.0)),
        ([validation(10, 0.1), evaluated(20, None)], Best(10, "loss", 0.1)),
        ([evaluated(10, 1.0, 50), evaluated(20, 2.0), evaluated(30, 3.0)], Best(20, "distance", 2.0)),
    ],
    ids=["nothing", "no look", "least loss", "the first of equals", "a distance", "no distance", "of the last kind"],
)
def test_the_best_has_the_lowest_distance_or_validation_loss(
    measurements: list[dict[str, Any]], best: Best | None
) -> None:
    assert best_of(measurements) == best


def test_the_best_measurement_is_the_first_of_the_smallest(config: TrainConfig, tmp_path: Path) -> None:
    with opened(config, tmp_path / "run") as run:
        for images, distance, best in ((100, 3.0, True), (200, 4.0, False), (300, 2.0, True), (400, 2.5, False)):
            run.add_measurement(evaluated(images, distance))
            assert run.is_best(images) == best


def test_the_best_model_is_kept_with_the_last_one(config: TrainConfig, new_state: NewState, tmp_path: Path) -> None:
    run_at, average = tmp_path / "run", new_state(config).average
    with opened(config, run_at) as run:
        run.add_measurement(evaluated(300, 2.0))
        for images in (100, 300):
            torch.nn.init.constant_(next(average.network.parameters()), images)
            run.save_best(BestModel(copied(average.network.state_dict()), images))
    best = load(run_at / BEST)
    assert next(best.network.parameters()).unique().tolist() == [300]
    assert images_seen(run_at / BEST) == 300
    assert images_seen(run_at) == 8
    assert kept_best(run_at, best_of(read_metrics(run_at))) == run_at / BEST


def test_the_best_measurement_is_kept_after_a_resume(config: TrainConfig, new_state: NewState, tmp_path: Path) -> None:
    with opened(config, tmp_path / "run") as run:
        run.add_measurement(evaluated(4, 1.0))
    with opened(config, tmp_path / "run") as run:
        run.resume(new_state(config))
        run.add_measurement(evaluated(12, 2.0))
        assert run.is_best(4)
        assert not run.is_best(12)


def test_a_best_model_without_its_measurement_is_not_used(
    config: TrainConfig, new_state: NewState, tmp_path: Path
) -> None:
    run_at, state = tmp_path / "run", new_state(config)
    with opened(config, run_at) as run:
        run.add_measurement(evaluated(4, 2.0))
        run.add_measurement(evaluated(100, 1.0))
        run.save_best(BestModel(copied(state.average.network.state_dict()), 100))
    with opened(config, run_at) as run:
        run.resume(state)  # at 8 images
        best = best_of(read_metrics(run_at))
        assert best == Best(4, "distance", 2.0)
        assert kept_best(run_at, best) is None
        run.add_measurement(evaluated(100, 1.5))
        assert run.is_best(100)


def test_a_restart_with_other_settings_removes_the_best_model(
    settings: Settings, new_state: NewState, tmp_path: Path
) -> None:
    config = settings()
    with opened(config, tmp_path / "run") as run:
        run.describe(model_for(config, load_images(config.source)))
        run.save_best(BestModel(copied(new_state(config).average.network.state_dict()), 4))
    with opened(settings(width=16), tmp_path / "run"):
        assert not any((tmp_path / "run" / BEST).iterdir())


def test_a_run_contains_its_models_and_nothing_else(config: TrainConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert config
    assert run_containing(run) == run
    assert run_containing(run / "model") == run
    assert run_containing(run / "checkpoints") is None
    assert run_containing(tmp_path) is None


def test_a_line_without_distance_or_features_is_no_evaluation(tmp_path: Path) -> None:
    whole = '{"kind": "evaluation", "images": 4, "distance": null, "features": "pixels", "count": 9}'
    cut = whole.replace('"distance": null, ', "")
    (tmp_path / "metrics.jsonl").write_text(f"{cut}\n{whole.replace('null', '[1]')}\n{whole}\n")
    assert [m["distance"] for m in read_metrics(tmp_path)] == [None]
