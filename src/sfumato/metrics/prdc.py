"""Precision, recall, density and coverage (PRDC).

The manifold of a set of images is estimated by balls. The radius of the ball around an image is the distance to its
k-th nearest neighbour in the same set.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from sfumato.metrics.moments import check_widths
from sfumato.metrics.neighbours import BASE, QUERIES, RANKED, nearest

PRODUCT_ERROR = 1e-5
"""Error of squared distances computed by products, as a share of the sum of both squared norms."""

LEEWAY = 1 + 1e-6
"""Factor of radii, so that rounding does not exclude an image on the surface of a ball."""


class PrecisionRecall(NamedTuple):
    """Precision and recall, 0 to 1.

    Attributes:
        precision: Share of generated images inside balls of real images.
        recall: Share of real images inside balls of generated images.
    """

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Density and coverage, which use balls around real images only.

    Attributes:
        density: Mean number of balls of real images that contain a generated image, divided by k. At least 0; its
            expected value is 1 for images of the same distribution.
        coverage: Share of real images whose balls contain a generated image, 0 to 1.
    """

    density: float
    coverage: float


def precision_recall(
    real: Float[Tensor, "m d"],
    generated: Float[Tensor, "n d"],
    k: int = 3,
    on_images: Callable[[int], None] = lambda _: None,
) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al., arXiv 1904.06991), with closed balls as in the paper.

    Args:
        real: Features of at least k + 1 images.
        generated: Features of the same width, on the same device, of at least k + 1 images. Recall increases with
            their number, and precision with the number of real images, so use equal numbers, if possible the 50,000 of
            the paper.
        k: Rank of the nearest neighbour that defines the radius of a ball.
        on_images: Called with the number of images completed since the last call, 2 m + 2 n in total.

    Raises:
        TooFewImagesError: There are too few images.
        DataError: The widths differ, or features are NaN, infinite, or too far apart for float32.
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

    For images of the same distribution the expected density is 1, and the expected coverage is
    1 - (m-1)...(m-k) / ((m+n-1)...(m+n-k)). The balls are closed, as in `precision_recall`, while those of the authors'
    code (prdc) are open. So an exact copy of the real set has density 1 + 1/k and coverage 1.

    Args:
        real: Features of at least k + 1 images.
        generated: Features of the same width, on the same device, of at least 1 image.
        k: Rank of the nearest neighbour that defines the radius of a ball.
        on_images: Called with the number of images completed since the last call, 2 m + n in total.

    Raises:
        TooFewImagesError: There are too few images.
        DataError: The widths differ, or features are NaN, infinite, or too far apart for float32.
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
    """Number of closed balls that contain each point.

    Distances are computed from products, in blocks; where rounding could change the result, from differences.

    Raises:
        DataError: The widths of points and centres differ.
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
    """Number of balls of one block that contain each point; `reach` is their squared radius."""
    p, c = points - middle, centres - middle
    norms = p.square().sum(1)[:, None] + c.square().sum(1)
    beyond = torch.addmm(norms - reach, p, c.T, alpha=-2)
    norms *= PRODUCT_ERROR
    inside = beyond < -norms
    counts = inside.sum(1)
    rows, columns = torch.nonzero(beyond.abs() <= norms, as_tuple=True)
    most = max(1, RANKED // points.shape[1])
    for row, column in zip(rows.split(most), columns.split(most), strict=True):
        near = torch.linalg.vector_norm(points[row] - centres[column], dim=1).square() <= reach[column]
        counts.index_add_(0, row, near.long())
    return counts
