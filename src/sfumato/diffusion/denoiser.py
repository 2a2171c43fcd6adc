"""Denoisers, which estimate E[x_0 | x_t], and parametrizations.

A parametrization is four coefficients that turn a network F into a denoiser (EDM, arXiv 2206.00364, eq. 7):

    x0_hat = c_skip(t) x_t + c_out(t) F(c_in(t) x_t, c_noise(t))
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from typing import NamedTuple

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from sfumato.data.conditions import Category, Column
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import ConfigError
from sfumato.utils.depth import EIGHT_BITS, Depth
from sfumato.utils.registry import Registry
from sfumato.utils.shapes import AugmentationLabels, Images, Labels, Times, for_each, over


class Denoiser(nn.Module, ABC):
    """Base class of denoisers: the expected clean image E[x_0 | x_t] under a noise schedule.

    Attributes:
        schedule: noise schedule.
        image_shape: (C, H, W) of one image.
        label_names: names of the classes in the order of their indices; empty for a model without classes.
        columns: columns of conditions in the order of a row; empty for a model with classes or without conditions.
        label_column: name of the column of the classes.
    """

    def __init__(
        self,
        schedule: Schedule,
        image_shape: tuple[int, int, int],
        label_names: tuple[str, ...] = (),
        columns: tuple[Column, ...] = (),
        label_column: str = "label",
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.image_shape = image_shape
        self.label_names = label_names
        self.columns = columns
        self.label_column = label_column

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """The columns of conditions; for a model with classes, the column of the classes."""
        return (Category(self.label_column, self.label_names),) if self.label_names else self.columns

    @property
    def is_conditional(self) -> bool:
        """Whether the model has classes or columns."""
        return bool(self.known_columns)

    @property
    def device(self) -> torch.device:
        """Device of the parameters, otherwise of the buffers, otherwise the CPU."""
        return next((tensor.device for tensor in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    @abstractmethod
    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """Estimates E[x_0 | x_t].

        Args:
            x_t: (n, C, H, W) noisy images.
            t: () or (n,) times in [0, 1], float64.
            labels: (n,) class indices (-1: none) or (n, k) rows of conditions (NaN: unknown); None: unconditional.

        Returns:
            (n, C, H, W) estimates of the clean images.
        """


class Preconditioning(NamedTuple):
    """Coefficients c_skip, c_out, c_in and c_noise of a parametrization at some times; each () or (n,), float64."""

    skip: Times
    out: Times
    input: Times
    noise: Times


Parametrization = Callable[[Schedule, Times], Preconditioning]


def predict_noise(schedule: Schedule, t: Times) -> Preconditioning:
    """F predicts the noise: x0_hat = (x_t - sigma F) / alpha. DDPM eq. 15."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return Preconditioning(1 / alpha, -sigma / alpha, _to_unit_variance(alpha, sigma), schedule.network_time(t))


def predict_data(schedule: Schedule, t: Times) -> Preconditioning:
    """F predicts the clean image: x0_hat = F. Progressive distillation (arXiv 2202.00512), section 4."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return Preconditioning(
        torch.zeros_like(t), torch.ones_like(t), _to_unit_variance(alpha, sigma), schedule.network_time(t)
    )


def predict_velocity(schedule: Schedule, t: Times) -> Preconditioning:
    """F predicts v = alpha noise - sigma x_0, with alpha and sigma scaled to alpha^2 + sigma^2 = 1.

    Progressive distillation (arXiv 2202.00512), section 4; TrigFlow (2410.11081), section 3.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    power = alpha**2 + sigma**2
    return Preconditioning(
        alpha / power, -sigma / power.sqrt(), _to_unit_variance(alpha, sigma), schedule.network_time(t)
    )


def predict_flow(schedule: Schedule, t: Times) -> Preconditioning:
    """F predicts noise - x_0, the velocity of rectified flow (arXiv 2209.03003), for any schedule."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    total = alpha + sigma
    return Preconditioning(1 / total, -sigma / total, 1 / total, schedule.network_time(t))


DATA_DEVIATION = 0.5
"""EDM's sigma_data: standard deviation of images in [-1, 1]."""

MAX_LOGSNR = 40.0
"""Limit of the absolute log-SNR in c_noise, which keeps it finite."""


def predict_edm(schedule: Schedule, t: Times) -> Preconditioning:
    """Input and target of F have unit variance (EDM, table 1), for any alpha; c_noise = log(sigma / alpha) / 4."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    power = (alpha * DATA_DEVIATION) ** 2 + sigma**2
    out = sigma * DATA_DEVIATION / power.sqrt()
    return Preconditioning(alpha * DATA_DEVIATION**2 / power, out, power.rsqrt(), log_noise_time(schedule, t))


def _to_unit_variance(alpha: Times, sigma: Times) -> Times:
    """1 / sqrt(alpha^2 + sigma^2), which is 1 for variance-preserving schedules."""
    return (alpha**2 + sigma**2).rsqrt()


PARAMETRIZATIONS: Registry[Parametrization] = Registry(
    "parametrization",
    ConfigError,
    {
        "noise": predict_noise,
        "data": predict_data,
        "velocity": predict_velocity,
        "flow": predict_flow,
        "edm": predict_edm,
    },
)


def step_time(schedule: Schedule, t: Times) -> Times:
    """1000 t: the timestep 1 to 1000 of DDPM's schedule."""
    del schedule
    return 1000 * t


def log_noise_time(schedule: Schedule, t: Times) -> Times:
    """EDM's c_noise, log(sigma / alpha) / 4 (table 1)."""
    return -schedule.logsnr(t).clamp(-MAX_LOGSNR, MAX_LOGSNR) / 8


TIME_INPUTS: Registry[Callable[[Schedule, Times], Times]] = Registry(
    "time input", ConfigError, {"step": step_time, "log-noise": log_noise_time}
)
"""Time scales of custom networks."""


def with_time_input(parametrization: Parametrization, name: str) -> Parametrization:
    """The parametrization with c_noise on a scale of `TIME_INPUTS`, for any schedule.

    Raises:
        ConfigError: an unknown name; lists the valid ones.
    """
    time_input = TIME_INPUTS.parse(name)

    def preconditioning(schedule: Schedule, t: Times) -> Preconditioning:
        return parametrization(schedule, t)._replace(noise=time_input(schedule, t))

    return preconditioning


def check_parametrization(schedule: Schedule, parametrization: str) -> None:
    """Raises `ConfigError` if the parametrization is unknown, or does not determine the image at t = 1."""
    PARAMETRIZATIONS.parse(parametrization)
    one = torch.ones((), dtype=torch.float64)
    valid = [name for name, known in PARAMETRIZATIONS.items() if known(schedule, one).out.isfinite()]
    if parametrization not in valid:
        raise ConfigError(
            f"the parametrization {parametrization!r} cannot be used with this schedule, which has zero SNR at the "
            "last timestep",
            f"Choose among: {', '.join(valid)}.",
        )


class PreconditionedDenoiser(Denoiser):
    """A denoiser made of a network and a parametrization.

    Args:
        network: called with images (n, C, H, W), times (n,) float32, and labels (n,), (n, k) or None; in training with
            augmentation also with its description (n, a). Returns (n, C, H, W).
        schedule: noise schedule.
        parametrization: prediction target of the network.
        image_shape: (C, H, W) of one image.
        label_names: names of the classes.
        columns: columns of conditions, instead of classes.
        label_column: name of the column of the classes.
        depth: pixel type of the training images and the samples.
    """

    is_custom = False
    """Whether the network is from outside the package."""

    needs_labels = False
    """Whether the network cannot be evaluated without labels."""

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        parametrization: Parametrization,
        image_shape: tuple[int, int, int],
        label_names: tuple[str, ...] = (),
        columns: tuple[Column, ...] = (),
        label_column: str = "label",
        depth: Depth = EIGHT_BITS,
    ) -> None:
        super().__init__(schedule, image_shape, label_names, columns, label_column)
        self.depth = depth
        self.network = network
        self.parametrization = parametrization

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """c_skip x_t + c_out F."""
        c = self.parametrization(self.schedule, t)
        output: Images = self.network(over(c.input, x_t) * x_t, for_each(c.noise, x_t), labels)
        return over(c.skip, x_t) * x_t + over(c.out, x_t) * output.to(x_t.dtype)

    def example_inputs(self) -> tuple[Images, Float32[Tensor, " one"], Labels | None]:
        """Example arguments of the network: one image, on the device of the network."""
        with self.device:
            image, time = torch.zeros(1, *self.image_shape), torch.zeros(1)
            if self.columns:
                return image, time, torch.zeros(1, len(self.columns))
            return image, time, torch.zeros(1, dtype=torch.int64) if self.label_names else None

    def with_augmentation(self, augmentation: AugmentationLabels) -> "PreconditionedDenoiser":
        """A copy whose network also receives the description of the augmentation, (n, a)."""
        twin = copy(self)
        twin._modules = {"network": _Augmented(self.network, augmentation)}
        return twin

    def target_factors(self, t: Times) -> tuple[Times, Times]:
        """Coefficients of x_0 and of the noise in the training target (x_0 - c_skip x_t) / c_out.

        Computed in float64, so that the target is exactly the noise for DDPM.
        """
        c = self.parametrization(self.schedule, t)
        of_data = (1 - c.skip * self.schedule.alpha(t)) / c.out
        return of_data, -c.skip * self.schedule.sigma(t) / c.out


class _Augmented(nn.Module):
    """A network that receives the description of the augmentation of a batch as a further argument."""

    def __init__(self, network: nn.Module, augmentation: AugmentationLabels) -> None:
        super().__init__()
        self.network, self.augmentation = network, augmentation

    def forward(self, x: Images, times: Float32[Tensor, " n"], labels: Labels | None) -> Images:
        output: Images = self.network(x, times, labels, self.augmentation)
        return output


class Rescheduled(Denoiser):
    """A denoiser under another noise schedule: evaluates the inner denoiser at the same log-SNR with a rescaled x_t.

    With it a model can be sampled along another path (EDM, section 3 and appendix C), or guide a model with another
    schedule.

    Args:
        inner: denoiser to wrap.
        schedule: new noise schedule.
    """

    def __init__(self, inner: Denoiser, schedule: Schedule) -> None:
        super().__init__(schedule, inner.image_shape, inner.label_names, inner.columns, inner.label_column)
        self.inner = inner

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t], evaluated at the time of the inner schedule with the same log-SNR, at least its `earliest`."""
        own = self.inner.schedule
        inner_t = own.time_at(self.schedule.logsnr(t)).clamp(min=own.earliest)
        scale = _size(own, inner_t) / _size(self.schedule, t)
        denoised: Images = self.inner(over(scale, x_t) * x_t, inner_t, labels)
        return denoised


def _size(schedule: Schedule, t: Times) -> Times:
    return (schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2).sqrt()
