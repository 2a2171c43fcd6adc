"""A small, cheap evaluation while a model learns: how far a few of its samples are from the images."""

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
from sfumato.sampling.sampler import SamplerConfig, device_of, sample_batches, sampler_config
from sfumato.sampling.solvers import solver_for

SOLVER, STEPS = "dpm-2m", 10
"""The best of the solvers at ten evaluations a sample (docs/solvers.md)."""

BATCH = 64


class QuickEvaluation:
    """The Frechet distance of a few samples to the training images, always from the same noise and as many.

    So only the model moves it. Of few images it is too large, but as much so every time.

    Args:
        images: Those that the model learns from.
        held_out: Those that it does not.
        count: How many samples are drawn, from 2.
        features: A name or file, as for `features_for`; the samples are looked at on the model's device.
        seed: Of the samples.
        device: Where the features of the images are computed.
        cache: Where they are kept; None: SFUMATO_CACHE, or the user's cache.

    Raises:
        ConfigError, RunError: As `features_for`.
        DataError: There are fewer than 2 images, or their features are not finite.
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
        self._yardstick: float | None = None
        if len(held_out) >= count:
            rows = features_of(first(held_out, count), self._features, device, cache)
            self._yardstick = frechet_distance(self._reference, Moments.of(rows))

    def measure(self, model: Denoiser, on_step: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
        """The distance of a model, as the fields of a line of metrics.jsonl.

        Torch's generators are neither used nor changed, and the modes of the model's parts are as before.

        Args:
            model: As it should sample; clipped to the range of images here.
            on_step: Told after every sampling step how many images took it; what it raises ends the evaluation.

        Returns:
            distance: To the training images; None where the samples or their features are not finite.
            features: The name of those it is measured in.
            count: Of the samples.
            held_out: The distance of as many held-out images; None where there are fewer.
            seconds: That it took.
        """
        begun = time.perf_counter()
        try:
            distance = frechet_distance(self._reference, moments_of(self._rows(model, on_step)))
        except DataError:
            distance = None
        return {
            "distance": distance,
            "features": self._features.name,
            "count": self._count,
            "held_out": self._yardstick,
            "seconds": round(time.perf_counter() - begun, 3),
        }

    def _rows(self, model: Denoiser, on_step: Callable[[int], None]) -> Iterator[Tensor]:
        """The features of samples, as files would hold them, a batch at a time."""
        batches = sample_batches(
            model,
            self._count,
            quick_sampler_config(model.schedule),
            labels=self._classes if model.label_names else None,
            seed=self._seed,
            batch=BATCH,
            on_step=on_step,
        )
        for images, _ in batches:
            if not images.isfinite().all():
                raise DataError("The samples are not finite", "Look at the model's loss.")
            as_written = self._depth.to_float(self._depth.to_pixels(images))
            yield self._features(as_written.to(device_of(model)))


def quick_sampler_config(schedule: Schedule) -> SamplerConfig:
    """From noise to images in ten steps, or as many as the schedule has."""
    rule = solver_for(SOLVER)
    return sampler_config(schedule, solver=rule, steps=max(rule.min_steps, min(STEPS, schedule.timesteps or STEPS)))
