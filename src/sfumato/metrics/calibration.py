"""How close is too close: a threshold from held-out images, and how often chance alone passes it."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, floor, lgamma, log

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import ConfigError

COPY = 1 / 3
"""A ratio below this is a copy by rule of thumb.

Yoon et al. 2023 and Gu et al. 2023 (arXiv 2310.02664) ask it of the distance to the nearest over that to the second
nearest; ours is over the mean of ten, which is no less than the second, so that at least what they call a copy is one.
"""

LEAST_HELD_OUT = 100
"""With fewer held-out images, the rule of thumb is all there is."""


@dataclass(frozen=True)
class Threshold:
    """Below which ratio an image counts as copied, and what is known of it.

    Attributes:
        below: The ratio.
        rank: The threshold is the ratio of the held-out image of this rank, 1 being the closest to a training image,
            among those that repeat none; None: it is the rule of thumb.
        held_out: Held-out images that repeat no training image.
        repeats: Held-out images that do, by the rule of thumb. They say nothing of what chance does.
        rate: The share of fresh images that are below it: rank / (held_out + 1), at most what was asked unless there
            are too few held-out images for that; by the rule of thumb, what was asked.
    """

    below: float
    rank: int | None
    held_out: int
    repeats: int
    rate: float

    def chance(self, flagged: int, count: int) -> float:
        """The probability that at least `flagged` of `count` fresh images are below it, if they repeat nothing.

        Exact, the luck of which images were held out included (`beyond_rank`); by the rule of thumb, binomial.
        """
        if self.rank is None:
            return binomial_tail(flagged, count, self.rate)
        return beyond_rank(flagged, count, self.rank, self.held_out)

    def chance_with_repeats(self, flagged: int, count: int) -> float:
        """The same of images that repeat training images as often as the held-out ones do."""
        real = self.held_out + self.repeats
        if real < LEAST_HELD_OUT:
            return self.chance(flagged, count)
        return beyond_rank(flagged, count, self.repeats + (self.rank or 1), real)

    def chance_of_copies(self, copies: int, count: int) -> float:
        """The probability that at least `copies` of `count` images are below `COPY`, if as often as held-out ones.

        How often these are is taken for known, as if one more of them were there and repeated a training image. So it
        is not exact, unlike the ranks, but tells some certain copies among many samples, which ranks among a few
        hundred held-out images cannot. By the rule of thumb, `chance`.
        """
        if self.rank is None:
            return self.chance(copies, count)
        return binomial_tail(copies, count, (self.repeats + 1) / (self.held_out + self.repeats + 1))


def threshold_for(held_out: Float[Tensor, " m"], rate: float) -> Threshold:
    """The threshold that held-out images put, such that a fresh image is below it with probability `rate` at most.

    Of m held-out images and a fresh one each is as likely to have any rank, so it is below the one of rank j with
    probability j / (m + 1). With fewer than 1 / rate - 1 of them, j is 1 and the rate is what it is.

    Args:
        held_out: The ratios of held-out images.
        rate: The share of fresh images that may be taken for copies.

    Raises:
        ConfigError: `rate` is no share.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"A rate of {rate} was asked", "Choose one between 0 and 1, such as 0.001.")
    fresh = held_out[held_out >= COPY].sort().values
    count, repeats = len(fresh), len(held_out) - len(fresh)
    if count < LEAST_HELD_OUT:
        return Threshold(COPY, None, count, repeats, rate)
    rank = max(1, floor(rate * (count + 1)))
    return Threshold(fresh[rank - 1].item(), rank, count, repeats, rank / (count + 1))


def beyond_rank(flagged: int, count: int, rank: int, others: int) -> float:
    """The probability that at least `flagged` of `count` numbers are below the one of `rank` among others of their law.

    That is so if, of the lowest flagged + rank - 1 of all, fewer than `rank` are others; which of them are others is a
    draw without replacement, whatever the law.
    """
    if flagged == 0:
        return 1.0
    lowest = flagged + rank - 1
    possible = range(max(0, lowest - count), min(rank, others + 1, lowest + 1))
    total = _log_choose(count + others, lowest)
    return min(1.0, sum(exp(_log_choose(others, i) + _log_choose(count, lowest - i) - total) for i in possible))


def binomial_tail(least: int, count: int, rate: float) -> float:
    """The probability that at least `least` of `count` happen, each with probability `rate`."""
    if least == 0:
        return 1.0
    terms = (_log_choose(count, i) + i * log(rate) + (count - i) * log(1 - rate) for i in range(least, count + 1))
    return min(1.0, sum(map(exp, terms)))


def _log_choose(count: int, some: int) -> float:
    return lgamma(count + 1) - lgamma(some + 1) - lgamma(count - some + 1)


def ratios(distances: Float[Tensor, "m k"], unseen: float) -> Float[Tensor, " m"]:
    """The distance to the nearest, as a share of the mean distance to those that follow it; 1 where all are 0.

    That of Carlini et al. 2023 (arXiv 2301.13188, section 5.1), who take the 50 nearest and half their mean distance:
    flat and common images are close to many, a copy is close to one.

    Args:
        distances: of the nearest, the nearest first.
        unseen: a distance that nobody sees, added to all: which of many flat images is nearest says nothing.
    """
    nearest, others = distances[:, 0] + unseen, distances[:, 1:].mean(1) + unseen
    return torch.where(others > 0, nearest / others, 1.0)
