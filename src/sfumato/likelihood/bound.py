"""DDPM's variational bound on the negative log-likelihood, for any timesteps. DDPM (arXiv 2006.11239), eq. 5:

    KL(q(x_T | x_0) || p(x_T)) + sum over steps of KL(q(x_s | x_t, x_0) || p(x_s | x_t)) - log p(x_0 | x_t),

with the sum over the steps from t to s > 0; the last step, to s = 0, is the decoder.
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
from sfumato.likelihood.discrete_pixels import check_depth, log_probability
from sfumato.sampling.sampler import ImageNoise
from sfumato.sampling.timesteps import LogSNR, Timesteps, Uniform
from sfumato.utils.shapes import Images, Labels, Times

Variance = Literal["small", "large"]


@dataclass(frozen=True)
class VariationalBound:
    """The variational bound of each image and its terms, in bits per dimension.

    Attributes:
        timesteps: (steps + 1,) decreasing times from 1 to 0.
        prior: (n,) KL(q(x_T | x_0) || p(x_T)).
        terms: (n, steps); column i is the step from timesteps[i] to timesteps[i + 1]:
            KL(q(x_s | x_t, x_0) || p(x_s | x_t)), and -log p(x_0 | x_t), the decoder, in the last column.
    """

    timesteps: Timesteps
    prior: Float64[Tensor, " n"]
    terms: Float64[Tensor, "n steps"]

    @property
    def total(self) -> Float64[Tensor, " n"]:
        """(n,) the bound: at least -log2 p(x_0) per dimension, on average over the noise."""
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
    """The variational bound of the sampler `solvers.DDPM(variance)` with these timesteps and DDPM's decoder.

    Each step is estimated with one x_t ~ q(x_t | x_0), so that N steps need N network evaluations per image.

    Args:
        denoiser: model without guidance; wrap it in `guidance.Clipped` for a sampler that clips.
        images: (n, C, H, W) in [-1, 1], with the 256 values of 8-bit images.
        labels: (n,) class indices or (n, k) rows of conditions of the images; None: unconditional.
        timesteps: decreasing times that end at 0, such as those of `timesteps.Uniform`; None: all timesteps of a
            discrete schedule, otherwise 1000 equal steps in log-SNR.
        variance: variance of p(x_s | x_t), as in `solvers.DDPM`.
        seed: random seed; the noise of image i depends only on (seed, i).
        batch: batch size.
        on_step: called after every step with the batch size; for progress bars.

    Raises:
        ConfigError: an unknown variance, invalid timesteps, or a batch size below 1.
        LabelError: not one label per image, or labels that the model does not have.
        DataError: images with another shape than the model's, or with other than the 256 values.
    """
    if variance not in ("small", "large"):
        raise ConfigError(f"the variance {variance!r} is unknown", "Choose small or large.")
    schedule = denoiser.schedule
    if timesteps is None:
        timesteps = LogSNR()(schedule, 1000) if schedule.timesteps is None else Uniform()(schedule, schedule.timesteps)
    if not (len(timesteps) >= 3 and timesteps[0] <= 1 and timesteps[-1] == 0 and bool((timesteps.diff() < 0).all())):
        raise ConfigError(
            f"the {len(timesteps)} timesteps do not decrease from noise to data",
            "Give decreasing times from 1 to 0 with at least 2 steps, such as "
            "sfumato.sampling.timesteps.Uniform()(schedule, 100).",
        )
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
    """(n, 1 + steps): the prior and all terms, in nats per dimension."""
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

    The difference of the means is alpha_s (1 - SNR_t / SNR_s) (x_0 - x0_hat). The variance of q, and of p for "small",
    is sigma_s^2 (1 - SNR_t / SNR_s); for "large", that of p is sigma_t^2 (1 - SNR_t / SNR_s). With the ratio r of the
    variance of q to that of p,

        KL = (r - 1 - log r + r (SNR_s - SNR_t) error) / 2,

    which is (SNR_s - SNR_t) error / 2 for r = 1: VDM (arXiv 2107.00630), eq. 13.
    """
    ratio = (schedule.sigma(s) / schedule.sigma(t)) ** 2 if variance == "large" else torch.ones_like(t)
    snr_fall = schedule.logsnr(s).exp() * schedule.snr_lost(s, t)
    return (ratio - 1 - ratio.log() + ratio * snr_fall * error) / 2


def _decoder_deviation(schedule: Schedule, t: Times) -> Times:
    """Standard deviation of p(x_0 | x_t) in the last step, which starts at t.

    The posterior variance is 0 there. DDPM's code uses that of the previous step, of the same length: for all timesteps
    of a discrete schedule, sqrt(beta_tilde_2).
    """
    return schedule.sigma(t) * schedule.snr_lost(t, (2 * t).clamp(max=1)).sqrt()


def _mean(values: Images) -> Float64[Tensor, " n"]:
    """Mean over each image; cast on the CPU, because not all devices support float64."""
    return values.flatten(1).mean(1).cpu().double()
