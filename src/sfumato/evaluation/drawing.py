"""Samples on disk, drawn once: an interrupted evaluation goes on from those it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sfumato.data import ImageSet
from sfumato.data.cache.pixels import MappedPixels
from sfumato.diffusion.denoiser import Denoiser
from sfumato.sampling.generate import generate
from sfumato.sampling.sampler import Conditions, SamplerConfig, resolve_labels
from sfumato.utils.depth import Depth
from sfumato.utils.files import cannot_write

SAMPLES = "samples.bin"


def drawn(
    model: Denoiser,
    depth: Depth,
    count: int,
    sampler: SamplerConfig,
    folder: Path,
    *,
    labels: Conditions | None = None,
    seed: int = 0,
    batch: int | None = None,
    on_step: Callable[[int], None] = lambda _: None,
) -> ImageSet:
    """Draws samples into `folder`, or finds them there.

    Args:
        model: possibly guided.
        depth: how its pixels are written; samples are measured as files would hold them.
        count: how many images.
        sampler: from noise to images.
        folder: for these samples alone: of this model, this route, these labels and this seed.
        labels: as for `sample`.
        seed: image i is a function of (seed, i) alone.
        batch: images at a time, at most; None: what suits the device.
        on_step: told after every step how many images took it.

    Returns:
        The samples, with the labels that were asked.

    Raises:
        RunError: they could not be written.
        SamplingError, LabelError: as `sample`.
    """
    file, size = folder / SAMPLES, _bytes_an_image(model, depth)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as opened:
            done = opened.tell() // size
            opened.truncate(done * size)
            on_step(min(done, count) * (len(sampler.timesteps) - 1))
            for images, _ in generate(
                model, count, sampler, labels=labels, seed=seed, batch=batch, first=done, on_step=on_step
            ):
                opened.write(depth.to_pixels(images).numpy().tobytes())
                opened.flush()
    except OSError as error:
        raise cannot_write(file, error) from error
    return ImageSet(
        pixels=MappedPixels(file, (count, *model.image_shape), depth.dtype),
        rows=np.arange(count),
        depth=depth,
        labels=resolve_labels(model, labels, count),
        label_names=model.label_names,
        columns=model.columns,
        notices=(),
        digests=np.zeros((count, 0), np.uint8),
    )


def _bytes_an_image(model: Denoiser, depth: Depth) -> int:
    channels, height, width = model.image_shape
    return channels * height * width * torch.empty(0, dtype=getattr(torch, depth.dtype)).element_size()
