"""From noise to images: one loop over a time grid, seeds that belong to each image, and batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor, nn

from sfumato.data.conditions import RequestedColumns, as_classes, requested_rows
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import CLIPS, AutoGuided, Clip, Labelled, clip_for
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import SamplingError
from sfumato.sampling import defaults
from sfumato.sampling.solvers import SOLVERS, NoiseSource, Solver, SolverState, solver_for
from sfumato.sampling.timesteps import TIME_GRIDS, TimeGrid, grid_for
from sfumato.utils.shapes import Images, Labels

T = TypeVar("T")

MOST_IMAGES = 10**7
"""Of one sample."""

Conditions = str | Sequence[str] | RequestedColumns
"""A class name or several that take turns; or values for the columns of a model that was trained with such."""


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
        self._device = torch.device(device)

    def __call__(self) -> Images:
        """The next draw, (n, C, H, W) float32. Does not wait for the device, and uses as many threads as PyTorch."""
        shape = (len(self._streams), *self._image_shape)
        draws = torch.empty(shape, pin_memory=self._device.type == "cuda")
        threads = torch.get_num_threads() if draws.numel() >= NUMBERS_WORTH_THREADS else 1
        parts = [(self._streams[i::threads], draws.numpy()[i::threads]) for i in range(threads)]
        if threads == 1:
            _fill(*parts[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(_fill, *zip(*parts, strict=True)))
        return draws.to(self._device, non_blocking=True)


NUMBERS_WORTH_THREADS = 2**18
"""Random numbers that one thread draws in some milliseconds."""


def _fill(streams: Sequence[np.random.Generator], draws: Float32[np.ndarray, "n c h w"]) -> None:
    """Draws what each stream says next, into the arrays themselves."""
    for stream, draw in zip(streams, draws, strict=True):
        stream.standard_normal(out=draw, dtype=np.float32)


def trajectory(
    denoiser: Denoiser, x: Images, time_grid: Float64[Tensor, " steps"], solver: Solver, noise: NoiseSource
) -> Iterator[SolverState]:
    """Follows `solver` along `time_grid` from x at time_grid[0], yielding every state; the last one is the result.

    Args:
        denoiser: whose labels, if any, are settled.
        x: the images at time_grid[0]: x = sigma noise (+ alpha data).
        time_grid: falling times, (steps + 1,).
        solver: the step rule.
        noise: fresh standard normal noise for stochastic solvers.
    """
    past: tuple[SolverState, ...] = ()
    x0_hat = x
    for t, s in pairwise(time_grid):
        now, x = solver.step(denoiser, x, t, s, noise, past)
        yield now
        past, x0_hat = (now, *past)[: solver.memory], now.x0_hat
    yield SolverState(time_grid[-1], x, x0_hat)


@dataclass(frozen=True)
class SamplerConfig:
    """How to go from noise to images: the step rule, the times of its stops, and the clipping of the estimates.

    Attributes:
        solver: the step rule.
        timesteps: times, from noise (1) to data (0).
        clip: wraps a denoiser so that its estimates keep to the data's range.
    """

    solver: Solver
    timesteps: Float64[Tensor, " steps"]
    clip: Clip


def sampler_config(
    schedule: Schedule,
    *,
    solver: Solver | str = defaults.SOLVER,
    time_grid: TimeGrid | str | None = None,
    steps: int | None = None,
    clip: Clip | str = defaults.CLIP,
) -> SamplerConfig:
    """The route that is meant; arguments and errors are those of `sample`."""
    rule = solver_for(solver) if isinstance(solver, str) else solver
    _require(isinstance(rule, Solver), "solver", rule, SOLVERS)
    layout = rule.default_grid if time_grid is None else time_grid
    layout = grid_for(layout) if isinstance(layout, str) else layout
    _require(isinstance(layout, TimeGrid), "grid", layout, TIME_GRIDS)
    wrap = clip_for(clip) if isinstance(clip, str) else clip
    _require(callable(wrap), "clipping", wrap, CLIPS)
    if steps is None:
        steps = max(rule.min_steps, min(rule.default_steps, schedule.timesteps or rule.default_steps))
    if 1 <= steps < rule.min_steps:
        able = [name for name, one in SOLVERS.items() if one.min_steps <= steps]
        raise SamplingError(
            f"the solver {solver} cannot use its order in {steps} steps",
            f"Choose at least {rule.min_steps}, or among: {', '.join(able)}.",
        )
    return SamplerConfig(rule, layout(schedule, steps), wrap)


def default_sampler(
    denoiser: Denoiser,
    *,
    solver: Solver | str | None = None,
    time_grid: TimeGrid | str | None = None,
    steps: int | None = None,
    clip: Clip | str = defaults.CLIP,
) -> SamplerConfig:
    """The route that suits a denoiser, guided as it is; arguments and errors are those of `sample`."""
    if solver is None:
        is_autoguided = any(isinstance(part, AutoGuided) for part in denoiser.modules())
        solver = defaults.AUTOGUIDED_SOLVER if is_autoguided else defaults.SOLVER
        time_grid = defaults.AUTOGUIDED_GRID if is_autoguided and time_grid is None else time_grid
    return sampler_config(denoiser.schedule, solver=solver, time_grid=time_grid, steps=steps, clip=clip)


def _require(fits: bool, what: str, given: object, table: Iterable[str]) -> None:
    """Raises `SamplingError` unless the part given is one of its kind."""
    if not fits:
        raise SamplingError(f"{given!r} is no {what}", f"Choose one of sfumato's, or a name: {', '.join(table)}.")


def sample_batches(
    denoiser: Denoiser,
    count: int,
    sampler: SamplerConfig,
    *,
    labels: Conditions | None = None,
    seed: int = 0,
    batch: int = 64,
    first: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> Iterator[tuple[Images, Labels | None]]:
    """Like `sample`, a batch at a time: yields ((n, C, H, W) float32 in [-1, 1] on the CPU, labels or None).

    Begins with image number `first`, since each is a function of (seed, its number). The other arguments and the errors
    are those of `sample`; counts, labels and steps that cannot be are refused at once.
    """
    wanted = resolve_labels(denoiser, labels, count)
    if batch < 1:
        raise SamplingError(f"batches of {batch} images were asked", "Choose a batch of at least 1.")
    ImageNoise(seed, (), denoiser.image_shape)  # refuses a seed out of range

    def draw(start: int) -> tuple[Images, Labels | None]:
        indices = range(start, min(start + batch, count))
        chosen = None if wanted is None else wanted[start : indices.stop]
        settled, x, noise = initial_state(denoiser, indices, chosen, seed, sampler)
        for moment in trajectory(settled, x, sampler.timesteps, sampler.solver, noise):
            if on_step is not None and moment.t > 0:
                on_step(len(indices))
        return moment.x_t.float().clamp(-1, 1).cpu(), chosen

    return evaluated(denoiser, (partial(draw, start) for start in range(first, count, batch)))


def sample(
    denoiser: Denoiser,
    count: int,
    *,
    labels: Conditions | None = None,
    solver: Solver | str | None = None,
    time_grid: TimeGrid | str | None = None,
    steps: int | None = None,
    clip: Clip | str = defaults.CLIP,
    seed: int = 0,
    batch: int = 64,
    on_step: Callable[[int], None] | None = None,
) -> Images:
    """Draws images from a model.

    Args:
        denoiser: the model, possibly guided.
        count: how many images.
        labels: a class name for all of them, or several that take turns; for a model with columns, values such as
            {"age": 30, "colour": ["red", "blue"]}, where several take turns too; None: of no class in particular.
        solver: the step rule, or its name in `solvers.SOLVERS` with settings ("ddim:eta=0.5"); None: what suits the
            model: dpm-2m-sde, and for one guided by a weaker model dpm-2m.
        time_grid: the timesteps, or their name in `timesteps.TIME_GRIDS` with settings ("karras:rho=5"); None: what
            suits the solver; without both, for a model guided by a weaker one, karras.
        steps: of the time grid, most of which cost one network evaluation; None: what suits the solver.
        clip: how estimates keep to the data's range, a wrapper or its name in `guidance.CLIPS`.
        seed: image i is a function of (seed, i) alone, whatever the count and the batch.
        batch: images at a time.
        on_step: told after every step how many images took it; for progress bars.

    Returns:
        (count, C, H, W) float32 in [-1, 1], on the CPU.

    Raises:
        SamplingError: a count, batch or number of steps that is out of range; an unknown name or setting; a grid that
            the model's schedule cannot have.
        LabelError: labels, columns or values that the model does not know.
    """
    sampler = default_sampler(denoiser, solver=solver, time_grid=time_grid, steps=steps, clip=clip)
    batches = sample_batches(denoiser, count, sampler, labels=labels, seed=seed, batch=batch, on_step=on_step)
    return torch.cat([images for images, _ in batches])


def initial_state(
    denoiser: Denoiser, indices: Sequence[int], labels: Labels | None, seed: int, sampler: SamplerConfig
) -> tuple[Denoiser, Images, ImageNoise]:
    """What a trajectory starts from, on the denoiser's device.

    That is the denoiser with its labels settled and its estimates clipped, the first x_t (noise alone), and the noise
    to come.
    """
    device = device_of(denoiser)
    noise = ImageNoise(seed, indices, denoiser.image_shape, device)
    settled = sampler.clip(Labelled(denoiser, None if labels is None else labels.to(device)))
    return settled, denoiser.schedule.sigma(sampler.timesteps[0]).item() * noise(), noise


def resolve_labels(denoiser: Denoiser, wanted: Conditions | None, count: int) -> Labels | None:
    """What the model is told of each of `count` images, names and values taking turns; None if nothing is wanted.

    Raises:
        SamplingError: a count below 1, or beyond `MOST_IMAGES`.
        LabelError: names, columns or values that the model does not know.
    """
    if not 1 <= count <= MOST_IMAGES:
        raise SamplingError(f"{count} images were asked", f"Ask for at least 1, and at most {MOST_IMAGES:,}.")
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if not wanted:
        return None
    asked = wanted if isinstance(wanted, Mapping) else {denoiser.label_column: wanted}
    rows = requested_rows(denoiser.known_columns, asked, count)
    return as_classes(rows) if denoiser.label_names else rows


def evaluated(model: nn.Module, draws: Iterable[Callable[[], T]]) -> Iterator[T]:
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


def device_of(denoiser: Denoiser) -> torch.device:
    """Where the model's parameters are, or its buffers if it has no parameters."""
    for tensor in (*denoiser.parameters(), *denoiser.buffers()):
        return tensor.device
    return torch.device("cpu")
