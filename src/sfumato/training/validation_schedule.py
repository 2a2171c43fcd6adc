"""When a run is looked at: the held-out loss and a preview grid, more often at the beginning."""

import math
from typing import NamedTuple

from sfumato.training.config import TrainConfig

LOOKS = 20
"""Looks of a long run, the early ones not counted."""

LOOKS_A_MINUTE = 1
"""Of a run whose budget is in minutes, at most."""

FIRST_BATCHES = 50
"""Batches before the first look, and at least between two."""


class TrainingProgress(NamedTuple):
    """How far a run has come: images seen, and the share of the budget that is spent."""

    images: int
    share: float


class ValidationSchedule:
    """A look is due at every multiple of `monitoring.validate_every`; by default at every twentieth of the run.

    Short runs are looked at less often, and before the first of these looks there are some at 50 batches, 100, 200 ...

    Args:
        config: in which nothing is left open.
    """

    def __init__(self, config: TrainConfig) -> None:
        settings, self.every = config.optimization, config.monitoring.validate_every
        self.first = FIRST_BATCHES * settings.batch_size
        by_images = LOOKS if settings.images is None else settings.images // self.first
        by_minutes = LOOKS if settings.minutes is None else math.ceil(LOOKS_A_MINUTE * settings.minutes)
        self.parts = max(1, min(LOOKS, by_images, by_minutes))

    def is_due(self, before: TrainingProgress, now: TrainingProgress) -> bool:
        """Whether one is due between two moments."""
        if self.every is not None:
            return before.images // self.every != now.images // self.every
        part_before, part_now = (int(self.parts * moment.share + 1e-9) for moment in (before, now))
        if part_before != part_now:
            return True
        if part_now or now.images < self.first:
            return False
        return before.images < self.first or _doublings(before, self.first) != _doublings(now, self.first)


def _doublings(moment: TrainingProgress, of: int) -> int:
    return math.floor(math.log2(moment.images / of))
