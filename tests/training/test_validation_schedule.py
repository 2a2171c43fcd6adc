"""The default validation schedule."""

from __future__ import annotations

from itertools import pairwise

from sfumato.training.config import (
    TrainConfig,
)
from sfumato.training.monitor import TrainingProgress, ValidationSchedule

from .conftest import Settings


def looks(config: TrainConfig, batch: int) -> list[int]:
    """The counts of images at which a look is due, over a whole run."""
    images = config.optimization.images
    assert images is not None
    moments = [TrainingProgress(count, count / images) for count in (*range(0, images, batch), images)]
    return [now.images for before, now in pairwise(moments) if ValidationSchedule(config).is_due(before, now)]


def test_a_run_of_minutes_is_validated_up_to_20_times(settings: Settings) -> None:
    for minutes, expected in ((1, 1), (3, 3), (60, 20), (0.1, 1)):
        due = ValidationSchedule(settings(images=None, minutes=minutes, validate_every=None)).is_due
        moments = [TrainingProgress(10**6 + step, step / 1000) for step in range(1001)]
        assert sum(due(before, now) for before, now in pairwise(moments)) == expected


def test_validation_intervals_double_up_to_a_twentieth_of_a_run(settings: Settings) -> None:
    config = settings(images=80_000, batch=4, validate_every=None)
    assert looks(config, 4) == [200, 400, 800, 1600, 3200, *range(4000, 80_001, 4000)]


def test_validations_are_at_multiples_of_validate_every(settings: Settings) -> None:
    config = settings(images=100, batch=8, validate_every=30)
    assert looks(config, 8) == [32, 64, 96]


def test_a_short_run_is_validated_every_50_batches_at_most(settings: Settings) -> None:
    assert looks(settings(images=1000, batch=4, validate_every=None), 4) == [200, 400, 600, 800, 1000]
