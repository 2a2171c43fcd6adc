"""Monitoring of a run: validation schedule, validation loss, quick evaluations, previews, the best model.

All measurements use the EMA of the weights.
"""

import math
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import torch

from sfumato.data import ImageSet
from sfumato.sampling.sampler import sample
from sfumato.training.checkpoints import BestModel, Run
from sfumato.training.config import TrainConfig
from sfumato.training.quick_evaluation import QuickEvaluation
from sfumato.training.state import TrainingState
from sfumato.training.validation import Validation
from sfumato.utils import pictures

VALIDATIONS = 20
"""Number of validations in a long run, the early ones not counted."""

VALIDATIONS_PER_MINUTE = 1
"""Maximum number of validations per minute of training."""

FIRST_BATCHES = 50
"""Batches before the first validation, and minimum number of batches between two."""


class TrainingProgress(NamedTuple):
    """Progress of a run: images seen and share of the budget that is spent."""

    images: int
    share: float


class ValidationSchedule:
    """Decides when validation is due: every `monitoring.validate_every` images, by default 20 times per run.

    By default short runs have fewer validations, and further ones are due after 50, 100, 200, ... batches before the
    first of them.
    """

    def __init__(self, config: TrainConfig) -> None:
        settings, self.every = config.optimization, config.monitoring.validate_every
        self.first = FIRST_BATCHES * settings.batch_size
        by_images = VALIDATIONS if settings.images is None else settings.images // self.first
        by_minutes = VALIDATIONS if settings.minutes is None else math.ceil(VALIDATIONS_PER_MINUTE * settings.minutes)
        self.parts = max(1, min(VALIDATIONS, by_images, by_minutes))

    def is_due(self, before: TrainingProgress, now: TrainingProgress) -> bool:
        """Whether a validation is due between two steps."""
        if self.every is not None:
            return before.images // self.every != now.images // self.every
        part_before, part_now = (int(self.parts * progress.share + 1e-9) for progress in (before, now))
        if part_before != part_now:
            return True
        if part_now or now.images < self.first:
            return False
        return before.images < self.first or _doublings(before, self.first) != _doublings(now, self.first)


def _doublings(progress: TrainingProgress, of: int) -> int:
    return math.floor(math.log2(progress.images / of))


class _Stopped(Exception):  # noqa: N818 (not an error)
    """Raised to interrupt a measurement when training should stop."""


class Monitor:
    """Validates the model with the EMA of the weights, without an effect on training.

    Attributes:
        best: the best model, if it was measured since the last checkpoint; otherwise None.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: Run,
        state: TrainingState,
        images: ImageSet,
        held_out: ImageSet,
        cache: Path | None,
        say: Callable[[str], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self.config, self.run, self.state, self.say, self.should_stop = config, run, state, say, should_stop
        settings, seed = config.monitoring, config.optimization.seed
        self.schedule = ValidationSchedule(config)
        self.validation = Validation(held_out, settings.validation_count, seed)
        self.evaluation = None
        if settings.eval_every is not None:
            self.evaluation = QuickEvaluation(
                images, held_out, settings.eval_count, settings.eval_features, seed, state.average.device, cache
            )
        self.best: BestModel | None = None

    def due(self, before: TrainingProgress, now: TrainingProgress) -> list[Callable[[], None]]:
        """Measurements that are due between two steps."""
        every = self.config.monitoring.eval_every
        due = [self.validate, self.preview] if self.schedule.is_due(before, now) else []
        if every is not None and before.images // every != now.images // every:
            due.insert(1, self.evaluate)  # the preview comes last: its file marks completion
        return due

    def due_after_resume(self, now: TrainingProgress) -> list[Callable[[], None]]:
        """Measurements at the first step of a resumed run that were interrupted when it stopped."""
        if not now.images or self.preview_path().exists():
            return []
        self.run.discard_measurements_at(now.images)
        images = max(0, now.images - self.config.optimization.batch_size)
        return self.due(TrainingProgress(images, now.share * images / now.images), now)

    def is_guidance_checkpoint_due(self, before: TrainingProgress, now: TrainingProgress) -> bool:
        """Whether to save the guidance checkpoint now; False if it was trained for too few steps."""
        settings = self.config.monitoring
        is_passed = before.share < settings.autoguidance_at <= now.share
        return is_passed and self.state.counters.steps >= settings.autoguidance_min_steps

    def measure(self, measurements: Sequence[Callable[[], None]]) -> None:
        """Takes measurements until training should stop, and copies the best model."""
        try:
            for measurement in measurements:
                measurement()
        except _Stopped:
            pass
        except torch.OutOfMemoryError:
            self.say(
                "Validation does not fit into memory. --preview-count 1 and --validation-count 10 need least memory."
            )
        if self.run.is_best(self.state.counters.images_seen):
            self.best = BestModel(self.state.averaged(), self.state.counters.images_seen)

    def measure_at_end(self) -> None:
        """Takes the measurements at the end of the run, unless they are complete (their preview exists)."""
        if self.preview_path().exists() or self.should_stop():
            return
        self.run.discard_measurements_at(self.state.counters.images_seen)
        self.measure([self.validate, self.evaluate, self.preview])
        if self.best is not None:
            self.run.save_best(self.best)

    def evaluate(self) -> None:
        """Quick evaluation: the Frechet distance of a few samples to the training images, if enabled."""
        if self.evaluation is not None:
            measured = self.evaluation.measure(self.state.average, on_step=self._check_stop)
            self.run.add_measurement({"kind": "evaluation", "images": self.state.counters.images_seen, **measured})

    def validate(self) -> None:
        """The validation loss."""
        seen = self.state.counters.images_seen
        loss = self.validation.loss(self.state.average, on_batch=self._check_stop)
        self.run.add_measurement({"kind": "validation", "images": seen, "loss": loss.mean, "by_time": loss.by_time})
        self.say(f"{seen:,} images: validation loss {'not finite' if loss.mean is None else f'{loss.mean:.4f}'}")

    def preview(self) -> None:
        """Preview grid of samples, always from the same noise."""
        settings, model = self.config.monitoring, self.state.average
        images = sample(
            model,
            settings.preview_count,
            labels=model.label_names or None,
            steps=settings.preview_steps,
            seed=self.config.optimization.seed,
            batch=min(64, settings.preview_count),
            on_step=self._check_stop,
        )
        titles = list(islice(cycle(model.label_names), len(images)))
        pictures.save_grid(model.depth.viewable(images), self.preview_path(), titles=titles)
        self.run.logger.add_preview(self.preview_path(), self.state.counters.images_seen)

    def preview_path(self) -> Path:
        """File of the preview grid of the current step."""
        return self.run.samples / f"{self.state.counters.images_seen:012d}.png"

    def _check_stop(self, _: int) -> None:
        if self.should_stop():
            raise _Stopped
