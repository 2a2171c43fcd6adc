"""Sampling: the sampling loop, sampler configuration, noise by image, and batches."""

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
from sfumato.diffusion.guidance import CLIPS, AutoGuided, Clip, Labelled
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import SamplingError
from sfumato.sampling.solvers import SOLVERS, NoiseSource, Solver, SolverState
from sfumato.sampling.timesteps import TIME_GRIDS, TimeGrid
from sfumato.utils.registry import Registry
from sfumato.utils.shapes import Images, Labels

T = TypeVar("T")

SOLVER = "dpm-2m-sde"
"""Default solver without guidance and with classifier-free guidance (docs/solvers.md)."""

AUTOGUIDED_SOLVER, AUTOGUIDED_GRID = "dpm-2m", "karras"
"""Defaults with autoguidance. A deterministic solver is better with it, because noise during sampling and the guidance
checkpoint correct the same errors (docs/experiments.md, "How to draw with a guide")."""

MAX_COUNT = 10**7
"""Maximum number of images of one call."""

Conditions = str | Sequence[str] | RequestedColumns
"""One class name for all images, several that are repeated in turn, or values of columns by name."""


class ImageNoise:
    """Standard normal noise with a separate stream for each image, which depends only on (seed, index).

    Image 7 is therefore the same for any batch size, count and device. The streams are NumPy's counter-based Philox.

    Args:
        seed: random seed, 0 to 2^64 - 1.
        indices: indices of the images of a batch.
        image_shape: (C, H, W) of one image.
        device: device of the noise.

    Raises:
        SamplingError: a seed out of range.
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
        """The next noise, (n, C, H, W) float32. Does not wait for the device; uses as many threads as PyTorch."""
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
"""Count of random numbers from which several threads are used."""


def _fill(streams: Sequence[np.random.Generator], draws: Float32[np.ndarray, "n c h w"]) -> None:
    """Fills each array with the next numbers of its stream."""
    for stream, draw in zip(streams, draws, strict=True):
        stream.standard_normal(out=draw, dtype=np.float32)


def trajectory(
    denoiser: Denoiser, x: Images, time_grid: Float64[Tensor, " steps"], solver: Solver, noise: NoiseSource
) -> Iterator[SolverState]:
    """The sampling loop: follows the solver along the timesteps and yields every state; the last one is the result.

    Args:
        denoiser: denoiser with fixed labels, if any.
        x: (n, C, H, W) images at the first timestep: x = sigma noise (+ alpha data).
        time_grid: (steps + 1,) decreasing times.
        solver: step rule.
        noise: returns new standard normal noise, for stochastic solvers.
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
    """Configuration of a sampler.

    Attributes:
        solver: step rule.
        timesteps: (steps + 1,) decreasing times from 1 (noise) to 0 (data).
        clip: wraps a denoiser so that its estimates are in the range of the data.
    """

    solver: Solver
    timesteps: Float64[Tensor, " steps"]
    clip: Clip


def sampler_config(
    schedule: Schedule,
    *,
    solver: Solver | str = SOLVER,
    time_grid: TimeGrid | str | None = None,
    steps: int | None = None,
    clip: Clip | str = "static",
) -> SamplerConfig:
    """Builds the sampler configuration; arguments and errors are those of `sample`."""
    rule = _checked(solver, SOLVERS, lambda part: isinstance(part, Solver))
    grid = rule.default_grid if time_grid is None else time_grid
    layout = _checked(grid, TIME_GRIDS, lambda part: isinstance(part, TimeGrid))
    wrap = _checked(clip, CLIPS, callable)
    if steps is None:
        steps = max(rule.min_steps, min(rule.default_steps, schedule.timesteps or rule.default_steps))
    if 1 <= steps < rule.min_steps:
        valid = [name for name, one in SOLVERS.items() if one.min_steps <= steps]
        raise SamplingError(
            f"{steps} sampling steps are too few for the solver {solver}",
            f"Choose at least {rule.min_steps} steps, or among the solvers: {', '.join(valid)}.",
        )
    return SamplerConfig(rule, layout(schedule, steps), wrap)


def default_sampler(
    denoiser: Denoiser,
    *,
    solver: Solver | str | None = None,
    time_grid: TimeGrid | str | None = None,
    steps: int | None = None,
    clip: Clip | str = "static",
) -> SamplerConfig:
    """Builds the default sampler configuration of a denoiser; arguments and errors are those of `sample`."""
    if solver is None:
        is_autoguided = any(isinstance(part, AutoGuided) for part in denoiser.modules())
        solver = AUTOGUIDED_SOLVER if is_autoguided else SOLVER
        time_grid = AUTOGUIDED_GRID if is_autoguided and time_grid is None else time_grid
    return sampler_config(denoiser.schedule, solver=solver, time_grid=time_grid, steps=steps, clip=clip)


def _checked(given: T | str, registry: Registry[T], fits: Callable[[object], bool]) -> T:
    """The part that was given or named; raises `SamplingError` if it has the wrong type."""
    part = registry.parse(given) if isinstance(given, str) else given
    if not fits(part):
        raise SamplingError(
            f"{part!r} is not a {registry.kind}", f"Give an object of this type, or a name: {', '.join(registry)}."
        )
    return part


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
    """Like `sample`, in batches.

    Starts with the image with index `first`. The other arguments and the errors are those of `sample`; errors are
    raised before the first batch.

    Yields:
        Images (n, C, H, W) float32 in [-1, 1] on the CPU, and their labels or None.
    """
    wanted = resolve_labels(denoiser, labels, count)
    if batch < 1:
        raise SamplingError(f"the batch size is {batch}", "Choose at least 1.")
    ImageNoise(seed, (), denoiser.image_shape)  # checks the seed

    def draw(start: int) -> tuple[Images, Labels | None]:
        indices = range(start, min(start + batch, count))
        chosen = None if wanted is None else wanted[start : indices.stop]
        labelled, x, noise = initial_state(denoiser, indices, chosen, seed, sampler)
        for state in trajectory(labelled, x, sampler.timesteps, sampler.solver, noise):
            if on_step is not None and state.t > 0:
                on_step(len(indices))
        return state.x_t.float().clamp(-1, 1).cpu(), chosen

    return evaluated(denoiser, (partial(draw, start) for start in range(first, count, batch)))


def sample(
    denoiser: Denoiser,
    count: int,
    *,
    labels: Conditions | None = None,
    solver: Solver | str | None = None,
    time_grid: TimeGrid | str | None = None,
    steps: int | None = None,
    clip: Clip | str = "static",
    seed: int = 0,
    batch: int = 64,
    on_step: Callable[[int], None] | None = None,
) -> Images:
    """Samples images from a model.

    Args:
        denoiser: model, with or without guidance.
        count: number of images.
        labels: one class name for all images, or several, which are repeated in turn. For a model with columns of
            conditions: one or several values by column name, such as {"age": 30, "color": ["red", "blue"]}. None:
            unconditional.
        solver: solver, or a name in `solvers.SOLVERS`, optionally with settings ("ddim:eta=0.5"). None: "dpm-2m" for a
            model with autoguidance, otherwise "dpm-2m-sde".
        time_grid: time grid, or a name in `timesteps.TIME_GRIDS`, optionally with settings ("karras:rho=5"). None:
            "karras" for a model with autoguidance if `solver` is None too, otherwise the default of the solver.
        steps: number of sampling steps; most solvers evaluate the network once per step. None: the default of the
            solver.
        clip: clipping of the estimates of x_0 to [-1, 1]: a wrapper, or a name in `guidance.CLIPS`.
        seed: random seed, 0 to 2^64 - 1. Image i depends only on (seed, i), not on `count` and `batch`.
        batch: batch size.
        on_step: called after each step with the number of images in the batch, such as to update a progress bar.

    Returns:
        (count, C, H, W) float32 in [-1, 1], on the CPU.

    Raises:
        SamplingError: a count, seed, batch size or number of steps out of range; an unknown name or setting; a time
            grid that does not support the schedule of the model.
        LabelError: labels, columns or values that the model does not have.
    """
    sampler = default_sampler(denoiser, solver=solver, time_grid=time_grid, steps=steps, clip=clip)
    batches = sample_batches(denoiser, count, sampler, labels=labels, seed=seed, batch=batch, on_step=on_step)
    return torch.cat([images for images, _ in batches])


def initial_state(
    denoiser: Denoiser, indices: Sequence[int], labels: Labels | None, seed: int, sampler: SamplerConfig
) -> tuple[Denoiser, Images, ImageNoise]:
    """Initial state of a trajectory on the denoiser's device.

    Returns:
        The denoiser with fixed labels and clipping, the first x_t (pure noise), and the source of further noise.
    """
    device = denoiser.device
    noise = ImageNoise(seed, indices, denoiser.image_shape, device)
    labelled = sampler.clip(Labelled(denoiser, None if labels is None else labels.to(device)))
    return labelled, denoiser.schedule.sigma(sampler.timesteps[0]).item() * noise(), noise


def resolve_labels(denoiser: Denoiser, wanted: Conditions | None, count: int) -> Labels | None:
    """Labels of `count` images, with names and values repeated in turn; None without labels.

    Raises:
        SamplingError: a count below 1 or above `MAX_COUNT`.
        LabelError: names, columns or values that the model does not have.
    """
    if not 1 <= count <= MAX_COUNT:
        raise SamplingError(f"the number of images is {count}", f"Choose at least 1, and at most {MAX_COUNT:,}.")
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if not wanted:
        return None
    requested = wanted if isinstance(wanted, Mapping) else {denoiser.label_column: wanted}
    rows = requested_rows(denoiser.known_columns, requested, count)
    return as_classes(rows) if denoiser.label_names else rows


def evaluated(model: nn.Module, draws: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Calls the functions one after the other, without gradients and with the model in evaluation mode.

    Afterwards, also after an error, every module is in its previous mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for draw in draws:
            with torch.no_grad():
                result = draw()
            yield result
    finally:
        for module, was_training in modes:
            module.training = was_training
