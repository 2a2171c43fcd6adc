"""Frechet distance (FID) of two sets of features, its confidence interval, and its limit for many images."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import TooFewImagesError
from sfumato.metrics.moments import Moments, above_rounding, check_widths

REPLICATES = 1000
"""Number of bootstrap replicates."""

MOST_PIECES = 4
"""Maximum number of pieces of the extrapolation."""


class FrechetInterval(NamedTuple):
    """Confidence interval of a Frechet distance."""

    low: float
    high: float


def frechet_distance(one: Moments, other: Moments) -> float:
    """Squared 2-Wasserstein distance between two Gaussians: |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)).

    Dowson and Landau (1982); Heusel et al. (arXiv 1706.08500), eq. 6. With Inception features this is the FID.

    The trace of the root of C_1 C_2 is the sum of the singular values of R_1^T R_2, for any roots R R^T = C. This form
    is symmetric, finite for singular covariances, and accurate. Square roots of the eigenvalues of C_1 C_2 would turn
    rounding errors of 1e-16 into 1e-8 in every direction without variance.

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
) -> FrechetInterval:
    """Bootstrap confidence interval of `frechet_distance(reference, Moments.of(features))`.

    The images of `features` are resampled with replacement; the reference is fixed. A replicate changes the distance
    by the mean influence of its images, the first-order term of the expansion in their distribution (Hampel 1974; the
    infinitesimal jackknife). Computing the distance of each replicate would need two matrix decompositions per
    replicate, and would add the bias of few images (see `frechet_limit`) a second time. The interval is that of the
    distance at this number of images.

    If the images have the distribution of the reference, the first order vanishes, and the interval is about 1.4 times
    too wide.

    Negative ends are clipped to 0, because a distance is never negative. An interval of the logarithm would be
    positive too, but its width would diverge as the distance approaches 0.

    Args:
        reference: Moments of the reference images.
        features: Features of at least 2 images.
        confidence: Share of replicates inside the interval, 0 to 1.
        seed: Random seed of the resampling.
        on_draws: Called with the number of replicates completed since the last call, 1,000 in total.

    Raises:
        TooFewImagesError: There are too few images.
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
    return FrechetInterval(*ends.clip(min=0).tolist())


def _influences(reference: Moments, own: Moments, features: Float[Tensor, "n d"]) -> np.ndarray:
    """Influence of each image on the distance, times n; their mean is 0. float64, (n,).

    With R R^T = C_ref and R^T C R = U S^2 U^T, d tr((C_ref C)^(1/2)) / dC = R U S^-1 U^T R^T / 2. So x contributes
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


class FrechetLimit(NamedTuple):
    """Frechet distance extrapolated to infinitely many images.

    Attributes:
        distance: Extrapolated distance at 1 / n = 0. It can be negative by chance.
        counts: Number of images per piece, for each number of pieces.
        distances: Mean distance of the pieces, for each number of pieces.
    """

    distance: float
    counts: tuple[int, ...]
    distances: tuple[float, ...]


def frechet_limit(
    reference: Moments,
    features: Float[Tensor, "n d"],
    seed: int = 0,
    on_distances: Callable[[int], None] = lambda _: None,
) -> FrechetLimit:
    """Frechet distance to the reference for infinitely many images (FID-infinity), by linear extrapolation.

    With n images the distance is too large by c / n to first order (Chong and Forsyth, arXiv 1911.07023). A line is
    fitted to distances over 1 / n and evaluated at 0. The distance at n = N / k is the mean over k pieces that
    together contain all images; the paper uses random subsets instead. The bias due to the number of reference images
    remains.

    The bias is c / n only if there are many more images than features. For a standard Gaussian in 64 dimensions, with
    4, 8 and 16 times as many images as dimensions, 132, 111 and 104 % of the bias are removed. Features of real images
    need fewer, because only few directions have variance.

    Args:
        reference: Moments of the reference images.
        features: Features; at least 4 times as many images as the width.
        seed: Random seed of the division into pieces.
        on_distances: Called with the number of distances computed since the last call, 10 in total.

    Raises:
        TooFewImagesError: There are too few images.
        DataError: The features differ in width.
    """
    least = MOST_PIECES * max(2, features.shape[1])
    if len(features) < least:
        problem = f"{len(features)} images are too few to extrapolate a distance with {features.shape[1]} features"
        raise TooFewImagesError(problem, f"Give at least {least}, {MOST_PIECES} times the number of features.")
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
    return FrechetLimit(float(distance), tuple(round(1 / inverse) for inverse in inverses), tuple(distances))
