"""Verdict on memorization: distance of each sample to its nearest training image, compared with held-out images."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sfumato.errors import TooFewImagesError
from sfumato.metrics.memorization.search import Closest, Search
from sfumato.metrics.memorization.shifts import STILL, Shift, default_window, shifted
from sfumato.metrics.memorization.threshold import COPY, LEAST_HELD_OUT, Threshold, ratios, threshold_for
from sfumato.metrics.neighbours import nearest

NEIGHBOURS = 10
"""Number of training images after the nearest whose mean distance is the denominator of the ratio."""

UNSEEN = 0.01
"""Invisible root mean square difference of pixels; black to white is 1."""

RATE = 0.001
"""Default share of new images that may be flagged as copies."""

SURE = 0.001
UNSURE = 0.01
"""The verdict is "copies", or "unclear", if the probability of as many flagged samples is less than this."""

CLOSE = f"three times closer to one training image than to the next {NEIGHBOURS}"
"""Description of a ratio below `COPY`."""

Verdict = Literal["copies", "no sign", "unclear"]


@dataclass(frozen=True)
class ClosestPair:
    """Image and the training image that is nearest to it.

    Attributes:
        image: Index of the image.
        train: Index of the training image; of equal ones the first.
        distance: Root mean square difference of pixels, black to white being 1; or Euclidean distance of features.
        ratio: Distance divided by the mean distance to the next 10 training images: near 1 is usual, near 0 is a copy.
            For pixels, an invisible 0.01 is added to both.
        flagged: Whether the ratio is below the threshold. A flagged sample is a copy; a flagged held-out image repeats
            a training image and is not used for the calibration.
        move: Flip and shift that make the training image most similar; none for features.
    """

    image: int
    train: int
    distance: float
    ratio: float
    flagged: bool
    move: Shift


@dataclass(frozen=True)
class Memorization:
    """Result of the search for copies. `dataclasses.asdict` converts it to JSON.

    Attributes:
        verdict: "copies", "no sign" or "unclear". It is unclear if chance is unlikely but not excluded, if held-out
            images repeat training images about as often, or if there are too few held-out images.
        sentence: Verdict in words, with the numbers.
        flagged: Number of samples flagged as copies.
        expected: Expected number of flagged images among equally many new images.
        chance: Probability of at least as many flagged images, if samples are like held-out images without repeats.
        threshold: Threshold of the ratio.
        samples: Nearest training image of each sample.
        held_out: Nearest training image of each held-out image.
    """

    verdict: Verdict
    sentence: str
    flagged: int
    expected: float
    chance: float
    threshold: Threshold
    samples: tuple[ClosestPair, ...]
    held_out: tuple[ClosestPair, ...]


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
    """Searches for copies by pixels, over flips and small shifts of the training images.

    Args:
        samples: Samples, float32 in [-1, 1].
        train: Training images. Equal images count once.
        held_out: Real images that the model was not trained on. Those that repeat training images are detected.
        reach: Largest shift in pixels, in each direction; None: 2, or an eighth of the shorter side of tiny images.
        flips: Whether mirror images count.
        rate: Share of new images that may be flagged as copies, between 0 and 1.
        on_images: Called with the number of samples and held-out images completed since the last call.

    Raises:
        TooFewImagesError: There are fewer than 11 different training images.
        DataError: There are no samples, the image shapes differ, or values are NaN.
        ConfigError: `rate` is not between 0 and 1.
    """
    kept, base = _distinct(train)
    reach = default_window(*train.shape[2:]) if reach is None else reach
    index = Search(base, reach=reach, flips=flips)

    def search(queries: Tensor) -> Closest:
        return index.closest(queries, NEIGHBOURS + 1, on_images)

    return _judged(samples, held_out, search, kept, UNSEEN, rate)


def of_features(
    samples: Float[Tensor, "m d"],
    train: Float[Tensor, "n d"],
    held_out: Float[Tensor, "l d"],
    *,
    rate: float = RATE,
    on_images: Callable[[int], None] = lambda _: None,
) -> Memorization:
    """Searches for copies by Euclidean distances of features; other arguments and errors as for `of_images`."""
    kept, base = _distinct(train)

    def search(queries: Tensor) -> Closest:
        found = nearest(queries, base, NEIGHBOURS + 1, on_queries=on_images)
        return Closest(found.distances, found.indices, (STILL,) * len(queries))

    return _judged(samples, held_out, search, kept, 0.0, rate)


def closest_pairs(
    images: Float[Tensor, "m c h w"], train: Float[Tensor, "n c h w"], matches: Sequence[ClosestPair], count: int
) -> Float[Tensor, "pairs 2 c h w"]:
    """At most `count` pairs of an image and its nearest training image, moved to match, the smallest ratios first."""
    first = sorted(matches, key=lambda match: match.ratio)[:count]
    pairs = [torch.stack([images[match.image], shifted(train[match.train], match.move)]) for match in first]
    return torch.stack(pairs) if pairs else images.new_empty(0, 2, *images.shape[1:])


def _distinct(train: Tensor) -> tuple[Int64[Tensor, " kept"], Tensor]:
    """Indices of distinct images, and these images. Duplicates of the image of a copy would hide the copy."""
    first: dict[bytes, int] = {}
    for index, row in enumerate(train.cpu().numpy()):
        first.setdefault(hashlib.blake2b(row.tobytes()).digest(), index)
    if len(first) <= NEIGHBOURS:
        raise TooFewImagesError(
            f"{len(first)} different training image(s) are too few to detect copies",
            f"Give at least {NEIGHBOURS + 1}.",
        )
    kept = torch.tensor(list(first.values()), device=train.device)
    return kept, train if len(kept) == len(train) else train[kept]


def _judged(
    samples: Tensor,
    held_out: Tensor,
    search: Callable[[Tensor], Closest],
    kept: Int64[Tensor, " kept"],
    unseen: float,
    rate: float,
) -> Memorization:
    """Result from the nearest training images of samples and of held-out images."""
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
    """Verdict from the probabilities of as many flagged samples, and of as many `close` samples, below `COPY`."""
    chance = threshold.chance(flagged, count)
    if max(chance, threshold.chance_with_repeats(flagged, count)) < SURE:
        return "copies"
    return "unclear" if chance < UNSURE or threshold.chance_of_copies(close, count) < SURE else "no sign"


def _matches(found: Closest, kept: Int64[Tensor, " kept"], unseen: float, below: float) -> tuple[ClosestPair, ...]:
    numbers = zip(
        kept[found.indices[:, 0]].tolist(),
        found.distances[:, 0].tolist(),
        ratios(found.distances, unseen).tolist(),
        found.moves,
        strict=True,
    )
    return tuple(
        ClosestPair(image, train, distance, ratio, ratio < below, move)
        for image, (train, distance, ratio, move) in enumerate(numbers)
    )


def _sentence(verdict: Verdict, flagged: int, close: int, count: int, threshold: Threshold, rate: float) -> str:
    """Verdict in words, with its limitations."""
    begins = {"copies": "Copies", "no sign": "No sign of copies", "unclear": "Perhaps copies"}[verdict]
    of_all = f"{begins}: {flagged:,} of {count:,} samples"
    expected = threshold.rate * count
    few = ".2g" if expected < 10 else ",.0f"
    real, repeats = threshold.held_out + threshold.repeats, threshold.repeats
    if threshold.rank is None:
        sentences = [
            f"{of_all} are {CLOSE}. This is a rule of thumb: a calibrated threshold needs {LEAST_HELD_OUT} held-out "
            f"images that do not repeat a training image, and there are {threshold.held_out}."
        ]
    else:
        sentences = [
            f"{of_all} are closer to a training image than {_percent(1 - threshold.rate)} of held-out images are, "
            f"and {format(expected, few)} are expected by chance."
        ]
        if close and verdict == "unclear":
            sentences.append(f"{close:,} of them are {CLOSE}, compared with {repeats:,} of {real:,} held-out images.")
    if repeats:
        sentences.append(f"{repeats:,} of {real:,} held-out images repeat a training image and were ignored.")
        if verdict == "unclear":
            sentences.append(
                "Samples may repeat for the same reason: remove duplicates from the data and evaluate again."
            )
    if threshold.rate > rate:
        sentences.append(f"The requested {_percent(1 - rate)} need {ceil(1 / rate) - 1:,} held-out images.")
    return " ".join(sentences)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
