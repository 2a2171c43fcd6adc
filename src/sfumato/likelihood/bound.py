"""DDPM's variational bound on the negative log-likelihood, over any time grid. DDPM (arXiv 2006.11239), eq. 5:

    KL(q(x_T | x_0) || p(x_T)) + sum over steps of KL(q(x_s | x_t, x_0) || p(x_s | x_t)) - log p(x_0 | x_t),

where the sum is over the steps from t to s that end before the data, and the last one, which ends there, is decoded.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import ConfigError
from sfumato.likelihood.batches import measured
from sfumato.likelihood.pixels import check_depth, log_probability
from sfumato.sampling.sampler import ImageNoise
from sfumato.sampling.timesteps import LogSNR, Timesteps, Uniform
from sfumato.utils.shapes import Images, Labels, Times

Variance = Literal["small", "large"]


@dataclass(frozen=True)
class VariationalBound:
    """The bound of each image and its parts, all in bits per dimension.

    Attributes:
        timesteps: the times of the grid, falling from t = 1 to 0.
        prior: KL(q(x_T | x_0) || p(x_T)), (n,).
        terms: (n, steps); column i is the step from stops[i] to stops[i + 1]. The last one is the decoder,
            -log p(x_0 | x_t), all others are KL(q(x_s | x_t, x_0) || p(x_s | x_t)).
    """

    timesteps: Timesteps
    prior: Float64[Tensor, " n"]
    terms: Float64[Tensor, "n steps"]

    @property
    def total(self) -> Float64[Tensor, " n"]:
        """The bound: at least -log2 p(x_0) per dimension, on average over the noise."""
        return self.prior + self.terms.sum(1)


def variational_bound(
    denoiser: Denoiser,
    images: Images,
    *,
    labels: Labels | None = None,
    timesteps: Timesteps | None = None,
    variance: Variance = "small",
    seed: int = 0,
    batch: int = 64,
    on_step: Callable[[int], None] | None = None,
) -> VariationalBound:
    """The bound of the model that `solvers.Ancestral(variance)` draws from along `timesteps`, ended by DDPM's decoder.

    Each step is measured at one x_t ~ q(x_t | x_0), so that a bound over N steps costs N evaluations an image.

    Args:
        denoiser: the model, not guided; wrap it in `guidance.Clipped` to measure what a sampler that clips draws from.
        images: (n, C, H, W) in [-1, 1], of the 256 levels of 8-bit images.
        labels: (n,) classes or (n, k) rows of the images; None: of no class in particular.
        timesteps: falling times that end at 0, as a grid of `grids` makes them; None: all steps of a discrete schedule,
            1000 strides in log-SNR for any other.
        variance: that of p(x_s | x_t), as in `solvers.Ancestral`.
        seed: the noise of image i is a function of (seed, i) alone, whatever the batch.
        batch: images at a time.
        on_step: told after every step how many images took it; for progress bars.

    Raises:
        ConfigError: an unknown variance, stops that are no grid of at least 2 steps, a batch below 1, or labels that
            are not one an image.
        DataError: images of another shape than the model's, or not of 256 levels.
    """
    if variance not in ("small", "large"):
        raise ConfigError(f"the variance {variance!r} is unknown", "Choose small or large.")
    timesteps = _default_times(denoiser.schedule) if timesteps is None else timesteps
    _check_grid(timesteps)
    check_depth(images)
    measure = partial(_nats, timesteps=timesteps, variance=variance, on_step=on_step or (lambda _: None))
    bits = measured(measure, denoiser, images, labels, seed, batch) / math.log(2)
    return VariationalBound(timesteps, bits[:, 0], bits[:, 1:])


def _nats(
    denoiser: Denoiser,
    x_0: Images,
    noise: ImageNoise,
    *,
    timesteps: Timesteps,
    variance: Variance,
    on_step: Callable[[int], None],
) -> Float64[Tensor, "n terms"]:
    """The prior, each step and the decoder, in nats per dimension."""
    schedule = denoiser.schedule
    terms = [_mean(x_0.square()) * schedule.logsnr(timesteps[0]).exp() / 2]
    for t, s in pairwise(timesteps):
        x0_hat: Images = denoiser(schedule.marginal(x_0, t).sample(noise().to(x_0.dtype)), t)
        if s > 0:
            terms.append(_step_divergence(schedule, t, s, variance, _mean((x_0 - x0_hat).square())))
        else:
            deviation = _decoder_deviation(schedule, t).item()
            terms.append(-_mean(log_probability(x_0.cpu().double(), x0_hat.cpu().double(), deviation)))
        on_step(len(x_0))
    return torch.stack(terms, 1)


def _step_divergence(
    schedule: Schedule, t: Times, s: Times, variance: Variance, error: Float64[Tensor, " n"]
) -> Float64[Tensor, " n"]:
    """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) per dimension, from the mean squared error of x0_hat.

    The means differ by alpha_s (1 - SNR_t / SNR_s) (x_0 - x0_hat), and q's variance is sigma_s^2 (1 - SNR_t / SNR_s),
    that of "small"; "large" has sigma_t^2 (1 - SNR_t / SNR_s). With the ratio r of q's variance to p's,

        KL = (r - 1 - log r + r (SNR_s - SNR_t) error) / 2,

    which for r = 1 is (SNR_s - SNR_t) error / 2, as in VDM (arXiv 2107.00630), eq. 13.
    """
    ratio = (schedule.sigma(s) / schedule.sigma(t)) ** 2 if variance == "large" else torch.ones_like(t)
    snr_fall = schedule.logsnr(s).exp() * schedule.snr_lost(s, t)
    return (ratio - 1 - ratio.log() + ratio * snr_fall * error) / 2


def _decoder_deviation(schedule: Schedule, t: Times) -> Times:
    """The standard deviation of p(x_0 | x_t) at the last step, which begins at t.

    The posterior's has none there, and DDPM's code takes that of the step before, whose length is the same: for a
    discrete schedule and all its steps, sqrt(beta_tilde_2).
    """
    return schedule.sigma(t) * schedule.snr_lost(t, (2 * t).clamp(max=1)).sqrt()


def _mean(values: Images) -> Float64[Tensor, " n"]:
    """Over each image. The cast comes after the move, since not every device knows float64."""
    return values.flatten(1).mean(1).cpu().double()


def _default_times(schedule: Schedule) -> Timesteps:
    return LogSNR()(schedule, 1000) if schedule.timesteps is None else Uniform()(schedule, schedule.timesteps)


def _check_grid(timesteps: Timesteps) -> None:
    """Raises `ConfigError` unless the stops fall, from at most 1 to 0, in at least 2 steps."""
    if not (len(timesteps) >= 3 and timesteps[0] <= 1 and timesteps[-1] == 0 and bool((timesteps.diff() < 0).all())):
        raise ConfigError(
            f"the {len(timesteps)} stops given are no way from noise to data",
            "Give falling times from 1 to 0 with at least 2 steps, such as grids.Uniform()(schedule, 100).",
        )
