"""Likelihood by the probability-flow ODE and the instantaneous change of variables.

Papers: Score SDE (arXiv 2011.13456), section 4.3 and appendix D.2; FFJORD (1810.01367), with Hutchinson's estimator of
the divergence.

Along dz/da = f(z), log p(z) changes by -div f: log p of the data is log p of the noise plus the integral of div f.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.gaussian import Gaussian
from sfumato.errors import ConfigError
from sfumato.likelihood.batches import measured
from sfumato.likelihood.discrete_pixels import BITS_OF_BIN, check_depth, dequantized
from sfumato.sampling.ode import check_tolerances, integrate
from sfumato.sampling.sampler import ImageNoise
from sfumato.sampling.solvers.adaptive import angle, flow
from sfumato.utils.shapes import Images, Labels

ImagesAndGain = Float[Tensor, "n 2 c h w"]
"""Images z, and the change of the log density by pixel."""


def log_density(
    denoiser: Denoiser,
    images: Images,
    *,
    labels: Labels | None = None,
    probes: int = 1,
    tolerance: float = 1e-5,
    seed: int = 0,
    batch: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> Float64[Tensor, " n"]:
    """Log density of real-valued images under the model, in nats.

    The integration ends at the schedule's `earliest` time. The result is therefore the log density of x_0 plus noise
    with standard deviation sigma / alpha at this time (0.01 for "linear", 0.002 for "edm"). On average it is below that
    of the data, by an amount of the order of the squared variance of the noise.

    Args:
        denoiser: model without guidance.
        images: (n, C, H, W) in the scale of the data, float32 or float64; computed in this dtype.
        labels: (n,) class indices or (n, k) rows of conditions of the images; None: unconditional.
        probes: number of random directions of the divergence estimator. The estimate of the log density is unbiased for
            any number; each further one costs a backward pass per evaluation and lowers the variance.
        tolerance: relative and absolute tolerance per step and pixel. The images of a batch share their steps, so that
            within the tolerance results depend on the batch.
        seed: random seed; the directions of image i depend only on (seed, i), and are constant along the path.
        batch: batch size.
        on_batch: called after every batch with its size.

    Returns:
        (n,) float64 log densities.

    Raises:
        ConfigError: fewer than 1 probe, or a batch size below 1.
        LabelError: not one label per image, or labels that the model does not have.
        DataError: images with another shape than the model's.
        SamplingError: a tolerance that is not positive or cannot be reached.
    """
    return _densities(lambda x_0, _: x_0, denoiser, images, labels, probes, tolerance, seed, batch, on_batch)


def flow_likelihood(
    denoiser: Denoiser,
    images: Images,
    *,
    labels: Labels | None = None,
    probes: int = 1,
    tolerance: float = 1e-5,
    seed: int = 0,
    batch: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> Float64[Tensor, " n"]:
    """Bits per dimension of 8-bit images, by uniform dequantization: on average at least -log2 of their probability.

    Adds uniform noise of the width of a level to `images`, (n, C, H, W) in [-1, 1] with the 256 values of 8-bit images,
    and computes the `log_density`, whose other arguments and errors it has. The noise of image i depends only on
    (seed, i).

    Returns:
        (n,) float64 bits per dimension.

    Raises:
        DataError: images with other than the 256 values, or as for `log_density`.
    """
    check_depth(images)
    nats = _densities(
        lambda x_0, noise: dequantized(x_0, noise()), denoiser, images, labels, probes, tolerance, seed, batch, on_batch
    )
    return BITS_OF_BIN - nats / (images[0].numel() * math.log(2))


def _densities(
    place: Callable[[Images, ImageNoise], Images],
    denoiser: Denoiser,
    images: Images,
    labels: Labels | None,
    probes: int,
    tolerance: float,
    seed: int,
    batch: int,
    on_batch: Callable[[int], None] | None,
) -> Float64[Tensor, " n"]:
    """Log density of the images after `place`, whose random numbers are independent of the directions."""
    if probes < 1:
        raise ConfigError(f"the number of probes is {probes}", "Choose at least 1.")
    check_tolerances(tolerance, tolerance)

    def measure(labelled: Denoiser, x_0: Images, noise: ImageNoise) -> Float64[Tensor, " n"]:
        x = place(x_0, noise)
        # Rademacher: 1 or -1 in each pixel with equal probability.
        directions = [torch.where(noise() < 0, -1.0, 1.0).to(x.dtype) for _ in range(probes)]
        densities = _along_the_flow(labelled, x, directions, tolerance)
        if on_batch is not None:
            on_batch(len(x))
        return densities

    return measured(measure, denoiser, images, labels, seed, batch)


def _along_the_flow(
    denoiser: Denoiser, x_0: Images, directions: Sequence[Images], tolerance: float
) -> Float64[Tensor, " n"]:
    """Log density of x_0: that of the noise plus the change along the path.

    At the angle a, z = cos(a) x_0 + sin(a) noise. The path starts at cos(a) x_0 with the earliest angle a, and the
    density is corrected for this scale.
    """
    schedule = denoiser.schedule
    earliest, last = (angle(schedule, torch.tensor(t, dtype=torch.float64)) for t in (schedule.earliest, 1.0))
    start = torch.stack([math.cos(earliest) * x_0, torch.zeros_like(x_0)], 1)
    end = integrate(_with_gain(denoiser, directions), start, earliest, last, rtol=tolerance, atol=tolerance)
    z, gain = end.cpu().double().unbind(1)
    prior = Gaussian(torch.zeros_like(z), torch.tensor(math.sin(last) ** 2, dtype=torch.float64))
    return (prior.log_density(z) + gain + math.log(math.cos(earliest))).flatten(1).sum(1)


def _with_gain(denoiser: Denoiser, directions: Sequence[Images]) -> Callable[[float, ImagesAndGain], ImagesAndGain]:
    """dz/da and its divergence by pixel: the mean over directions e of e * (e^T df/dz).

    The sum over the pixels is Hutchinson's estimator e^T (df/dz) e. It is computed by pixel so that the integrator
    controls its error like that of the images.
    """

    def field(a: float, state: ImagesAndGain) -> ImagesAndGain:
        z = state[:, 0].detach().requires_grad_()
        with torch.enable_grad():
            slope = flow(denoiser, a, z)
            gains = [e * torch.autograd.grad(slope, z, e, retain_graph=True)[0] for e in directions]
        return torch.stack([slope.detach(), torch.stack(gains).mean(0)], 1)

    return field
