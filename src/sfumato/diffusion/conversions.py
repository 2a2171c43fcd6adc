"""Four ways to say the same of x_t: the data, the noise, the velocity or flow behind it, and the score.

Each is tied to x_t = alpha x_0 + sigma noise by one linear relation, whose coefficients are finite everywhere:

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
    """The weights of x_t, x_0 and the quantity, whose weighted sum is 0."""

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
    """v = alpha noise - sigma x_0, times sigma. Progressive distillation (arXiv 2202.00512), appendix D."""
    return Relation(alpha, -(alpha**2 + sigma**2), -sigma)


def _flow(alpha: Times, sigma: Times) -> Relation:
    """q = noise - x_0, times sigma. Rectified flow (arXiv 2209.03003), eq. 1."""
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
    """One quantity as another.

    Args:
        value: the quantity `source` of x_t, (n, C, H, W).
        x_t: the noisy images, (n, C, H, W).
        t: their times, shape () or (n,), in (0, 1].
        schedule: signal and noise over time.
        source: what `value` is.
        target: what is wanted.

    Returns:
        (n, C, H, W). Not finite where x_t has no signal and the source does not tell the data.

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
    """The noise that an estimate of the data implies: (x_t - alpha x0_hat) / sigma."""
    return (x_t - over(alpha, x_t) * x0_hat) / over(sigma, x_t)
