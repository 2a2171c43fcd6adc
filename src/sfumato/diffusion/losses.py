"""Training losses: the weighted squared error of the network's output, its weights, label dropout, custom losses."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.diffusion.denoiser import PreconditionedDenoiser, Preconditioning
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import ConfigError
from sfumato.utils.imports import NamedCode
from sfumato.utils.registry import Registry
from sfumato.utils.shapes import AugmentationLabels, Images, Labels, Times, unlabelled

Level = Float[Tensor, "..."]
"""() or (n,), with the dtype of the images."""


class Weight(ABC):
    """Loss weighting: weight of the squared error of the network's output F by noise level."""

    @abstractmethod
    def __call__(self, schedule: Schedule, t: Times, coefficients: Preconditioning) -> Times:
        """The weight at times () or (n,), with the coefficients of the parametrization at these times."""


@dataclass(frozen=True)
class Simple(Weight):
    """Constant weight 1: the simple loss of DDPM (eq. 14), flow matching and EDM (eq. 8, lambda(sigma) c_out^2 = 1)."""

    def __call__(self, schedule: Schedule, t: Times, coefficients: Preconditioning) -> Times:
        """1 at every time."""
        return torch.ones_like(t)


class DataWeight(Weight):
    """A weight of the squared error of x0_hat, whose error is c_out times that of F.

    Its effect does not depend on the parametrization. For a variance-preserving schedule, the weight of F is that of
    x0_hat divided by the SNR if F predicts the noise, and by SNR + 1 if F predicts the velocity.
    """

    def __call__(self, schedule: Schedule, t: Times, coefficients: Preconditioning) -> Times:
        """The weight of x0_hat times c_out^2."""
        return self.of_data(schedule, t) * coefficients.out**2

    @abstractmethod
    def of_data(self, schedule: Schedule, t: Times) -> Times:
        """Weight of |x0_hat - x_0|^2."""


@dataclass(frozen=True)
class SNR(DataWeight):
    """Signal-to-noise ratio: the squared error of the noise, for any parametrization."""

    def of_data(self, schedule: Schedule, t: Times) -> Times:
        """alpha^2 / sigma^2."""
        return schedule.logsnr(t).exp()


@dataclass(frozen=True)
class MinSNR(DataWeight):
    """The SNR clamped to a maximum, which limits the weight of low noise levels. arXiv 2303.09556, section 3.4.

    Args:
        gamma: maximum.

    Raises:
        ConfigError: a limit that is not positive.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        _check_limit(self.gamma)

    def of_data(self, schedule: Schedule, t: Times) -> Times:
        """min(SNR, gamma)."""
        return schedule.logsnr(t).exp().clamp(max=self.gamma)


@dataclass(frozen=True)
class SoftMinSNR(DataWeight):
    """Smooth min-SNR: 1 / (1 / SNR + 1 / gamma). Hourglass diffusion transformers (arXiv 2401.11605).

    Args:
        gamma: limit for high SNR.

    Raises:
        ConfigError: a limit that is not positive.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        _check_limit(self.gamma)

    def of_data(self, schedule: Schedule, t: Times) -> Times:
        """SNR gamma / (SNR + gamma)."""
        return self.gamma * torch.sigmoid(schedule.logsnr(t) - math.log(self.gamma))


def _check_limit(gamma: float) -> None:
    if not 0 < gamma < math.inf:
        raise ConfigError(f"gamma {gamma} is out of range", "Choose a finite number above 0, such as 5.")


@dataclass(frozen=True)
class ELBO(DataWeight):
    """Evidence lower bound (ELBO) per unit of t in nats, for likelihoods. VDM (arXiv 2107.00630), eq. 16."""

    def of_data(self, schedule: Schedule, t: Times) -> Times:
        """-1/2 dSNR/dt = -1/2 SNR dlogSNR/dt; 0 at zero SNR."""
        snr = schedule.logsnr(t).exp()
        return torch.where(snr > 0, -snr * schedule.logsnr_slope(t) / 2, 0.0)


@dataclass(frozen=True)
class SigmoidELBO(DataWeight):
    """The ELBO times sigmoid(bias - logSNR), which lowers the weight of low noise levels. arXiv 2303.00848, 2410.19324.

    Args:
        bias: log-SNR at which the factor is 1/2; lower for larger images.

    Raises:
        ConfigError: a bias that is not finite.
    """

    bias: float = 2.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.bias):
            raise ConfigError(
                f"the bias {self.bias} of the sigmoid weight is not finite", "Choose a number such as -3 to 2."
            )

    def of_data(self, schedule: Schedule, t: Times) -> Times:
        """ELBO weight times sigmoid(bias - logSNR)."""
        return ELBO().of_data(schedule, t) * torch.sigmoid(self.bias - schedule.logsnr(t))


WEIGHTS: Registry[Weight] = Registry(
    "loss weight",
    ConfigError,
    {
        "simple": Simple(),
        "snr": SNR(),
        "min-snr": MinSNR(),
        "soft-min-snr": SoftMinSNR(),
        "elbo": ELBO(),
        "sigmoid": SigmoidELBO(),
    },
)


def drop_labels(labels: Labels, probability: float) -> Labels:
    """Label dropout: removes all labels of an image with this probability. Uses torch's CPU generator.

    Classifier-free guidance (arXiv 2207.12598), Algorithm 1.
    """
    dropped = torch.rand(len(labels)) < probability
    each = dropped.to(labels.device).reshape(-1, *[1] * (labels.ndim - 1))
    return torch.where(each, unlabelled(labels), labels)


class NoiseLevels(NamedTuple):
    """Coefficients of the loss at the times of a batch; each () or (n,).

    Attributes:
        alpha: amplitude of the signal in x_t = alpha x_0 + sigma noise.
        sigma: amplitude of the noise in x_t.
        input: c_in, which scales x_t for the network.
        noise: c_noise, the time input of the network.
        of_data: coefficient of x_0 in the training target.
        of_noise: coefficient of the noise in the training target.
        weight: weight of the squared error.
    """

    alpha: Level
    sigma: Level
    input: Level
    noise: Level
    of_data: Level
    of_noise: Level
    weight: Level


def noise_levels(
    denoiser: PreconditionedDenoiser, t: Times, images: Images, weight: Weight = WEIGHTS["simple"]
) -> NoiseLevels:
    """The noise levels at times () or (n,), with the dtype and device of `images`; copied in one transfer."""
    schedule = denoiser.schedule
    coefficients = denoiser.parametrization(schedule, t)
    inputs = (coefficients.input, coefficients.noise)
    weights = weight(schedule, t, coefficients)
    rows = torch.stack([schedule.alpha(t), schedule.sigma(t), *inputs, *denoiser.target_factors(t), weights])
    return NoiseLevels(*rows.to(images.dtype).to(images.device, non_blocking=True))


def weighted_loss(
    denoiser: PreconditionedDenoiser,
    x_0: Images,
    levels: NoiseLevels,
    noise: Images,
    labels: Labels | None = None,
    augmentation: AugmentationLabels | None = None,
) -> Float[Tensor, " n"]:
    """Weighted mean squared error of the network's output at x_t; one value per image, float32.

    DDPM eq. 14 if the network predicts the noise and the weight is 1. Does not wait for the device.
    """
    alpha, sigma, scale, _, of_data, of_noise, _ = (level.reshape(-1, 1, 1, 1) for level in levels)
    times = levels.noise.float().expand(len(x_0))
    further = () if augmentation is None else (augmentation,)
    output: Images = denoiser.network(scale * (alpha * x_0 + sigma * noise), times, labels, *further)
    error = output.to(x_0.dtype) - (of_data * x_0 + of_noise * noise)
    return levels.weight.float() * error.float().square().mean(dim=(1, 2, 3))


def squared_error(
    denoiser: PreconditionedDenoiser,
    x_0: Images,
    t: Times,
    noise: Images,
    labels: Labels | None = None,
    augmentation: AugmentationLabels | None = None,
) -> Float[Tensor, " n"]:
    """Mean squared error of the network's output at x_t; one value per image, float32. DDPM eq. 14 for the noise."""
    return weighted_loss(denoiser, x_0, noise_levels(denoiser, t, x_0), noise, labels, augmentation)


Loss = Callable[[PreconditionedDenoiser, Images, Times, Images, Labels | None], Float[Tensor, " n"]]
"""A training loss: (denoiser, images x_0, times (n,) in [0, 1], noise, labels) -> (n,) one value per image.

An example is `squared_error`. On a CUDA device it is captured in a graph: it must not wait for the device (`.item()`).
"""

CUSTOM_LOSSES = NamedCode("loss", "--loss")
"""Losses from outside the package that were registered in this process."""


def times_for_loss(t: Times, images: Images) -> Times:
    """Times for a custom loss: on the device of the images if that is a GPU; not all other devices have float64."""
    return t.to(images.device) if images.is_cuda else t
