"""Inversion: encoding of images to noise, decoding, and interpolation.

The probability-flow ODE maps each image to one noise (DDIM, arXiv 2010.02502, sections 4.3 and 5.4). The latent of an
image is this noise, x_1 / sigma_1, which is distributed like `sampler.ImageNoise`.
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
    evaluated,
    resolve_labels,
    sampler_config,
    trajectory,
)
from sfumato.sampling.solvers import SOLVERS, Solver, UniPC, check_deterministic
from sfumato.sampling.solvers.multistep import Multistep
from sfumato.sampling.sphere import path
from sfumato.utils.shapes import Images, Times, over

FIXED_POINT_ITERATIONS = 4
"""Iterations of the search for the x_t whose estimate is a given image."""


def inversion_config(schedule: Schedule) -> SamplerConfig:
    """Default sampler configuration for encoding and decoding: Heun's method with 50 steps, without clipping.

    With a network trained on the digits, decoded latents differ from the images by a tenth of a grey level, since
    the errors of encoding and decoding mostly cancel. The adaptive solver is more precise for an exact, smooth
    denoiser, but for a network it needs four times the evaluations, is less precise, and its results depend on the
    batch.
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
    """Encodes images to latents, from which `decode` reconstructs the images up to the error of the solver.

    Images that differ from the training images are reconstructed less precisely.

    The last step of a sampler returns the estimate x0_hat at the earliest time. Encoding first inverts this step: it
    searches the x_t whose estimate is the image, and integrates the ODE from this x_t. If encoding started from the
    mean alpha x_0 of x_t, the error would be of the order of sigma^2 over the variance of the data, and the norm of
    the latents would be too small.

    Args:
        denoiser: model, with or without guidance.
        images: (n, C, H, W) in [-1, 1], with the dtype of the model's weights.
        labels: as for `sample`; None: unconditional.
        sampler: sampler configuration with a deterministic solver, whose timesteps are used in reverse order; None:
            `inversion_config`. The earliest time of the schedule is added to the timesteps if it is missing.
        batch: batch size.

    Returns:
        (n, C, H, W) latents with the dtype of the images, on the CPU.

    Raises:
        SamplingError: images outside [-1, 1] or of another shape than the model's; a stochastic solver, or a solver
            that cannot encode to a time with zero SNR; no images, or a batch size below 1.
        LabelError: labels that the model does not have.
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
        x = _invert_estimate(model, these, rising[0])
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
    """Decodes latents to images.

    With the noise of `sampler.ImageNoise` as latents, the results are the images of `sample` with the same sampler.

    Args:
        denoiser: model, with or without guidance.
        latents: (n, C, H, W), with the dtype of the model's weights.
        labels: as for `sample`; None: unconditional.
        sampler: sampler configuration with a deterministic solver; None: `inversion_config`. The earliest time of the
            schedule is added to its timesteps if it is missing.
        batch: batch size.

    Returns:
        (n, C, H, W) images in [-1, 1] with the dtype of the latents, on the CPU.

    Raises:
        SamplingError: latents of another shape than the model's images; a stochastic solver; no latents, or a batch
            size below 1.
        LabelError: labels that the model does not have.
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
    """Interpolates between consecutive latents on a sphere (`sphere.path`), and decodes the results.

    Args:
        denoiser: model, with or without guidance.
        latents: (k, C, H, W) with k >= 2, from `encode` or `sampler.ImageNoise`.
        frames: number of images from one latent to the next, both included; at least 2.
        labels: labels of the frames, as for `sample`; None: unconditional.
        sampler: sampler configuration with a deterministic solver; None: `inversion_config`.
        batch: batch size.

    Returns:
        ((k - 1) (frames - 1) + 1, C, H, W) images in [-1, 1] with the dtype of the latents, on the CPU.

    Raises:
        SamplingError: fewer than two latents or frames, too many images, or as for `decode`.
        LabelError: labels that the model does not have.
    """
    return decode(denoiser, path(latents, frames), labels=labels, sampler=sampler, batch=batch)


def _retraceable(schedule: Schedule, sampler: SamplerConfig | None) -> SamplerConfig:
    """A deterministic sampler configuration, by default `inversion_config`, with the earliest time added."""
    if sampler is None:
        sampler = inversion_config(schedule)
    check_deterministic(sampler.solver)
    if sampler.timesteps[-2] <= schedule.earliest * (1 + 1e-6):
        return sampler
    timesteps = torch.cat([sampler.timesteps[:-1], sampler.timesteps.new_tensor([schedule.earliest, 0])])
    return SamplerConfig(sampler.solver, timesteps, sampler.clip)


def _check_invertible(schedule: Schedule, last: Times, solver: Solver) -> None:
    """Raises `SamplingError` if the last time has zero SNR and the solver uses the log-SNR."""
    if schedule.alpha(last) == 0 and isinstance(solver, Multistep | UniPC):
        valid = [name for name, one in SOLVERS.items() if one.deterministic and not isinstance(one, Multistep | UniPC)]
        raise SamplingError(
            f"{solver} cannot encode with this schedule, which has zero SNR at the last timestep",
            f"Choose among: {', '.join(valid)}.",
        )


def _invert_estimate(denoiser: Denoiser, images: Images, t: Times) -> Images:
    """The x_t whose estimate is `images`, by fixed-point iteration.

    Each iteration multiplies the error by the factor by which the denoiser reduces noise: for a Gaussian,
    sigma^2 / (alpha^2 variance + sigma^2).
    """
    alpha = over(denoiser.schedule.alpha(t), images)
    x_t = alpha * images
    for _ in range(FIXED_POINT_ITERATIONS):
        x_t = x_t + alpha * (images - denoiser(x_t, t))
    return x_t


def _followed(denoiser: Denoiser, x: Images, timesteps: Times, solver: Solver) -> Images:
    """End of a trajectory."""

    def no_noise() -> Images:
        raise SamplingError("the solver declares itself deterministic but used noise", "Choose another solver.")

    for state in trajectory(denoiser, x, timesteps, solver, no_noise):
        x = state.x_t
    return x


def _in_batches(
    denoiser: Denoiser,
    given: Images,
    labels: Conditions | None,
    sampler: SamplerConfig,
    batch: int,
    carry: Callable[[Denoiser, Images], Images],
) -> Images:
    """Applies `carry` in batches on the denoiser's device, with fixed labels and clipping."""
    if given.shape[1:] != denoiser.image_shape:
        raise SamplingError(
            f"images or latents of shape {tuple(given.shape[1:])} were given to a model for {denoiser.image_shape}",
            "Give (n, C, H, W) with the model's C, H and W.",
        )
    wanted = resolve_labels(denoiser, labels, len(given))
    if batch < 1:
        raise SamplingError(f"the batch size is {batch}", "Choose at least 1.")
    device = denoiser.device

    def draw(start: int) -> Images:
        these = slice(start, start + batch)
        labelled = sampler.clip(Labelled(denoiser, None if wanted is None else wanted[these].to(device)))
        return carry(labelled, given[these].to(device)).cpu()

    return torch.cat(list(evaluated(denoiser, (partial(draw, start) for start in range(0, len(given), batch)))))
