"""Generation of many images with a batch size and acceleration for the device."""

import gc
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch

from sfumato.diffusion.denoiser import Denoiser
from sfumato.errors import OutOfMemoryError
from sfumato.sampling.acceleration import accelerated
from sfumato.sampling.sampler import Conditions, SamplerConfig, sample_batches
from sfumato.utils.devices import out_of_memory
from sfumato.utils.shapes import Images, Labels

CPU_BATCH = 64
"""Batch size on devices other than CUDA."""

MAX_BATCH_PIXELS = 2**21
"""Maximum number of pixels of a batch on a CUDA device: 2,048 images of 32x32. Larger batches were not faster."""

BYTES_PER_PIXEL = 2**14
"""Approximate peak memory per pixel of a network with 128 channels at full resolution."""

PIXELS_WORTH_COMPILING = 10**9
"""Number of pixels times steps from which networks are compiled: 50,000 images of 32x32 in 20 steps.

On an H200 this takes 50 s without compilation and 25 s with it; compiling takes up to a minute the first time, and
3 s later.
"""


def generate(
    model: Denoiser,
    count: int,
    sampler: SamplerConfig,
    *,
    labels: Conditions | None = None,
    seed: int = 0,
    batch: int | None = None,
    first: int = 0,
    precision: str = "auto",
    on_step: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[Images, Labels | None]]:
    """Like `sampler.sample_batches`, with acceleration.

    On a CUDA device networks run as CUDA graphs, and are compiled for large counts (`PIXELS_WORTH_COMPILING`). If a
    batch does not fit into memory, it is repeated with half of the batch size, with a message on stderr.

    Args:
        model: model, with or without guidance; not changed.
        count: total number of images, including those before `first`.
        sampler: sampler configuration.
        labels: as for `sample`.
        seed: random seed; image i depends only on (seed, i), up to rounding.
        batch: maximum batch size; None: chosen for the device.
        first: index of the first image to generate.
        precision: precision of the networks, as for `accelerated`.
        on_step: called after every step with the batch size; negative when an out-of-memory batch is retried.

    Yields:
        Images (n, C, H, W) float32 in [-1, 1] on the CPU, and their labels or None.

    Raises:
        OutOfMemoryError: one image does not fit into memory.
        SamplingError, LabelError: as for `sample`, before the first batch.
    """
    most = default_batch(model) if batch is None else batch
    sampled = partial(sample_batches, count=count, sampler=sampler, labels=labels, seed=seed)
    sampled(model, batch=most)  # checks the arguments
    compiled = count * (len(sampler.timesteps) - 1) * math.prod(model.image_shape[1:]) >= PIXELS_WORTH_COMPILING
    accelerate = partial(accelerated, model, precision=precision, compiled=compiled)
    return _with_smaller_batches(sampled, accelerate, range(first, count), most, on_step)


class _StepCounter:
    """Calls `on_step`, and counts the steps of the batch that is not finished."""

    def __init__(self, on_step: Callable[[int], None]) -> None:
        self.on_step, self.unfinished = on_step, 0

    def __call__(self, images: int) -> None:
        self.unfinished += images
        self.on_step(images)


def _with_smaller_batches(
    sampled: Callable[..., Iterator[tuple[Images, Labels | None]]],
    accelerate: Callable[..., Denoiser],
    indices: range,
    most: int,
    on_step: Callable[[int], None],
) -> Iterator[tuple[Images, Labels | None]]:
    """Batches of the images with these indices; halves the batch size until a batch fits into memory."""
    first = indices.start
    while first < indices.stop:
        batch, counter = even_batches(indices.stop - first, most), _StepCounter(on_step)
        try:
            with out_of_memory("One image does not fit into memory. Choose another --device."):
                for images, labels in sampled(accelerate(batch=batch), batch=batch, first=first, on_step=counter):
                    yield images, labels
                    first += len(images)
                    counter.unfinished = 0
        except OutOfMemoryError:
            if batch == 1:
                raise
            on_step(-counter.unfinished)
            most = math.ceil(batch / 2)
            print(f"sfumato: {batch} images do not fit into memory; the batch size is now {most}.", file=sys.stderr)
        gc.collect()  # the previous networks have reference cycles, which would keep their memory


def default_batch(model: Denoiser) -> int:
    """Batch size for a model on its device, by the free memory on CUDA devices; 64 on others."""
    device = model.device
    if device.type != "cuda":
        return CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    pixels = min(MAX_BATCH_PIXELS, free // 2 // BYTES_PER_PIXEL)
    return max(1, pixels // math.prod(model.image_shape[1:]))


def even_batches(images: int, most: int) -> int:
    """The smallest batch size with the same number of batches as the maximum batch size `most`.

    >>> even_batches(100, 64), even_batches(64, 64), even_batches(3, 64)
    (50, 64, 3)
    """
    return math.ceil(images / math.ceil(images / most))
