"""Explanatory pictures: the forward and the reverse process, the noise schedule, and the loss."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser
from sfumato.diffusion.schedules import LinearBeta, Schedule
from sfumato.reports.curves import loss_panels, time_title
from sfumato.sampling.sampler import ImageNoise, initial_state, resolve_labels, sampler_config, trajectory
from sfumato.sampling.solvers import DDPM
from sfumato.sampling.timesteps import Uniform
from sfumato.training.measurements import read_metrics
from sfumato.utils import pictures
from sfumato.utils.depth import Depth
from sfumato.utils.pictures import Panel
from sfumato.utils.shapes import Images

STRIP_COLUMNS = 9
"""Number of times in a strip."""

AMPLITUDES = {
    True: (
        "$\\bar\\alpha_t$, share of the variance",
        "$\\sqrt{\\bar\\alpha_t}$, signal",
        "$\\sqrt{1-\\bar\\alpha_t}$, noise",
    ),
    False: ("$\\alpha_t^2$, power of the signal", "$\\alpha_t$, signal", "$\\sigma_t$, noise"),
}
"""Names of the amplitudes; those of DDPM if the schedule has timesteps."""

DATA_SCHEDULE = LinearBeta()
"""Noise schedule for images without a model: that of DDPM."""

MOST_NUMBERS = 2**21
"""Maximum number of pixel values of the analytic denoiser. Each step reads them twice, limited by memory bandwidth."""

EXACT_IMAGES = (16, 2000)
"""Minimum and maximum number of images of the analytic denoiser."""


def explain_run(
    model: PreconditionedDenoiser,
    run: Path,
    images: ImageSet | None,
    out: Path,
    on_step: Callable[[int], None] = lambda _: None,
) -> list[Path]:
    """Writes the four pictures of a trained model.

    Args:
        model: Model of the run.
        run: Run directory, for the loss curve.
        images: Training images; None: samples of the model are shown instead.
        out: Output folder.
        on_step: Called after each sampling step with the number of images that took it.

    Returns:
        Paths of the pictures.

    Raises:
        RunError: The pictures could not be written, or the measurements could not be read.
    """
    states = reverse_process(model, count=2, on_step=on_step)
    shown = states[-1][1] if images is None else images.select(torch.arange(2)).floats()
    written = [*_explain(model, states, shown, "the model", out, model.depth)]
    measurements = read_metrics(run)
    if any(m["kind"] == "train" for m in measurements):
        pictures.plot(loss_panels(measurements, model.schedule), out / "loss.png")
        written.append(out / "loss.png")
    return written


def explain_data(images: ImageSet, out: Path, on_step: Callable[[int], None] = lambda _: None) -> list[Path]:
    """Writes three pictures of DDPM on images, with their analytic denoiser instead of a network.

    The analytic denoiser uses `exact_count` images, evenly spaced over all. Other arguments, the result and the errors
    are those of `explain_run`.
    """
    few = images.select(torch.linspace(0, len(images) - 1, exact_count(len(images), images.image_shape)).round().long())
    model = analytic.images(DATA_SCHEDULE, few.floats())
    states = reverse_process(model, count=2, on_step=on_step)
    return _explain(model, states, few.floats()[:2], "exact", out, images.depth)


def exact_count(count: int, image_shape: tuple[int, int, int]) -> int:
    """Number of images of the analytic denoiser, such that its 1,000 steps take a few seconds."""
    least, most = EXACT_IMAGES
    return min(count, max(least, min(most, MOST_NUMBERS // math.prod(image_shape))))


def _explain(
    model: Denoiser, states: list[tuple[float, Images, Images]], shown: Images, name: str, out: Path, depth: Depth
) -> list[Path]:
    files = [out / "forward.png", out / "reverse.png", out / "schedule.png"]
    times = [time_title(model.schedule, t) for t in torch.linspace(0, 1, STRIP_COLUMNS).tolist()]
    forward = [depth.viewable(row) for row in forward_process(model.schedule, shown)]
    pictures.strip(forward, ["$x_t$"] * len(shown), times, files[0])
    rows, titles = [], []
    for index in range(len(states[0][1])):
        rows += [torch.stack([x_t[index] for _, x_t, _ in states]), torch.stack([x[index] for *_, x in states])]
        titles += ["$x_t$", f"$\\hat{{x}}_0$, {name}"]
    reverse_times = [time_title(model.schedule, t) for t, _, _ in states]
    pictures.strip([depth.viewable(row) for row in rows], titles, reverse_times, files[1])
    pictures.plot(schedule_panels(model.schedule), files[2])
    return files


def steps_of(schedule: Schedule) -> int:
    """Number of timesteps of a schedule; 1,000, as in DDPM, if it is continuous."""
    return schedule.timesteps or 1000


def forward_process(schedule: Schedule, images: Images) -> list[Tensor]:
    """Each image at `STRIP_COLUMNS` times from 0 to T with the same noise, (columns, C, H, W) each (DDPM, eq. 4)."""
    times = torch.linspace(0, 1, STRIP_COLUMNS, dtype=torch.float64)
    channels, height, width = images.shape[1:]
    noise = ImageNoise(0, range(len(images)), (channels, height, width))()
    return [
        schedule.marginal(image.expand(STRIP_COLUMNS, -1, -1, -1), times).sample(one.expand(STRIP_COLUMNS, -1, -1, -1))
        for image, one in zip(images, noise, strict=True)
    ]


@torch.no_grad()
def reverse_process(
    model: Denoiser, count: int, on_step: Callable[[int], None] = lambda _: None
) -> list[tuple[float, Images, Images]]:
    """(t, x_t, x0_hat) at `STRIP_COLUMNS` times of DDPM sampling (Algorithm 2), from t = 1 to 0; classes alternate."""
    steps = steps_of(model.schedule)
    sampler = sampler_config(model.schedule, solver=DDPM(), time_grid=Uniform(), steps=steps)
    resolved, x, noise = initial_state(model, range(count), resolve_labels(model, model.label_names, count), 0, sampler)
    shown = {round(step) for step in torch.linspace(0, steps, STRIP_COLUMNS).tolist()}
    path = trajectory(resolved, x, sampler.timesteps, sampler.solver, noise)
    states = []
    for index, state in enumerate(path):
        on_step(count if index else 0)
        if index in shown:
            states.append((state.t.item(), state.x_t.cpu(), state.x0_hat.cpu()))
    return states


def schedule_panels(schedule: Schedule) -> list[Panel]:
    """Panels of beta (only with timesteps), the amplitudes, and the signal-to-noise ratio over time."""
    steps = steps_of(schedule)
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    snr = (alpha / sigma) ** 2
    x = t.tolist() if schedule.timesteps is None else torch.arange(1, steps + 1).tolist()
    curves = zip(AMPLITUDES[schedule.timesteps is not None], (alpha**2, alpha, sigma), strict=True)
    amplitudes = Panel("signal and noise at t", "t", {name: (x, curve.tolist()) for name, curve in curves})
    strength = Panel("signal-to-noise ratio", "t", {"SNR": (x, snr.clamp(min=1e-6).tolist())}, log_y=True)
    if schedule.timesteps is None:
        return [amplitudes, strength]
    before = schedule.alpha(t - 1 / steps)
    beta = Panel("noise added by step t: $\\beta_t$", "t", {"beta": (x, (1 - (alpha / before) ** 2).tolist())})
    return [beta, amplitudes, strength]
