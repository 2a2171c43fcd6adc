"""How much of what is generated is real, and how much of what is real is generated, by balls around images.

The ball of an image reaches to its k-th nearest neighbour in its own set; the balls of a set stand for its manifold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from sfumato.metrics.neighbours import BASE, QUERIES, RANKED, nearest
from sfumato.metrics.widths import check_widths

UNSURE = 1e-5
"""Of the squared norms of two points: how well products know the squared distance between them."""

LEEWAY = 1 + 1e-6
"""Of a radius, so that rounding leaves no image out of a ball that it is on the edge of."""


class PrecisionRecall(NamedTuple):
    """Shares, 0 to 1.

    Attributes:
        precision: Of the generated images, that lie within balls of real ones.
        recall: Of the real images, that lie within balls of generated ones.
    """

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """What precision and recall are, counted around real images alone.

    Attributes:
        density: Balls of real images that a generated one lies in, on average, over k: from 0, and 1 on average for
            images of the same distribution.
        coverage: The share of real images in whose balls a generated one lies, 0 to 1.
    """

    density: float
    coverage: float


def precision_recall(
    real: Float[Tensor, "m d"],
    generated: Float[Tensor, "n d"],
    k: int = 3,
    on_images: Callable[[int], None] = lambda _: None,
) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al., arXiv 1904.06991), with closed balls as there.

    Args:
        real: Features, at least k + 1 images.
        generated: Features of the same width, on the same device, at least k + 1 images. Recall grows with their
            number and precision with that of real ones, so take as many of both, the paper's 50,000 if there are.
        k: Neighbours that a ball reaches to.
        on_images: Told how many more images are done, 2 m + 2 n in all.

    Raises:
        TooFewImagesError: There are too few.
        DataError: They differ in width, hold NaN or infinities, or are too far apart for float32.
    """
    return PrecisionRecall(
        precision=_share(balls_around(generated, real, _radii(real, k, on_images), on_images) > 0),
        recall=_share(balls_around(real, generated, _radii(generated, k, on_images), on_images) > 0),
    )


def density_coverage(
    real: Float[Tensor, "m d"],
    generated: Float[Tensor, "n d"],
    k: int = 5,
    on_images: Callable[[int], None] = lambda _: None,
) -> DensityCoverage:
    """Density and coverage (Naeem et al., arXiv 2002.09797).

    For images of the same distribution the expected density is 1 and the expected coverage is
    1 - (m-1)...(m-k) / ((m+n-1)...(m+n-k)). Balls are closed, as in `precision_recall`, where the
    authors' code (prdc) leaves out their edges; so a perfect copy of the real set has density 1 + 1/k and coverage 1.

    Args:
        real: Features, at least k + 1 images.
        generated: Features of the same width, on the same device, at least 1 image.
        k: Neighbours that a ball reaches to.
        on_images: Told how many more images are done, 2 m + n in all.

    Raises:
        TooFewImagesError: There are too few.
        DataError: They differ in width, hold NaN or infinities, or are too far apart for float32.
    """
    radii = _radii(real, k, on_images)
    counts = balls_around(generated, real, radii, on_images)
    closest = nearest(real, generated, 1, on_queries=on_images).distances[:, 0]
    return DensityCoverage(counts.cpu().double().mean().item() / k, _share(closest <= radii * LEEWAY))


def _radii(points: Float[Tensor, "n d"], k: int, on_images: Callable[[int], None]) -> Float32[Tensor, " n"]:
    return nearest(points, points, k, exclude_self=True, on_queries=on_images).distances[:, -1]


def _share(hits: Tensor) -> float:
    return hits.cpu().double().mean().item()


def balls_around(
    points: Float[Tensor, "m d"],
    centres: Float[Tensor, "n d"],
    radii: Float32[Tensor, " n"],
    on_points: Callable[[int], None] = lambda _: None,
) -> Int64[Tensor, " m"]:
    """How many of the closed balls each point lies in.

    Distances come from products, in blocks; where those are too round to tell, from direct differences.

    Args:
        points: On any device.
        centres: Of the balls.
        radii: Of the balls.
        on_points: Told how many more points are done.

    Raises:
        DataError: The points differ in width from the centres.
    """
    check_widths(points, centres)
    middle = centres.mean(0)
    reach = (radii * LEEWAY).square()
    found = []
    for some in points.split(QUERIES):
        counts = torch.zeros(len(some), dtype=torch.int64, device=points.device)
        for start in range(0, len(centres), BASE):
            block = slice(start, start + BASE)
            counts += _counted(some, centres[block], reach[block], middle)
        found.append(counts)
        on_points(len(some))
    return torch.cat(found)


def _counted(
    points: Float[Tensor, "m d"], centres: Float[Tensor, "n d"], reach: Float32[Tensor, " n"], middle: Tensor
) -> Int64[Tensor, " m"]:
    """How many balls of one block each point lies in; `reach` is their squared radius."""
    p, c = points - middle, centres - middle
    norms = p.square().sum(1)[:, None] + c.square().sum(1)
    beyond = torch.addmm(norms - reach, p, c.T, alpha=-2)
    norms *= UNSURE
    inside = beyond < -norms
    counts = inside.sum(1)
    rows, columns = torch.nonzero(beyond.abs() <= norms, as_tuple=True)
    most = max(1, RANKED // points.shape[1])
    for row, column in zip(rows.split(most), columns.split(most), strict=True):
        near = torch.linalg.vector_norm(points[row] - centres[column], dim=1).square() <= reach[column]
        counts.index_add_(0, row, near.long())
    return counts
