"""From noise to images: one loop over a time grid, seeds that belong to each image, and batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from sfumato import grids
from sfumato.denoiser import Denoiser
from sfumato.errors import LabelError, SamplingError
from sfumato.guidance import Clipped, Labelled
from sfumato.shapes import Images, Labels, Times
from sfumato.solvers import Ancestral, NoiseSource, Solver

T = TypeVar("T")


class Moment(NamedTuple):
    """One stop of a trajectory: the time, the noisy images, and the estimate of the clean ones."""

    t: Times
    x_t: Images
    x0_hat: Images


class ImageNoise:
    """Standard normal noise in which each image has a stream of its own, a function of (seed, index) and nothing else.

    So image 7 is the same whatever the batch, the count or the device. The streams are numpy's counter-based Philox.

    Args:
        seed: of the whole sample.
        indices: of the images of this batch.
        image_shape: (C, H, W).
        device: where the noise is wanted.

    Raises:
        SamplingError: a seed that does not fit into 64 bits.
    """

    def __init__(
        self, seed: int, indices: Sequence[int], image_shape: tuple[int, int, int], device: torch.device | str = "cpu"
    ) -> None:
        if not 0 <= seed < 2**64:
            raise SamplingError(f"the seed {seed} is out of range", "Choose a seed from 0 to 2^64 - 1.")
        keys = (np.array([seed, index], dtype=np.uint64) for index in indices)
        self._streams = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
        self._image_shape = image_shape
        self._device = device

    def __call__(self) -> Images:
        """The next draw, (n, C, H, W) float32."""
        draws = np.empty((len(self._streams), *self._image_shape), dtype=np.float32)
        for stream, draw in zip(self._streams, draws, strict=True):
            stream.standard_normal(out=draw, dtype=np.float32)
        return torch.from_numpy(draws).to(self._device)


def trajectory(
    denoiser: Denoiser, x: Images, grid: Float64[Tensor, " stops"], solver: Solver, noise: NoiseSource
) -> Iterator[Moment]:
    """Follows `solver` along `grid` from x at grid[0], yielding every stop; the last one is the result.

    Args:
        denoiser: whose labels, if any, are settled.
        x: the images at grid[0]: x = sigma noise (+ alpha data).
        grid: falling times.
        solver: the step rule.
        noise: fresh standard normal noise for stochastic solvers.
    """
    x0_hat = x
    for t, s in pairwise(grid):
        x_s, x0_hat = solver.step(denoiser, x, t, s, noise)
        yield Moment(t, x, x0_hat)
        x = x_s
    yield Moment(grid[-1], x, x0_hat)


def sample_batches(
    denoiser: Denoiser,
    count: int,
    *,
    labels: str | Sequence[str] | None = None,
    steps: int | None = None,
    solver: Solver | None = None,
    seed: int = 0,
    batch: int = 64,
    on_step: Callable[[int], None] | None = None,
) -> Iterator[tuple[Images, Labels | None]]:
    """Like `sample`, a batch at a time: yields ((n, C, H, W) float32 in [-1, 1] on the CPU, (n,) labels or None).

    Arguments and errors are those of `sample`; counts, labels and steps that cannot be are refused at once.
    """
    wanted = label_indices(denoiser, labels, count)
    if batch < 1:
        raise SamplingError(f"batches of {batch} images were asked", "Choose a batch of at least 1.")
    timesteps = denoiser.schedule.timesteps
    grid = grids.uniform(timesteps, timesteps if steps is None else steps)
    rule = Ancestral() if solver is None else solver
    ImageNoise(seed, (), denoiser.image_shape)  # refuses a seed out of range

    def draw(start: int) -> tuple[Images, Labels | None]:
        indices = range(start, min(start + batch, count))
        chosen = None if wanted is None else wanted[start : indices.stop]
        settled, x, noise = begin(denoiser, indices, chosen, seed, grid[0])
        for moment in trajectory(settled, x, grid, rule, noise):
            if on_step is not None and moment.t > 0:
                on_step(len(indices))
        return moment.x_t.float().clamp(-1, 1).cpu(), chosen

    return _evaluated(denoiser, (partial(draw, start) for start in range(0, count, batch)))


def sample(
    denoiser: Denoiser,
    count: int,
    *,
    labels: str | Sequence[str] | None = None,
    steps: int | None = None,
    solver: Solver | None = None,
    seed: int = 0,
    batch: int = 64,
    on_step: Callable[[int], None] | None = None,
) -> Images:
    """Draws images from a model.

    Args:
        denoiser: the model, possibly guided. Its estimates are clipped to the data's range.
        count: how many images.
        labels: a class name for all of them, or several that take turns; None: of no class in particular.
        steps: network evaluations an image; None: all T of the schedule.
        solver: the step rule; None: `Ancestral()`.
        seed: image i is a function of (seed, i) alone, whatever the count and the batch.
        batch: images at a time.
        on_step: told after every step how many images took it; for progress bars.

    Returns:
        (count, C, H, W) float32 in [-1, 1], on the CPU.

    Raises:
        SamplingError: a count, batch or number of steps that is out of range.
        LabelError: labels that the model does not know.
    """
    batches = sample_batches(
        denoiser, count, labels=labels, steps=steps, solver=solver, seed=seed, batch=batch, on_step=on_step
    )
    return torch.cat([images for images, _ in batches])


def begin(
    denoiser: Denoiser, indices: Sequence[int], labels: Labels | None, seed: int, t: Times
) -> tuple[Denoiser, Images, ImageNoise]:
    """What a trajectory starts from at t, on the denoiser's device.

    That is the denoiser with its labels settled and its estimates clipped to [-1, 1], the first x_t (noise alone), and
    the noise to come.
    """
    device = _device_of(denoiser)
    noise = ImageNoise(seed, indices, denoiser.image_shape, device)
    settled = Clipped(Labelled(denoiser, None if labels is None else labels.to(device)))
    return settled, denoiser.schedule.sigma(t).item() * noise(), noise


def label_indices(denoiser: Denoiser, labels: str | Sequence[str] | None, count: int) -> Labels | None:
    """The class index of each of `count` images, the names taking turns; None for None.

    Raises:
        SamplingError: a count below 1.
        LabelError: names that the model does not know.
    """
    if count < 1:
        raise SamplingError(f"{count} images were asked", "Ask for at least 1.")
    names = [labels] if isinstance(labels, str) else labels
    if not names:
        return None
    known = denoiser.label_names
    unknown = sorted(set(names) - set(known))
    if unknown and not known:
        raise LabelError(
            f"the label {unknown[0]!r} was given to a model that knows no classes", "Sample without labels."
        )
    if unknown:
        raise LabelError(f"the model does not know the label {unknown[0]!r}", f"It knows: {', '.join(known)}.")
    return torch.tensor([known.index(names[i % len(names)]) for i in range(count)])


def _evaluated(model: nn.Module, draws: Iterable[Callable[[], T]]) -> Iterator[T]:
    """The results of `draws`, each made without gradients and with dropout and the like off.

    Afterwards, even after an error, every part of the model is in its own former mode.
    """
    parts = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        for draw in draws:
            with torch.no_grad():
                result = draw()
            yield result
    finally:
        for part, was_training in parts:
            part.training = was_training


def _device_of(denoiser: Denoiser) -> torch.device:
    """Where the model's parameters are, or its buffers if it has no parameters."""
    for tensor in (*denoiser.parameters(), *denoiser.buffers()):
        return tensor.device
    return torch.device("cpu")
