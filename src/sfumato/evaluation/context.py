"""Data and resources shared by all metrics of one evaluation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.evaluation.subject import Subject
from sfumato.metrics.features import Features
from sfumato.metrics.reference import features_of

BATCH = 256

MOST_COMPARED = 10_000
"""Maximum number of training images and samples in a nearest-neighbour comparison."""

BeginStage = Callable[[str, int], Callable[[int], None]]
"""Begins a stage of the progress bar. Called with a description and the number of units; returns the function to call
with the number of units completed since its last call."""


def no_progress(description: str, units: int) -> Callable[[int], None]:
    """Shows no progress."""
    del description, units
    return lambda _: None


@dataclass(frozen=True)
class EvalContext:
    """Data and resources shared by all metrics of one evaluation.

    Attributes:
        subject: Samples, training images and held-out images.
        features: Feature extractor of the metrics that compare features.
        device: Device on which features and distances are computed.
        cache: Folder of cached features of real images; None: SFUMATO_CACHE, or the user's cache.
        out: Folder for pictures.
        model: Model that generated the samples; None if it is not known.
        begin: Begins a stage of the progress bar.
    """

    subject: Subject
    features: Features
    device: torch.device
    cache: Path | None
    out: Path
    model: PreconditionedDenoiser | None = None
    begin: BeginStage = no_progress

    def real_features(self, images: ImageSet) -> Float32[Tensor, "n d"]:
        """Features of real images, read from the cache if present."""
        on_images = self.begin("features of real images", len(images))
        return features_of(images, self.features, self.device, self.cache, on_images)

    @cached_property
    def sample_features(self) -> Float32[Tensor, "n d"]:
        """Features of the samples, computed once for all metrics."""
        on_images = self.begin("features of samples", len(self.subject.samples))
        parts = [self.features(batch.to(self.device)).cpu() for batch in batches(self.subject.samples, on_images)]
        return torch.cat(parts)


def batches(
    images: ImageSet, on_images: Callable[[int], None] = lambda _: None
) -> Iterator[Float32[Tensor, "_ c h w"]]:
    """All images in [-1, 1], `BATCH` at a time."""
    for places in torch.arange(len(images)).split(BATCH):
        yield images.select(places).floats()
        on_images(len(places))
