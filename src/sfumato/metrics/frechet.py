"""The Frechet distance of two sets of features, each taken for a Gaussian; its interval; and its limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import TooFewImagesError
from sfumato.metrics.moments import Moments, above_rounding
from sfumato.metrics.widths import check_widths

REPLICATES = 1000
MOST_PIECES = 4


class Interval(NamedTuple):
    """Ends of an interval, the lower first."""

    low: float
    high: float


def frechet_distance(one: Moments, other: Moments) -> float:
    """The squared 2-Wasserstein distance of two Gaussians: |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)).

    Dowson and Landau (1982); Heusel et al. (arXiv 1706.08500), eq. 6, with Inception's features the FID. The
    trace of the root of C_1 C_2 is the sum of the singular values of R_1^T R_2, whatever the roots R R^T = C. That is
    symmetric, finite for singular covariances, and loses no digits: roots of eigenvalues of C_1 C_2, which are only
    known to eps |C_1 C_2|, would turn rounding of 1e-16 into 1e-8, in every direction that a set does not fill.

    Raises:
        TooFewImagesError: A set has fewer than 2 images.
        DataError: The features differ in width.
    """
    check_widths(one.mean, other.mean)
    shared = torch.linalg.svdvals(one.root.T @ other.root).sum()
    between = (one.mean - other.mean).square().sum() + one.covariance.trace() + other.covariance.trace()
    return float(between - 2 * shared)


def frechet_interval(
    reference: Moments,
    features: Float[Tensor, "n d"],
    confidence: float = 0.95,
    seed: int = 0,
    on_draws: Callable[[int], None] = lambda _: None,
) -> Interval:
    """An interval around `frechet_distance(reference, Moments.of(features))`: how far it moves with other images.

    A bootstrap: the images of `features` are drawn again with replacement, the reference stays. Each draw changes the
    distance by the mean of the drawn images' influences, the first order of its expansion in their distribution
    (Hampel 1974; the infinitesimal jackknife), instead of by a distance of its own. That would cost two decompositions
    a draw, and be too large, as the distance of the images itself is, for the bias of few images (see
    `frechet_limit`) comes a second time. So the interval is that of the distance at this number of images.

    For images of the reference's own distribution, where the first order vanishes, it is some 1.4 times too wide.

    An end that the expansion puts below 0, where no distance is, is put at 0, which loses nothing that the interval
    could hold. One of the logarithm would respect 0 too, but widen without bounds as the distance nears it.

    Args:
        reference: Of the images compared with.
        features: From 2 images.
        confidence: The share of draws within.
        seed: Of the draws.
        on_draws: Told how many more of the 1,000 draws are done.

    Raises:
        TooFewImagesError: There are too few.
        DataError: The features differ in width.
    """
    own = Moments.of(features)
    distance = frechet_distance(reference, own)
    influences = _influences(reference, own, features)
    generator = np.random.Generator(np.random.Philox(seed))
    shifts = []
    for _ in range(REPLICATES):
        shifts.append(influences[generator.integers(0, len(influences), len(influences))].mean())
        on_draws(1)
    ends = distance + np.quantile(shifts, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(*ends.clip(min=0).tolist())


def _influences(reference: Moments, own: Moments, features: Float[Tensor, "n d"]) -> np.ndarray:
    """How much each image moves the distance, n times; their mean is 0. float64, (n,).

    With R R^T = C_ref and R^T C R = U S^2 U^T, d tr((C_ref C)^(1/2)) / dC = R U S^-1 U^T R^T / 2, so that x adds
    |x - m|^2 - |S^(-1/2) U^T R^T (x - m)|^2 + 2 (x - m) . (m - m_ref), the squares times n / (n - 1) as in C.
    """
    squares, vectors = torch.linalg.eigh(reference.root.T @ own.covariance @ reference.root)
    kept = above_rounding(squares)
    towards = reference.root @ (vectors[:, kept] * squares[kept] ** -0.25)
    parts = []
    for rows in features.cpu().double().split(4096):
        apart = rows - own.mean
        spread = apart.square().sum(1) - (apart @ towards).square().sum(1)
        parts.append(spread * (own.count / (own.count - 1)) + 2 * apart @ (own.mean - reference.mean))
    influences = torch.cat(parts)
    return (influences - influences.mean()).numpy()


class Limit(NamedTuple):
    """A distance for infinitely many images, by extrapolation.

    Attributes:
        distance: At 1 / n = 0; may be below 0 by chance, as it has no bias to hold it above.
        counts: How many images each piece had, for each way to cut them.
        distances: The mean distance of those pieces.
    """

    distance: float
    counts: tuple[int, ...]
    distances: tuple[float, ...]


def frechet_limit(
    reference: Moments,
    features: Float[Tensor, "n d"],
    seed: int = 0,
    on_distances: Callable[[int], None] = lambda _: None,
) -> Limit:
    """The Frechet distance from infinitely many images to the reference (FID-infinity).

    Few images make the distance too large, by c / n to first order (Chong and Forsyth, arXiv 1911.07023).
    So a line through distances over 1 / n is followed to 0. Each n = N / k is that of k pieces which together are all
    images, so that each point uses all of them; the paper draws random subsets instead. The bias of the reference's
    own number of images stays.

    The bias is c / n only where images are many times as many as the features are wide. Of a standard Gaussian in 64
    dimensions, 4, 8 and 16 times as many images lose 132, 111 and 104 % of the bias; features of real images, few of
    whose directions matter, need fewer.

    Args:
        reference: Of the images compared with.
        features: At least 4 times as many images as they are wide.
        seed: Of the order in which images are cut.
        on_distances: Told how many more of the 10 distances are done.

    Raises:
        TooFewImagesError: There are too few.
        DataError: The features differ in width.
    """
    least = MOST_PIECES * max(2, features.shape[1])
    if len(features) < least:
        problem = f"{len(features)} images are too few to extrapolate a distance in {features.shape[1]} features from"
        raise TooFewImagesError(problem, f"Give at least {least}, {MOST_PIECES} times as many as features.")
    order = torch.from_numpy(np.random.Generator(np.random.Philox(seed)).permutation(len(features)))
    inverses, distances = [], []
    for pieces in range(1, MOST_PIECES + 1):
        found = []
        for part in order.tensor_split(pieces):
            found.append(frechet_distance(reference, Moments.of(features[part.to(features.device)])))
            on_distances(1)
        inverses.append(pieces / len(features))
        distances.append(sum(found) / pieces)
    _, distance = np.polyfit(inverses, distances, 1)
    return Limit(float(distance), tuple(round(1 / inverse) for inverse in inverses), tuple(distances))
