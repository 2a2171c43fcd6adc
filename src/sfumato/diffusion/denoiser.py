"""E[x_0 | x_t]: what every sampler asks and every network learns.

A network F becomes a denoiser through a parametrization, four coefficients of time and nothing more (EDM, arXiv
2206.00364, eq. 7):

    x0_hat = c_skip(t) x_t + c_out(t) F(c_in(t) x_t, c_noise(t))
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from sfumato.data.conditions import Category, Column
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import ConfigError
from sfumato.utils.depth import EIGHT_BITS, Depth
from sfumato.utils.shapes import Images, Labels, Times, for_each, over


class Denoiser(nn.Module, ABC):
    """The best guess at the clean image, E[x_0 | x_t], under a schedule.

    Attributes:
        schedule: signal and noise over time.
        image_shape: (C, H, W) of one image.
        label_names: the classes that it knows, in the order of their indices; empty if it knows none.
        columns: the conditions that it knows instead, in the order of a row; empty if it knows classes or nothing.
        label_column: what the classes are classes of.
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
        """All that it can be told of an image: its columns, the only one being that of its classes if it has such."""
        return (Category(self.label_column, self.label_names),) if self.label_names else self.columns

    @property
    def is_conditional(self) -> bool:
        """Whether it can be told anything."""
        return bool(self.known_columns)

    @abstractmethod
    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t], of all images where `labels` is None or says nothing, else of those that are so labelled."""


class Preconditioning(NamedTuple):
    """A parametrization at some times; each of shape () or (n,), float64."""

    skip: Times
    out: Times
    input: Times
    noise: Times


Parametrization = Callable[[Schedule, Times], Preconditioning]


def predict_noise(schedule: Schedule, t: Times) -> Preconditioning:
    """F estimates the noise: x0_hat = (x_t - sigma F) / alpha. DDPM eq. 15; formula 10 of the article."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return Preconditioning(1 / alpha, -sigma / alpha, _to_unit_variance(alpha, sigma), schedule.network_time(t))


def predict_data(schedule: Schedule, t: Times) -> Preconditioning:
    """F estimates the image: x0_hat = F. Progressive distillation (arXiv 2202.00512), section 4."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    return Preconditioning(
        torch.zeros_like(t), torch.ones_like(t), _to_unit_variance(alpha, sigma), schedule.network_time(t)
    )


def predict_velocity(schedule: Schedule, t: Times) -> Preconditioning:
    """F estimates v = alpha noise - sigma x_0, of x_t scaled to alpha^2 + sigma^2 = 1 where that does not hold.

    Progressive distillation (arXiv 2202.00512), section 4; TrigFlow (2410.11081), section 3.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    power = alpha**2 + sigma**2
    return Preconditioning(
        alpha / power, -sigma / power.sqrt(), _to_unit_variance(alpha, sigma), schedule.network_time(t)
    )


def predict_flow(schedule: Schedule, t: Times) -> Preconditioning:
    """F estimates noise - x_0, the direction of rectified flow (arXiv 2209.03003), whatever the schedule."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    total = alpha + sigma
    return Preconditioning(1 / total, -sigma / total, 1 / total, schedule.network_time(t))


DATA_DEVIATION = 0.5
"""EDM's sigma_data: the standard deviation that images in [-1, 1] have."""

MOST_LOGSNR = 40.0
"""Where EDM's c_noise stops, so that it is finite even without signal."""


def predict_edm(schedule: Schedule, t: Times) -> Preconditioning:
    """F has unit variance at input and target (EDM, table 1), here for any alpha; c_noise = log(sigma / alpha) / 4."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    power = (alpha * DATA_DEVIATION) ** 2 + sigma**2
    told = -schedule.logsnr(t).clamp(-MOST_LOGSNR, MOST_LOGSNR) / 8
    return Preconditioning(
        alpha * DATA_DEVIATION**2 / power, sigma * DATA_DEVIATION / power.sqrt(), power.rsqrt(), told
    )


def _to_unit_variance(alpha: Times, sigma: Times) -> Times:
    """1 where the variance is preserved; elsewhere what makes x_t as large as there."""
    return (alpha**2 + sigma**2).rsqrt()


PARAMETRIZATIONS: dict[str, Parametrization] = {
    "noise": predict_noise,
    "data": predict_data,
    "velocity": predict_velocity,
    "flow": predict_flow,
    "edm": predict_edm,
}


def check_parametrization(schedule: Schedule, parametrization: str) -> None:
    """Raises `ConfigError` if the parametrization is unknown, or says nothing of the image at t = 1."""
    if parametrization not in PARAMETRIZATIONS:
        raise ConfigError(
            f"the parametrization {parametrization!r} is unknown", f"Choose among: {', '.join(PARAMETRIZATIONS)}."
        )
    one = torch.ones((), dtype=torch.float64)
    seeing = [name for name, known in PARAMETRIZATIONS.items() if known(schedule, one).out.isfinite()]
    if parametrization not in seeing:
        raise ConfigError(
            f"a network that predicts {parametrization!r} says nothing of the image at the end of this schedule, "
            "where no signal is left",
            f"Choose among: {', '.join(seeing)}.",
        )


class PreconditionedDenoiser(Denoiser):
    """A network, seen through a parametrization.

    Args:
        network: called with (images (n, C, H, W), times (n,) float32, labels (n,) or (n, k) or None), and in training
            with augmentation also with what it is told of that (n, a); gives (n, C, H, W).
        schedule: signal and noise over time.
        parametrization: what the network's output means.
        image_shape: (C, H, W).
        label_names: the classes that the network was made for.
        columns: the conditions that it was made for instead.
        label_column: what the classes are classes of.
        depth: how the pixels of the images that it learned from are written, and those of its samples should be.
    """

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

    def target(self, x_0: Images, noise: Images, t: Times) -> Images:
        """What F should have said: (x_0 - c_skip x_t) / c_out with x_t = alpha x_0 + sigma noise put in."""
        of_data, of_noise = self.target_factors(t)
        return over(of_data, x_0) * x_0 + over(of_noise, x_0) * noise

    def target_factors(self, t: Times) -> tuple[Times, Times]:
        """How much of x_0 and how much of the noise is in what F should have said.

        Taken together in float64, so that F = noise is met exactly for DDPM.
        """
        c = self.parametrization(self.schedule, t)
        of_data = (1 - c.skip * self.schedule.alpha(t)) / c.out
        return of_data, -c.skip * self.schedule.sigma(t) / c.out


class Rescheduled(Denoiser):
    """A denoiser as it answers under another schedule: the same estimate at the same log-SNR, of a rescaled x_t.

    So any model is sampled along any path (EDM, section 3 and appendix C), or guides a model of another schedule.

    Args:
        inner: the denoiser.
        schedule: the one to see it under.
    """

    def __init__(self, inner: Denoiser, schedule: Schedule) -> None:
        super().__init__(schedule, inner.image_shape, inner.label_names, inner.columns, inner.label_column)
        self.inner = inner

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t], asked at the inner schedule's time of the same log-SNR, or its earliest."""
        own = self.inner.schedule
        inner_t = own.time_at(self.schedule.logsnr(t)).clamp(min=own.earliest)
        scale = _size(own, inner_t) / _size(self.schedule, t)
        denoised: Images = self.inner(over(scale, x_t) * x_t, inner_t, labels)
        return denoised


def _size(schedule: Schedule, t: Times) -> Times:
    return (schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2).sqrt()
