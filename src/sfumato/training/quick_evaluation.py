"""Quick evaluation during training: Frechet distance of a few samples to the training images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.data.dataset import first
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import DataError
from sfumato.metrics import Moments, features_for, features_of, frechet_distance, moments_of, reference_moments
from sfumato.metrics.class_shares import classes_as_in
from sfumato.sampling.sampler import SamplerConfig, sample_batches, sampler_config
from sfumato.sampling.solvers import SOLVERS

SOLVER, STEPS = "dpm-2m", 10
"""The best solver at 10 NFE (docs/solvers.md)."""

EVALUATION_BATCH = 64


class QuickEvaluation:
    """The Frechet distance of a few samples to the training images, always with the same noise and number of samples.

    With few samples the distance is biased upwards, but by the same amount for each model.
    """

    def __init__(
        self,
        images: ImageSet,
        held_out: ImageSet,
        count: int,
        features: str,
        seed: int,
        device: torch.device | str = "cpu",
        cache: Path | None = None,
    ) -> None:
        self._count, self._seed, self._depth = count, seed, images.depth
        self._features = features_for(features)
        self._reference = reference_moments(images, self._features, device, cache)
        self._classes = classes_as_in(images, count)
        self._held_out_distance: float | None = None
        if len(held_out) >= count:
            rows = features_of(first(held_out, count), self._features, device, cache)
            self._held_out_distance = frechet_distance(self._reference, Moments.of(rows))

    def measure(self, model: Denoiser, on_step: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
        """Measures the distance of a model.

        Does not use torch's global generators, and restores the training mode of the model's modules.

        Args:
            model: model to sample from; estimates are clipped.
            on_step: called after every sampling step with the batch size; may raise to stop the evaluation.

        Returns:
            The fields of a line of metrics.jsonl: `distance`, to the training images (None if the samples or their
            features are not finite); `features`, the name of the features; `count`, the number of samples; `held_out`,
            the distance of as many validation images (None if there are fewer); `seconds`, the duration.
        """
        start = time.perf_counter()
        try:
            distance = frechet_distance(self._reference, moments_of(self._rows(model, on_step)))
        except DataError:
            distance = None
        return {
            "distance": distance,
            "features": self._features.name,
            "count": self._count,
            "held_out": self._held_out_distance,
            "seconds": round(time.perf_counter() - start, 3),
        }

    def _rows(self, model: Denoiser, on_step: Callable[[int], None]) -> Iterator[Tensor]:
        """Features of the samples, rounded to pixel values, in batches."""
        batches = sample_batches(
            model,
            self._count,
            quick_sampler_config(model.schedule),
            labels=self._classes if model.label_names else None,
            seed=self._seed,
            batch=EVALUATION_BATCH,
            on_step=on_step,
        )
        for images, _ in batches:
            if not images.isfinite().all():
                raise DataError("samples are not finite", "Check the training loss.")
            as_written = self._depth.to_float(self._depth.to_pixels(images))
            yield self._features(as_written.to(model.device))


def quick_sampler_config(schedule: Schedule) -> SamplerConfig:
    """Sampler configuration with ten steps, or fewer if the schedule has fewer timesteps."""
    rule = SOLVERS.parse(SOLVER)
    return sampler_config(schedule, solver=rule, steps=max(rule.min_steps, min(STEPS, schedule.timesteps or STEPS)))
