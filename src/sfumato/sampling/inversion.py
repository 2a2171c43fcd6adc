"""Images as the noise they come from: encoding, decoding, and the images between two.

The probability-flow ODE ties each image to one noise (DDIM, arXiv 2010.02502, sections 4.3 and 5.4). A latent is that
noise, x_1 / sigma_1: of the kind that `sampling.ImageNoise` draws.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import Labelled
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import SamplingError
from sfumato.sampling.sampler import (
    Conditions,
    SamplerConfig,
    device_of,
    evaluated,
    resolve_labels,
    sampler_config,
    trajectory,
)
from sfumato.sampling.solvers import SOLVERS, Solver, UniPC, check_deterministic
from sfumato.sampling.solvers.multistep import Multistep
from sfumato.sampling.sphere import path
from sfumato.utils.shapes import Images, Times, over

LOOKS = 4
"""Rounds of the search for the x_t whose estimate is a given image."""


def inversion_config(schedule: Schedule) -> SamplerConfig:
    """How images are encoded and decoded if nothing else is said: Heun's rule in 50 steps, without clipping.

    A network trained on the digits gives them back so to a tenth of a grey level, since the errors of Heun's way up
    mostly cancel on its way down. The adaptive solver is closer where a denoiser is exact and smooth, but the network
    costs it four times the evaluations to come back less closely, and ties the images of a batch to each other.
    """
    return sampler_config(schedule, solver="heun", time_grid="logsnr", steps=50, clip="none")


def encode(
    denoiser: Denoiser,
    images: Images,
    *,
    labels: Conditions | None = None,
    sampler: SamplerConfig | None = None,
    batch: int = 64,
) -> Images:
    """The latents of images: `decode` gives the images again, as nearly as the route's solver follows the ODE.

    Images unlike all that the model knows return less closely, since next to no noise leads to them.

    A sampler does not follow the ODE to t = 0, where no noise is left to see: it ends with a look, and its images are
    the estimates x0_hat at the earliest time. Encoding begins by undoing that look: it finds the x_t whose estimate is
    the image, and follows the ODE up from there. To begin with alpha x_0 instead, x_t's mean, would make an error of
    the order of sigma^2 over the data's variance on the way there and back, and latents that are a little too weak.

    Args:
        denoiser: the model, possibly guided.
        images: (n, C, H, W) in [-1, 1], of the dtype of the model's weights.
        labels: as for `sample`: a class name for all images, or several that take turns, or values of columns; None:
            of no class in particular.
        sampler: followed backwards; None: `inversion_config`. Where its last stop above 0 is later than the schedule's
            earliest time, it stops there too.
        batch: images at a time.

    Returns:
        (n, C, H, W) of the dtype of the images, on the CPU.

    Raises:
        SamplingError: images out of range, or of another shape than the model's; a solver that draws noise, or that
            cannot go up to a stop without any signal; no images, or a batch below 1.
        LabelError: labels that the model does not know.
    """
    if not ((images >= -1) & (images <= 1)).all():
        raise SamplingError(
            f"images with values from {images.min():.4g} to {images.max():.4g} cannot be encoded",
            "Scale them to [-1, 1].",
        )
    sampler = _retraceable(denoiser.schedule, sampler)
    rising = sampler.timesteps[:-1].flip(0)
    _check_invertible(denoiser.schedule, rising[-1], sampler.solver)

    def up(model: Denoiser, these: Images) -> Images:
        x = _seen_as(model, these, rising[0])
        return _followed(model, x, rising, sampler.solver) / model.schedule.sigma(rising[-1]).item()

    return _in_batches(denoiser, images, labels, sampler, batch, up)


def decode(
    denoiser: Denoiser,
    latents: Images,
    *,
    labels: Conditions | None = None,
    sampler: SamplerConfig | None = None,
    batch: int = 64,
) -> Images:
    """The images of latents. Those of `sampling.ImageNoise` give what `sample` draws along the same route.

    Args:
        denoiser: the model, possibly guided.
        latents: (n, C, H, W), of the dtype of the model's weights.
        labels: as for `sample`: a class name for all images, or several that take turns, or values of columns; None:
            of no class in particular.
        sampler: the way from noise to images; None: `inversion_config`. As for `encode`, it stops at the earliest time.
        batch: images at a time.

    Returns:
        (n, C, H, W) in [-1, 1] of the dtype of the latents, on the CPU.

    Raises:
        SamplingError: latents of another shape than the model's images; a solver that draws noise; no latents, or a
            batch below 1.
        LabelError: labels that the model does not know.
    """
    sampler = _retraceable(denoiser.schedule, sampler)

    def down(model: Denoiser, these: Images) -> Images:
        x = model.schedule.sigma(sampler.timesteps[0]).item() * these
        return _followed(model, x, sampler.timesteps, sampler.solver).clamp(-1, 1)

    return _in_batches(denoiser, latents, labels, sampler, batch, down)


def interpolate(
    denoiser: Denoiser,
    latents: Images,
    frames: int,
    *,
    labels: Conditions | None = None,
    sampler: SamplerConfig | None = None,
    batch: int = 64,
) -> Float[Tensor, "f c h w"]:
    """The images on the way from each latent to the next: `path`, decoded.

    Args:
        denoiser: the model, possibly guided.
        latents: (k, C, H, W), two or more, from `encode` or `sampling.ImageNoise`.
        frames: images from one latent to the next, both included.
        labels: as for `sample`, of all frames.
        sampler: the way from noise to images; None: `inversion_config`.
        batch: images at a time.

    Returns:
        ((k - 1) (frames - 1) + 1, C, H, W) in [-1, 1] of the dtype of the latents, on the CPU.

    Raises:
        SamplingError: fewer than two latents or frames; what `decode` refuses.
        LabelError: labels that the model does not know.
    """
    return decode(denoiser, path(latents, frames), labels=labels, sampler=sampler, batch=batch)


def _retraceable(schedule: Schedule, sampler: SamplerConfig | None) -> SamplerConfig:
    """The route, or `inversion_config`, if its solver draws no noise; with a stop at the earliest time."""
    if sampler is None:
        sampler = inversion_config(schedule)
    check_deterministic(sampler.solver)
    if sampler.timesteps[-2] <= schedule.earliest * (1 + 1e-6):
        return sampler
    timesteps = torch.cat([sampler.timesteps[:-1], sampler.timesteps.new_tensor([schedule.earliest, 0])])
    return SamplerConfig(sampler.solver, timesteps, sampler.clip)


def _check_invertible(schedule: Schedule, last: Times, solver: Solver) -> None:
    """Raises `SamplingError` if the last stop has no signal and the solver is written in the log-SNR."""
    if schedule.alpha(last) == 0 and isinstance(solver, Multistep | UniPC):
        able = [name for name, one in SOLVERS.items() if one.deterministic and not isinstance(one, Multistep | UniPC)]
        raise SamplingError(
            f"{solver} cannot encode up to the end of this schedule, where no signal is left",
            f"Choose among: {', '.join(able)}.",
        )


def _seen_as(denoiser: Denoiser, images: Images, t: Times) -> Images:
    """The x_t whose estimate is `images`, by fixed-point iteration.

    Each round leaves, of the error before it, the share that the denoiser takes away of what does not belong to an
    image: for a Gaussian, sigma^2 / (alpha^2 variance + sigma^2).
    """
    alpha = over(denoiser.schedule.alpha(t), images)
    x_t = alpha * images
    for _ in range(LOOKS):
        x_t = x_t + alpha * (images - denoiser(x_t, t))
    return x_t


def _followed(denoiser: Denoiser, x: Images, timesteps: Times, solver: Solver) -> Images:
    """Where a trajectory ends."""
    for moment in trajectory(denoiser, x, timesteps, solver, _no_noise):
        x = moment.x_t
    return x


def _no_noise() -> Images:
    raise SamplingError("the solver drew noise, although it says that it is deterministic", "Choose another.")


def _in_batches(
    denoiser: Denoiser,
    given: Images,
    labels: Conditions | None,
    sampler: SamplerConfig,
    batch: int,
    carry: Callable[[Denoiser, Images], Images],
) -> Images:
    """`carry`, done a batch at a time on the denoiser's device, with labels settled and estimates clipped."""
    if given.shape[1:] != denoiser.image_shape:
        raise SamplingError(
            f"images or latents of shape {tuple(given.shape[1:])} were given to a model of {denoiser.image_shape}",
            "Give (n, C, H, W) with the model's C, H and W.",
        )
    wanted = resolve_labels(denoiser, labels, len(given))
    if batch < 1:
        raise SamplingError(f"batches of {batch} images were asked", "Choose a batch of at least 1.")
    device = device_of(denoiser)

    def draw(start: int) -> Images:
        these = slice(start, start + batch)
        settled = sampler.clip(Labelled(denoiser, None if wanted is None else wanted[these].to(device)))
        return carry(settled, given[these].to(device)).cpu()

    return torch.cat(list(evaluated(denoiser, (partial(draw, start) for start in range(0, len(given), batch)))))
