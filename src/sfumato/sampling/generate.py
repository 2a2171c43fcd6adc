"""Many images of one model: in batches that suit the device, from networks that are made ready for as much work."""

import gc
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch

from sfumato.diffusion.denoiser import Denoiser
from sfumato.errors import OutOfMemoryError
from sfumato.sampling.acceleration import accelerated
from sfumato.sampling.sampler import Conditions, SamplerConfig, device_of, sample_batches
from sfumato.utils.devices import out_of_memory
from sfumato.utils.shapes import Images, Labels

CPU_BATCH = 64
"""Images at a time where no CUDA device computes."""

PIXELS_AT_ONCE = 2**21
"""Of a batch on a CUDA device: 2,048 images of 32x32. More are no faster (an H200 drew as fast by 2,500)."""

BYTES_A_PIXEL = 2**14
"""What a network of some 128 channels at full resolution takes for a pixel, roughly, at its height."""

PIXELS_WORTH_COMPILING = 10**9
"""Pixels, counted at each evaluation, from which compiling pays: 50,000 images of 32x32 in 20 steps.

On an H200 they take some 50 s without and half of that with it, and compiling takes up to a minute, though 3 s the
next time. Slower devices gain more by it, smaller networks less.
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
    """Like `sampling.sample_batches`, as fast as the device allows.

    On a CUDA device networks run as graphs, from `PIXELS_WORTH_COMPILING` on compiled. A batch that does not fit into
    memory is drawn again in halves, as is all that follows; a line on stderr says so.

    Args:
        model: possibly guided; left as it is.
        count: images, the first ones included.
        sampler: from noise to images.
        labels: as for `sample`.
        seed: image i is a function of (seed, i), to the rounding of a precision.
        batch: the most images at a time, which are even_batches out; None: what suits the device.
        first: the number of the first image that is drawn.
        precision: of the networks, as for `accelerated`.
        on_step: told after every step how many images took it; less than nothing where steps were in vain.

    Raises:
        OutOfMemoryError: not even one image fits.
        SamplingError, LabelError: as `sample`, at once.
    """
    stretch = partial(sample_batches, count=count, sampler=sampler, labels=labels, seed=seed)
    stretch(model, batch=1 if batch is None else batch)  # refuses at once what cannot be
    most = default_batch(model) if batch is None else batch
    compiled = count * (len(sampler.timesteps) - 1) * math.prod(model.image_shape[1:]) >= PIXELS_WORTH_COMPILING
    ready = partial(accelerated, model, precision=precision, compiled=compiled)
    return _drawn(ready, stretch, first, count, most, on_step)


def default_batch(model: Denoiser) -> int:
    """How many images at a time suit a model on its device, by its free memory; elsewhere than on CUDA 64."""
    device = device_of(model)
    if device.type != "cuda":
        return CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    pixels = min(PIXELS_AT_ONCE, free // 2 // BYTES_A_PIXEL)
    return max(1, pixels // math.prod(model.image_shape[1:]))


def even_batches(images: int, most: int) -> int:
    """The least batch by which `images` take as few batches as by `most`: none is then much smaller.

    >>> even_batches(100, 64), even_batches(64, 64), even_batches(3, 64)
    (50, 64, 3)
    """
    return math.ceil(images / math.ceil(images / most))


def _drawn(
    ready: Callable[..., Denoiser],
    stretch: Callable[..., Iterator[tuple[Images, Labels | None]]],
    first: int,
    count: int,
    most: int,
    on_step: Callable[[int], None],
) -> Iterator[tuple[Images, Labels | None]]:
    """Batches of at most `most` images, and of fewer where memory is full."""
    while first < count:
        batch, in_vain = even_batches(count - first, most), 0

        def count_step(images: int) -> None:
            nonlocal in_vain
            in_vain += images
            on_step(images)

        try:
            with out_of_memory("Not even one image at a time fits. Choose another --device, or close other programs."):
                for images, labels in stretch(ready(batch=batch), batch=batch, first=first, on_step=count_step):
                    yield images, labels
                    first, in_vain = first + len(images), 0
        except OutOfMemoryError:
            if batch == 1:
                raise
            on_step(-in_vain)
            most = math.ceil(batch / 2)
            print(f"sfumato: {batch} images at a time do not fit into memory; going on with {most}.", file=sys.stderr)
        gc.collect()  # the networks of before hold each other, and would hold the memory
