"""The density of the probability-flow ODE, by the instantaneous change of variables.

Papers: Score SDE (arXiv 2011.13456), section 4.3 and appendix D.2; FFJORD (1810.01367), whose estimator of the
divergence is Hutchinson's.

Along dz/da = f(z), log p(z) changes by -div f. So log p at the data is log p at the noise plus the integral of div f.
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
from sfumato.likelihood.pixels import BITS_OF_BIN, check_depth, dequantized
from sfumato.sampling.ode import check_tolerances, integrate
from sfumato.sampling.sampler import ImageNoise
from sfumato.sampling.solvers.adaptive import angle, flow
from sfumato.utils.shapes import Images, Labels

State = Float[Tensor, "n 2 c h w"]
"""The images z, and what each of their pixels has gained for the log density."""


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
    """The log density, in nats, of real-valued images under the model.

    The path ends at the schedule's `earliest` time, beyond which no network was trained. So the density is that of
    x_0 plus noise of the standard deviation sigma / alpha there (0.01 for "linear", 0.002 for "edm"), which is a
    density too, and on average below the data's own by an amount of the order of the noise's variance squared.

    Args:
        denoiser: the model, not guided.
        images: (n, C, H, W) in the scale of the data, float32 or float64, in which all is computed.
        labels: (n,) classes or (n, k) rows of the images; None: of no class in particular.
        probes: how many random directions estimate the divergence. The estimate of the log density is unbiased with
            any number; more cost more backward passes, and lower its variance.
        tolerance: relative and absolute, in a step and for each pixel, of the integrator. The images of a batch share
            their steps, so within the tolerance they depend on each other.
        seed: the directions of image i are a function of (seed, i) alone, and the same all along its path.
        batch: images at a time.
        on_batch: told after every batch how many images it had.

    Raises:
        ConfigError: fewer than 1 probe, a batch below 1, or labels that are not one an image.
        DataError: images of another shape than the model's.
        SamplingError: a tolerance that is not positive, or cannot be met.
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
    """Bits per dimension of 8-bit images, by uniform dequantisation: at least -log2 of their probability, on average.

    Each image is moved to a random place in its bin, as wide as the levels are apart and centred on them, and has there
    the density of `log_density`, whose arguments and errors these are.

    Args:
        denoiser: the model, not guided.
        images: (n, C, H, W) in [-1, 1], of the 256 levels of 8-bit images.
        labels: (n,) classes or (n, k) rows of the images; None: of no class in particular.
        probes: how many random directions estimate the divergence.
        tolerance: of the integrator.
        seed: place and directions of image i are functions of (seed, i) alone.
        batch: images at a time.
        on_batch: told after every batch how many images it had.

    Raises:
        DataError: also images that are not of 256 levels.
    """
    check_depth(images)
    nats = _densities(_moved, denoiser, images, labels, probes, tolerance, seed, batch, on_batch)
    return BITS_OF_BIN - nats / (images[0].numel() * math.log(2))


def _moved(x_0: Images, noise: ImageNoise) -> Images:
    return dequantized(x_0, noise())


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
    """The log density where `place` puts each image; what it draws is independent of the directions drawn after it."""
    if probes < 1:
        raise ConfigError(f"{probes} probes of the divergence were asked", "Choose at least 1.")
    check_tolerances(tolerance, tolerance)

    def measure(settled: Denoiser, x_0: Images, noise: ImageNoise) -> Float64[Tensor, " n"]:
        x = place(x_0, noise)
        found = _along_the_flow(settled, x, [_direction(noise, x) for _ in range(probes)], tolerance)
        if on_batch is not None:
            on_batch(len(x))
        return found

    return measured(measure, denoiser, images, labels, seed, batch)


def _direction(noise: ImageNoise, x: Images) -> Images:
    """1 or -1 in each pixel, equally likely (Rademacher), of the dtype of x."""
    return torch.where(noise() < 0, -1.0, 1.0).to(x.dtype)


def _along_the_flow(
    denoiser: Denoiser, x_0: Images, directions: Sequence[Images], tolerance: float
) -> Float64[Tensor, " n"]:
    """Log density of x_0: that of its noise, and what the path to it gains.

    At the angle a, z = cos(a) x_0 + sin(a) noise; x_0 is put at cos(a) x_0 of the earliest angle, and volume with it.
    """
    schedule = denoiser.schedule
    earliest, last = (angle(schedule, torch.tensor(t, dtype=torch.float64)) for t in (schedule.earliest, 1.0))
    start = torch.stack([math.cos(earliest) * x_0, torch.zeros_like(x_0)], 1)
    end = integrate(_with_gain(denoiser, directions), start, earliest, last, rtol=tolerance, atol=tolerance)
    z, gain = end.cpu().double().unbind(1)
    prior = Gaussian(torch.zeros_like(z), torch.tensor(math.sin(last) ** 2, dtype=torch.float64))
    return (prior.log_density(z) + gain + math.log(math.cos(earliest))).flatten(1).sum(1)


def _with_gain(denoiser: Denoiser, directions: Sequence[Images]) -> Callable[[float, State], State]:
    """dz/da, and the divergence of it, pixel by pixel: the mean over directions e of e * (e^T df/dz).

    Its sum over the pixels is Hutchinson's e^T (df/dz) e. It is kept apart by pixels so that the integrator weighs its
    error as it does that of the images.
    """

    def field(a: float, state: State) -> State:
        z = state[:, 0].detach().requires_grad_()
        with torch.enable_grad():
            slope = flow(denoiser, a, z)
            gains = [e * torch.autograd.grad(slope, z, e, retain_graph=True)[0] for e in directions]
        return torch.stack([slope.detach(), torch.stack(gains).mean(0)], 1)

    return field
