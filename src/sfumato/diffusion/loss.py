"""What training minimises: which times are drawn, how much each of them counts, and the loss.

Both the density of the times and the weight decide how much a noise level counts: no correction is made for the
density, as EDM (arXiv 2206.00364, section 5) makes none. A weight that is meant "per unit of t" (elbo, sigmoid) is the
paper's where times are uniform.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sfumato.diffusion.denoiser import PreconditionedDenoiser, Preconditioning
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import ConfigError
from sfumato.utils.registry import parse_part
from sfumato.utils.shapes import AugmentationLabels, Images, Labels, Times, unlabelled

Shares = Float64[Tensor, " n"]
"""Numbers in [0, 1] that a density turns into times."""

Level = Float[Tensor, "..."]
"""A number for the batch or one an image, of the images' dtype."""


def independent(count: int) -> Shares:
    """Uniform numbers in [0, 1), each drawn apart from the others. From torch's CPU generator."""
    return torch.rand(count, dtype=torch.float64)


def stratified(count: int) -> Shares:
    """One uniform number in each of `count` equal parts of [0, 1], in random order. From torch's CPU generator.

    Each alone is uniform, and together they are spread evenly, so that the loss of a batch varies less. In the spirit
    of the low-discrepancy sampler of VDM (arXiv 2107.00630).
    """
    return (torch.randperm(count) + torch.rand(count, dtype=torch.float64)) / count


class TimeDensity(ABC):
    """How often each time is drawn, as its quantile function: uniform shares become times of that density."""

    def __call__(self, schedule: Schedule, u: Shares) -> Times:
        """The time below which a share u of all draws lies; at least `schedule.earliest`, at most 1."""
        return self.quantile(schedule, u).clamp(schedule.earliest, 1)

    @abstractmethod
    def quantile(self, schedule: Schedule, u: Shares) -> Times:
        """The same before it is clamped."""


@dataclass(frozen=True)
class UniformTimes(TimeDensity):
    """Each step of a discrete schedule is equally likely, as in DDPM; each time, where time is continuous."""

    def quantile(self, schedule: Schedule, u: Shares) -> Times:
        """ceil(u T) / T, or a line from the earliest time to 1."""
        if schedule.timesteps is not None:
            return (u * schedule.timesteps).ceil() / schedule.timesteps
        return schedule.earliest + (1 - schedule.earliest) * u


@dataclass(frozen=True)
class LogNormalTimes(TimeDensity):
    """The logarithm of the noise level sigma / alpha is normal. EDM, table 1, whose constants suit images.

    Args:
        mean: of log(sigma / alpha).
        std: its standard deviation.

    Raises:
        ConfigError: numbers that make no normal law.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def quantile(self, schedule: Schedule, u: Shares) -> Times:
        """The time of the log-SNR -2 (mean + std z)."""
        return schedule.time_at(-2 * (self.mean + self.std * torch.special.ndtri(u)))


@dataclass(frozen=True)
class LogitNormalTimes(TimeDensity):
    """The logit of t is normal, so that the middle is drawn most. SD3 (arXiv 2403.03206), section 3.1.

    On the schedule `Flow` the logit of t is log(sigma / alpha).

    Args:
        mean: of log(t / (1 - t)); above 0 for more noise.
        std: its standard deviation.

    Raises:
        ConfigError: numbers that make no normal law.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def quantile(self, schedule: Schedule, u: Shares) -> Times:
        """sigmoid(mean + std z)."""
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))


def _check_normal(mean: float, std: float) -> None:
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise ConfigError(
            f"times cannot be drawn from a normal law of mean {mean} and standard deviation {std}",
            "Choose finite numbers, std above 0.",
        )


TIMES: dict[str, TimeDensity] = {
    "uniform": UniformTimes(),
    "log-normal": LogNormalTimes(),
    "logit-normal": LogitNormalTimes(),
}


def times_for(name: str) -> TimeDensity:
    """The density of a name in `TIMES`, possibly with settings.

    >>> times_for("log-normal:mean=-0.4")
    LogNormalTimes(mean=-0.4, std=1.2)

    Raises:
        ConfigError: an unknown name or setting; lists what is possible.
    """
    return parse_part(TIMES, name, "time density", ConfigError)


class Weight(ABC):
    """How much the squared error of a network's output F counts."""

    @abstractmethod
    def __call__(self, schedule: Schedule, t: Times, coefficients: Preconditioning) -> Times:
        """The weight at times (n,), at which the parametrization has these coefficients."""


@dataclass(frozen=True)
class Simple(Weight):
    """1: DDPM's simple loss (eq. 14), flow matching's, and EDM's too, whose lambda(sigma) c_out^2 is 1 (eq. 8)."""

    def __call__(self, schedule: Schedule, t: Times, coefficients: Preconditioning) -> Times:
        """1 at every time."""
        return torch.ones_like(t)


class DataWeight(Weight):
    """A weight that is defined for the error of x0_hat, which is c_out times that of F.

    So it means the same for every parametrization. For a network that predicts the noise of a variance-preserving
    schedule it is divided by the SNR; for one that predicts the velocity, by SNR + 1.
    """

    def __call__(self, schedule: Schedule, t: Times, coefficients: Preconditioning) -> Times:
        """That of the data times c_out^2."""
        return self.of_data(schedule, t) * coefficients.out**2

    @abstractmethod
    def of_data(self, schedule: Schedule, t: Times) -> Times:
        """The weight of |x0_hat - x_0|^2."""


@dataclass(frozen=True)
class SNR(DataWeight):
    """The signal-to-noise ratio: the squared error of the noise, whatever the network predicts."""

    def of_data(self, schedule: Schedule, t: Times) -> Times:
        """alpha^2 / sigma^2."""
        return schedule.logsnr(t).exp()


@dataclass(frozen=True)
class MinSNR(DataWeight):
    """The SNR up to a limit, so that almost clean images do not drown the rest. arXiv 2303.09556, section 3.4.

    Args:
        gamma: the limit.

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
    """Min-SNR without the kink: 1 / (1 / SNR + 1 / gamma). Hourglass diffusion transformers (arXiv 2401.11605).

    Args:
        gamma: the limit, which is nearly reached where the SNR is far above it.

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
        raise ConfigError(f"gamma {gamma} is no limit of the SNR", "Choose a number above 0; the usual one is 5.")


@dataclass(frozen=True)
class ELBO(DataWeight):
    """The evidence lower bound per unit of t in nats, for likelihoods. VDM (arXiv 2107.00630), eq. 16."""

    def of_data(self, schedule: Schedule, t: Times) -> Times:
        """-1/2 dSNR/dt = -1/2 SNR dlogSNR/dt; 0 where no signal is left."""
        snr = schedule.logsnr(t).exp()
        return torch.where(snr > 0, -snr * schedule.logsnr_slope(t) / 2, 0.0)


@dataclass(frozen=True)
class SigmoidELBO(DataWeight):
    """The bound with low noise counted less: times sigmoid(bias - logSNR). arXiv 2303.00848; SiD2, arXiv 2410.19324.

    Args:
        bias: the log-SNR at which a level counts half; lower for larger images.

    Raises:
        ConfigError: a bias that is not finite.
    """

    bias: float = 2.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.bias):
            raise ConfigError(f"the sigmoid weight has no bias {self.bias}", "Choose a number such as -3 to 2.")

    def of_data(self, schedule: Schedule, t: Times) -> Times:
        """That of the bound times sigmoid(bias - logSNR)."""
        return ELBO().of_data(schedule, t) * torch.sigmoid(self.bias - schedule.logsnr(t))


WEIGHTS: dict[str, Weight] = {
    "simple": Simple(),
    "snr": SNR(),
    "min-snr": MinSNR(),
    "soft-min-snr": SoftMinSNR(),
    "elbo": ELBO(),
    "sigmoid": SigmoidELBO(),
}


def weight_for(name: str) -> Weight:
    """The weight of a name in `WEIGHTS`, possibly with settings.

    >>> weight_for("min-snr:gamma=1")
    MinSNR(gamma=1.0)

    Raises:
        ConfigError: an unknown name or setting; lists what is possible.
    """
    return parse_part(WEIGHTS, name, "weight", ConfigError)


def drop_labels(labels: Labels, probability: float) -> Labels:
    """The labels with those of an image all forgotten at `probability`, so that the model also learns to do without.

    Classifier-free guidance, arXiv 2207.12598, Algorithm 1. Drawn from torch's CPU generator.
    """
    forgotten = torch.rand(len(labels)) < probability
    each = forgotten.to(labels.device).reshape(-1, *[1] * (labels.ndim - 1))
    return torch.where(each, unlabelled(labels), labels)


class NoiseLevels(NamedTuple):
    """All that the loss needs to know of the times of a batch, as numbers that multiply images; each () or (n,).

    Attributes:
        alpha: the signal in x_t = alpha x_0 + sigma noise.
        sigma: the noise in it.
        input: c_in, which multiplies x_t before the network sees it.
        noise: c_noise, which tells the network the time.
        of_data: how much of x_0 is in what the network should say.
        of_noise: how much of the noise is in it.
        weight: how much the squared error counts.
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
    """The noise levels at times () or (n,), of the dtype and on the device of `images`, in one transfer."""
    schedule = denoiser.schedule
    coefficients = denoiser.parametrization(schedule, t)
    told = (coefficients.input, coefficients.noise)
    counts = weight(schedule, t, coefficients)
    rows = torch.stack([schedule.alpha(t), schedule.sigma(t), *told, *denoiser.target_factors(t), counts])
    return NoiseLevels(*rows.to(images.dtype).to(images.device, non_blocking=True))


def weighted_loss(
    denoiser: PreconditionedDenoiser,
    x_0: Images,
    levels: NoiseLevels,
    noise: Images,
    labels: Labels | None = None,
    augmentation: AugmentationLabels | None = None,
) -> Float[Tensor, " n"]:
    """Mean squared error of the network's output at x_t times its weight, one value an image, float32.

    DDPM eq. 14, where the network says the noise and the weight is 1. Nothing in it waits for the device.
    """
    alpha, sigma, scale, _, of_data, of_noise, _ = (level.reshape(-1, 1, 1, 1) for level in levels)
    times = levels.noise.float().expand(len(x_0))
    told = () if augmentation is None else (augmentation,)
    output: Images = denoiser.network(scale * (alpha * x_0 + sigma * noise), times, labels, *told)
    error = output.to(x_0.dtype) - (of_data * x_0 + of_noise * noise)
    return levels.weight.float() * error.float().square().mean(dim=(1, 2, 3))


def simple_loss(
    denoiser: PreconditionedDenoiser,
    x_0: Images,
    t: Times,
    noise: Images,
    labels: Labels | None = None,
    augmentation: AugmentationLabels | None = None,
) -> Float[Tensor, " n"]:
    """Mean squared error of the network's output at x_t, one value an image, float32. DDPM eq. 14 where it is noise."""
    return weighted_loss(denoiser, x_0, noise_levels(denoiser, t, x_0), noise, labels, augmentation)
