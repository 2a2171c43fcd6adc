"""Threshold for copies, calibrated on held-out images, and the probability of passing it by chance."""

from dataclasses import dataclass
from math import exp, floor, lgamma, log

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import ConfigError

COPY = 1 / 3
"""Ratio below which an image is a copy by the rule of thumb.

Yoon et al. 2023 and Gu et al. 2023 (arXiv 2310.02664) use it for the ratio of the nearest to the second nearest
distance. Here the denominator is the mean of the next ten distances, which is not less than the second, so that every
copy by their definition is one here.
"""

LEAST_HELD_OUT = 100
"""Minimum number of held-out images for a calibrated threshold; with fewer the rule of thumb is used."""


@dataclass(frozen=True)
class Threshold:
    """Threshold of the ratio below which an image is a copy.

    Attributes:
        below: Threshold of the ratio.
        rank: Rank of the held-out image whose ratio is the threshold, 1 being the closest to a training image, among
            those that do not repeat a training image; None: the rule of thumb.
        held_out: Number of held-out images that do not repeat a training image.
        repeats: Number of held-out images that repeat a training image by the rule of thumb. They are not used for the
            calibration.
        rate: Expected share of new images below the threshold: rank / (held_out + 1). At most the requested rate unless
            there are too few held-out images; with the rule of thumb, the requested rate.
    """

    below: float
    rank: int | None
    held_out: int
    repeats: int
    rate: float

    def chance(self, flagged: int, count: int) -> float:
        """Probability that at least `flagged` of `count` new images are below the threshold, without repeats.

        Exact, including the random choice of the held-out images (`beyond_rank`); binomial with the rule of thumb.
        """
        if self.rank is None:
            return binomial_tail(flagged, count, self.rate)
        return beyond_rank(flagged, count, self.rank, self.held_out)

    def chance_with_repeats(self, flagged: int, count: int) -> float:
        """The same for images that repeat training images as often as the held-out images do."""
        real = self.held_out + self.repeats
        if real < LEAST_HELD_OUT:
            return self.chance(flagged, count)
        return beyond_rank(flagged, count, self.repeats + (self.rank or 1), real)

    def chance_of_copies(self, copies: int, count: int) -> float:
        """Probability that at least `copies` of `count` images are below `COPY`, if as often as held-out images.

        The share of held-out images below `COPY` is treated as known, with one more image that repeats a training
        image. So the probability is not exact, unlike that of the ranks. But it detects a few certain copies among many
        samples, which the ranks of a few hundred held-out images cannot. With the rule of thumb, `chance`.
        """
        if self.rank is None:
            return self.chance(copies, count)
        return binomial_tail(copies, count, (self.repeats + 1) / (self.held_out + self.repeats + 1))


def threshold_for(held_out: Float[Tensor, " m"], rate: float) -> Threshold:
    """Threshold such that a new image is below it with probability `rate` at most, from held-out images.

    All ranks of a new image among m held-out images are equally likely, so it is below the one of rank j with
    probability j / (m + 1). With fewer than 1 / rate - 1 held-out images, j is 1 and the probability is larger.

    Args:
        held_out: Ratios of held-out images.
        rate: Accepted share of new images below the threshold, between 0 and 1.

    Raises:
        ConfigError: `rate` is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"The rate is {rate}", "Choose a rate between 0 and 1, such as 0.001.")
    fresh = held_out[held_out >= COPY].sort().values
    count, repeats = len(fresh), len(held_out) - len(fresh)
    if count < LEAST_HELD_OUT:
        return Threshold(COPY, None, count, repeats, rate)
    rank = max(1, floor(rate * (count + 1)))
    return Threshold(fresh[rank - 1].item(), rank, count, repeats, rank / (count + 1))


def beyond_rank(flagged: int, count: int, rank: int, others: int) -> float:
    """Probability that at least `flagged` of `count` numbers are below the one of `rank` among `others` numbers.

    All numbers have the same distribution. The event occurs if fewer than `rank` of the lowest flagged + rank - 1
    numbers are among the others; their number is hypergeometric, for any distribution.
    """
    if flagged == 0:
        return 1.0
    lowest = flagged + rank - 1
    possible = range(max(0, lowest - count), min(rank, others + 1, lowest + 1))
    total = _log_choose(count + others, lowest)
    return min(1.0, sum(exp(_log_choose(others, i) + _log_choose(count, lowest - i) - total) for i in possible))


def binomial_tail(least: int, count: int, rate: float) -> float:
    """Probability of at least `least` successes in `count` trials of probability `rate`."""
    if least == 0:
        return 1.0
    terms = (_log_choose(count, i) + i * log(rate) + (count - i) * log(1 - rate) for i in range(least, count + 1))
    return min(1.0, sum(map(exp, terms)))


def _log_choose(count: int, some: int) -> float:
    return lgamma(count + 1) - lgamma(some + 1) - lgamma(count - some + 1)


def ratios(distances: Float[Tensor, "m k"], unseen: float) -> Float[Tensor, " m"]:
    """Nearest distance divided by the mean of the other distances; 1 if all are 0.

    From Carlini et al. 2023 (arXiv 2301.13188, section 5.1), who use the 50 nearest and half their mean distance. Flat
    and common images are close to many images, a copy is close to one.

    Args:
        distances: Distances to the nearest images, in ascending order.
        unseen: Invisible distance that is added to all distances, so that flat images are not copies of each other.
    """
    nearest, others = distances[:, 0] + unseen, distances[:, 1:].mean(1) + unseen
    return torch.where(others > 0, nearest / others, 1.0)
