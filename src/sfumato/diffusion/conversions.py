"""Conversions between predictions: data, noise, velocity, flow and score.

Each quantity q satisfies a linear relation with x_t = alpha x_0 + sigma noise, whose coefficients are always finite:

    noisy * x_t + data * x_0 + quantity * q = 0
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from sfumato.diffusion.schedules import Schedule
from sfumato.errors import ConfigError
from sfumato.utils.shapes import Images, Times, over

Quantity = Literal["data", "noise", "velocity", "flow", "score"]


class Relation(NamedTuple):
    """Coefficients of x_t, x_0 and the quantity in a sum that is 0."""

    noisy: Times
    data: Times
    quantity: Times


def _data(alpha: Times, sigma: Times) -> Relation:
    """x_0 - q = 0."""
    return Relation(torch.zeros_like(alpha), torch.ones_like(alpha), -torch.ones_like(alpha))


def _noise(alpha: Times, sigma: Times) -> Relation:
    """x_t - alpha x_0 - sigma q = 0."""
    return Relation(torch.ones_like(alpha), -alpha, -sigma)


def _velocity(alpha: Times, sigma: Times) -> Relation:
    """v = alpha noise - sigma x_0, multiplied by sigma. Progressive distillation (arXiv 2202.00512), appendix D."""
    return Relation(alpha, -(alpha**2 + sigma**2), -sigma)


def _flow(alpha: Times, sigma: Times) -> Relation:
    """q = noise - x_0, multiplied by sigma. Rectified flow (arXiv 2209.03003), eq. 1."""
    return Relation(torch.ones_like(alpha), -(alpha + sigma), -sigma)


def _score(alpha: Times, sigma: Times) -> Relation:
    """grad log p(x_t) = (alpha x_0 - x_t) / sigma^2, Tweedie's formula. EDM (arXiv 2206.00364), eq. 3 for alpha = 1."""
    return Relation(torch.ones_like(alpha), -alpha, sigma**2)


RELATIONS: dict[Quantity, Callable[[Times, Times], Relation]] = {
    "data": _data,
    "noise": _noise,
    "velocity": _velocity,
    "flow": _flow,
    "score": _score,
}


def convert(value: Images, x_t: Images, t: Times, schedule: Schedule, source: Quantity, target: Quantity) -> Images:
    """Converts one quantity to another.

    Args:
        value: (n, C, H, W) value of the quantity `source`.
        x_t: (n, C, H, W) noisy images.
        t: () or (n,) times of the images, in (0, 1].
        schedule: noise schedule.
        source: quantity of `value`.
        target: quantity to compute.

    Raises:
        ConfigError: an unknown quantity.
    """
    for name in (source, target):
        if name not in RELATIONS:
            raise ConfigError(f"the quantity {name!r} is unknown", f"Choose among: {', '.join(RELATIONS)}.")
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    given, wanted = RELATIONS[source](alpha, sigma), RELATIONS[target](alpha, sigma)
    x_0 = -(over(given.noisy / given.data, x_t) * x_t + over(given.quantity / given.data, x_t) * value)
    return -(over(wanted.noisy / wanted.quantity, x_t) * x_t + over(wanted.data / wanted.quantity, x_t) * x_0)


def noise_in(x_t: Images, x0_hat: Images, alpha: Times, sigma: Times) -> Images:
    """The noise for an estimate of the data: (x_t - alpha x0_hat) / sigma."""
    return (x_t - over(alpha, x_t) * x0_hat) / over(sigma, x_t)
