"""Does a model copy its training images? Each sample's nearest one, judged by what held-out images come to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sfumato.errors import TooFewImagesError
from sfumato.metrics.calibration import COPY, LEAST_HELD_OUT, Threshold, ratios, threshold_for
from sfumato.metrics.closest import Closest, Search
from sfumato.metrics.neighbours import nearest
from sfumato.metrics.shifts import STILL, Shift, default_window, shifted

NEIGHBOURS = 10
"""The training images after the nearest, by whose distance it is judged."""

UNSEEN = 0.01
"""A root mean square difference of pixels, black to white being 1, that nobody sees."""

RATE = 0.001
"""Of fresh images, that may be taken for copies."""

SURE = 0.001
UNSURE = 0.01
"""As many flagged samples are called copies, or unclear, if chance would give them less often than this."""

CLOSE = f"three times closer to one training image than to the next {NEIGHBOURS}"
"""Below `COPY`, in words."""

Verdict = Literal["copies", "no sign", "unclear"]

FindClosest = Callable[[Tensor], Closest]


@dataclass(frozen=True)
class Match:
    """An image beside the training image that is nearest to it.

    Attributes:
        image: Its index.
        train: That of the training image; of equal ones the first.
        distance: Of pixels, their root mean square difference, black to white being 1; of features, Euclidean.
        ratio: The distance as a share of the mean distance to the next 10: near 1 is usual, near 0 a copy. Of pixels,
            0.01 is added to both, which nobody sees.
        flagged: Whether the ratio is too small: a sample is taken for a copy, or a held-out image repeats a training
            image and is left out of the calibration.
        move: What the training image has gone through to look like it; of features, nothing.
    """

    image: int
    train: int
    distance: float
    ratio: float
    flagged: bool
    move: Shift


@dataclass(frozen=True)
class Memorization:
    """Whether samples copy, as `dataclasses.asdict` makes it JSON.

    Attributes:
        verdict: "copies", "no sign", or "unclear", where chance is unlikely but not excluded, held-out images repeat
            training images about as often, or are too few to judge what looks like copies.
        sentence: The same in words, with the numbers.
        flagged: Samples that are taken for copies.
        expected: How many of as many fresh images would be.
        chance: The probability of as many or more, if samples are like held-out images that repeat nothing.
        threshold: The ratio below which a sample is taken for a copy, and where it comes from.
        samples: In their order.
        held_out: In their order: the yardstick.
    """

    verdict: Verdict
    sentence: str
    flagged: int
    expected: float
    chance: float
    threshold: Threshold
    samples: tuple[Match, ...]
    held_out: tuple[Match, ...]


def of_images(
    samples: Float[Tensor, "m c h w"],
    train: Float[Tensor, "n c h w"],
    held_out: Float[Tensor, "l c h w"],
    *,
    reach: int | None = None,
    flips: bool = True,
    rate: float = RATE,
    on_images: Callable[[int], None] = lambda _: None,
) -> Memorization:
    """Judges samples by their pixels, compared with training images as flipped and shifted as suits each pair best.

    Args:
        samples: float32 in [-1, 1].
        train: What the model was trained on. Equal images count once.
        held_out: Real images that it was not trained on. Those that repeat training images are noticed.
        reach: The farthest shift in pixels, each way; None: 2, or an eighth of the side of a tiny image.
        flips: Whether mirror images count.
        rate: The share of fresh images that may be taken for copies.
        on_images: Told how many more samples or held-out images are done.

    Raises:
        TooFewImagesError: There are too few different training images.
        DataError: There are no samples, images differ in size or channels, or hold NaN.
        ConfigError: `rate` is no share.
    """
    kept = _distinct(train)
    reach = default_window(*train.shape[2:]) if reach is None else reach
    base = Search(_at(train, kept), reach=reach, flips=flips)

    def search(queries: Tensor) -> Closest:
        return base.closest(queries, NEIGHBOURS + 1, on_images)

    return _judged(samples, held_out, search, kept, UNSEEN, rate)


def of_features(
    samples: Float[Tensor, "m d"],
    train: Float[Tensor, "n d"],
    held_out: Float[Tensor, "l d"],
    *,
    rate: float = RATE,
    on_images: Callable[[int], None] = lambda _: None,
) -> Memorization:
    """Judges samples by their features; arguments, but for those of pixels, and errors are those of `of_images`."""
    kept = _distinct(train)
    base = _at(train, kept)

    def search(queries: Tensor) -> Closest:
        found = nearest(queries, base, NEIGHBOURS + 1, on_queries=on_images)
        return Closest(found.distances, found.indices, (STILL,) * len(queries))

    return _judged(samples, held_out, search, kept, 0.0, rate)


def closest_pairs(
    images: Float[Tensor, "m c h w"], train: Float[Tensor, "n c h w"], matches: Sequence[Match], count: int
) -> Float[Tensor, "pairs 2 c h w"]:
    """Images, each beside its nearest training image moved to match, those with the smallest ratio first.

    For a sheet of rows of four, the closest samples beside the closest held-out images: concatenate the pairs of both
    along dimension 1, flatten the first two, and draw a grid of four columns.

    Args:
        images: Samples, or held-out images.
        train: The training images.
        matches: Of these images, all or some.
        count: How many pairs, or as many as there are matches.
    """
    first = sorted(matches, key=lambda match: match.ratio)[:count]
    pairs = [torch.stack([images[match.image], shifted(train[match.train], match.move)]) for match in first]
    return torch.stack(pairs) if pairs else images.new_empty(0, 2, *images.shape[1:])


def _distinct(train: Tensor) -> Int64[Tensor, " kept"]:
    """The indices of the first of each group of equal rows; so that a copied image is not hidden by its duplicates."""
    first: dict[bytes, int] = {}
    for index, row in enumerate(train.cpu().numpy()):
        first.setdefault(hashlib.blake2b(row.tobytes()).digest(), index)
    if len(first) <= NEIGHBOURS:
        raise TooFewImagesError(
            f"{len(first)} different training image(s) are too few to judge samples by",
            f"Give at least {NEIGHBOURS + 1}.",
        )
    return torch.tensor(list(first.values()), device=train.device)


def _at(train: Tensor, kept: Int64[Tensor, " kept"]) -> Tensor:
    return train if len(kept) == len(train) else train[kept]


def _judged(
    samples: Tensor, held_out: Tensor, search: FindClosest, kept: Int64[Tensor, " kept"], unseen: float, rate: float
) -> Memorization:
    """What the nearest training images of samples and of held-out images, if there are any, amount to."""
    usual = search(held_out) if len(held_out) else None
    threshold = threshold_for(torch.empty(0) if usual is None else ratios(usual.distances, unseen), rate)
    copies = _matches(search(samples), kept, unseen, threshold.below)
    flagged, count = sum(match.flagged for match in copies), len(samples)
    close = sum(match.ratio < COPY for match in copies)
    verdict = _verdict(threshold, flagged, close, count)
    return Memorization(
        verdict,
        _sentence(verdict, flagged, close, count, threshold, rate),
        flagged,
        threshold.rate * count,
        threshold.chance(flagged, count),
        threshold,
        copies,
        () if usual is None else _matches(usual, kept, unseen, COPY),
    )


def _verdict(threshold: Threshold, flagged: int, close: int, count: int) -> Verdict:
    """By how unlikely it is that chance flags as many, or leaves as many `close`, below `COPY`."""
    chance = threshold.chance(flagged, count)
    if max(chance, threshold.chance_with_repeats(flagged, count)) < SURE:
        return "copies"
    return "unclear" if chance < UNSURE or threshold.chance_of_copies(close, count) < SURE else "no sign"


def _matches(found: Closest, kept: Int64[Tensor, " kept"], unseen: float, below: float) -> tuple[Match, ...]:
    numbers = zip(
        kept[found.indices[:, 0]].tolist(),
        found.distances[:, 0].tolist(),
        ratios(found.distances, unseen).tolist(),
        found.moves,
        strict=True,
    )
    return tuple(
        Match(image, train, distance, ratio, ratio < below, move)
        for image, (train, distance, ratio, move) in enumerate(numbers)
    )


def _sentence(verdict: Verdict, flagged: int, close: int, count: int, threshold: Threshold, asked: float) -> str:
    """The verdict in plain words, and whatever weakens it."""
    begins = {"copies": "It copies", "no sign": "No sign of copying", "unclear": "Perhaps it copies"}[verdict]
    of_all = f"{begins}: {flagged:,} of {count:,} samples"
    real, repeats = threshold.held_out + threshold.repeats, threshold.repeats
    if threshold.rank is None:
        sentences = [
            f"{of_all} are {CLOSE}. This is a rule of thumb: what chance does can be told from {LEAST_HELD_OUT} "
            f"held-out images that repeat no training image, but not from {threshold.held_out}."
        ]
    else:
        sentences = [
            f"{of_all} are closer to a training image than {_percent(1 - threshold.rate)} of held-out images are, "
            f"where chance alone gives {_few(threshold.rate * count)}."
        ]
        if close and verdict == "unclear":
            sentences.append(f"{close:,} of them are {CLOSE}, beside {repeats:,} of {real:,} held-out images.")
    if repeats:
        sentences.append(f"{repeats:,} of {real:,} held-out images repeat a training image and were left out.")
        if verdict == "unclear":
            sentences.append("Samples may repeat for the same reason: take duplicates out of the data and look again.")
    if threshold.rate > asked:
        sentences.append(f"The {_percent(1 - asked)} that were asked need {ceil(1 / asked) - 1:,} held-out images.")
    return " ".join(sentences)


def _few(number: float) -> str:
    return f"{number:.2g}" if number < 10 else f"{number:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
