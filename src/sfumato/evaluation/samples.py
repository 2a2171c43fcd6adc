"""Samples kept on disk, so that an interrupted evaluation resumes from those already generated."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sfumato.data import ImageSet
from sfumato.data.cache.image_arrays import MappedPixels
from sfumato.diffusion.denoiser import Denoiser
from sfumato.sampling.generate import generate
from sfumato.sampling.sampler import Conditions, SamplerConfig, resolve_labels
from sfumato.utils.depth import Depth
from sfumato.utils.files import cannot_write

SAMPLES = "samples.bin"


def generate_to_disk(
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
    """Generates samples into `folder`, except those that are already there.

    The samples are rounded to the pixel format `depth`, as in files. The folder is for samples of one model, sampler,
    seed and list of labels only. Other arguments are those of `generate`.

    Returns:
        The samples, with their labels.

    Raises:
        RunError: The samples could not be written.
        SamplingError, LabelError: As for `sample`.
    """
    file = folder / SAMPLES
    size = math.prod(model.image_shape) * np.dtype(depth.dtype).itemsize
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
