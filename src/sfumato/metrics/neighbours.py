"""Exact nearest neighbours, computed in blocks: matrix products find candidates, differences rank them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from sfumato.errors import DataError, TooFewImagesError
from sfumato.metrics.moments import check_widths

QUERIES = 2048
BASE = 4096
"""Number of queries and of base points per block."""

SPARE_CANDIDATES = 8
"""Number of extra candidates, so that rounding of the products rarely loses a neighbour."""

RANKED = 1 << 24
"""Maximum number of elements of a tensor while candidates are ranked."""


class Neighbours(NamedTuple):
    """Nearest neighbours of each query, sorted by distance.

    Attributes:
        distances: Euclidean distances.
        indices: Indices of the neighbours in the base. Of equal distances, the smaller index comes first.
    """

    distances: Float32[Tensor, "m k"]
    indices: Int64[Tensor, "m k"]


def nearest(
    queries: Float[Tensor, "m d"],
    base: Float[Tensor, "n d"],
    k: int,
    exclude_self: bool = False,
    on_queries: Callable[[int], None] = lambda _: None,
) -> Neighbours:
    """The k nearest neighbours of each query among the base points.

    Candidates are found by |b|^2 - 2 q.b in float32, with b and q centred; their distances are computed from
    differences, without cancellation. A neighbour can be missed only if more than `SPARE_CANDIDATES` other points have
    a squared distance that differs from its own by less than about 1e-6 (|q|^2 + |b|^2).

    Args:
        queries: float32 points, on any device.
        base: Points of the same width, on the same device.
        k: Number of neighbours, 1 to n, or to n - 1 if `exclude_self`.
        exclude_self: Whether queries and base are the same points, and a point is not its own neighbour.
        on_queries: Called with the number of queries completed since the last call.

    Raises:
        TooFewImagesError: There are too few points.
        DataError: The widths differ, or points are NaN, infinite, or too far apart for float32.
    """
    most = len(base) - exclude_self
    if not 1 <= k <= most:
        kind = DataError if k < 1 else TooFewImagesError
        raise kind(f"{k} nearest neighbours were requested among {most} points", f"Choose 1 to {max(most, 1)}.")
    if not len(queries):
        raise TooFewImagesError("There are no query points", "Give at least one.")
    check_widths(queries, base)
    candidates = min(k + SPARE_CANDIDATES, most)
    centre = base.mean(0)
    squares = torch.cat([(part - centre).square().sum(1) for part in base.split(BASE)])
    if not (squares.isfinite().all() and queries.isfinite().all()):
        problem = "Points are NaN, infinite, or too far apart for float32"
        raise DataError(problem, "Check the network or program that computed them.")
    found = []
    for start in range(0, len(queries), QUERIES):
        part = queries[start : start + QUERIES]
        indices = _candidates(part - centre, base, centre, squares, candidates, start if exclude_self else None)
        found.append(_ranked(part, base, indices, k))
        on_queries(len(part))
    return Neighbours(torch.cat([each.distances for each in found]), torch.cat([each.indices for each in found]))


def _candidates(
    queries: Float[Tensor, "m d"],
    base: Float[Tensor, "n d"],
    centre: Float[Tensor, " d"],
    squares: Float[Tensor, " n"],
    count: int,
    own: int | None,
) -> Int64[Tensor, "m count"]:
    """Indices of the nearest base points of each query, except for rounding.

    Args:
        queries: Centred points.
        base: Points that are not centred.
        centre: Vector to subtract from the base.
        squares: Squared norms of the centred base.
        count: Number of candidates per query.
        own: Index in the base of the first query, if the queries are consecutive base points to exclude; else None.
    """
    scores = queries.new_empty(len(queries), 0)
    indices = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(base), BASE):
        part = base[start : start + BASE] - centre
        block = torch.addmm(squares[start : start + BASE], queries, part.T, alpha=-2)
        if own is not None:
            block.diagonal(own - start).fill_(torch.inf)
        best = block.topk(min(count, len(part)), largest=False, sorted=False)
        scores = torch.cat([scores, best.values], 1)
        indices = torch.cat([indices, best.indices + start], 1)
        kept = scores.topk(min(count, scores.shape[1]), largest=False, sorted=False).indices
        scores, indices = scores.gather(1, kept), indices.gather(1, kept)
    return indices


def _ranked(
    queries: Float[Tensor, "m d"], base: Float[Tensor, "n d"], indices: Int64[Tensor, "m count"], k: int
) -> Neighbours:
    """The k nearest candidates, by distances computed from differences."""
    indices = indices.sort(1).values  # of equal distances, the smaller index comes first
    rows = max(1, RANKED // (indices.shape[1] * base.shape[1]))
    parts = zip(queries.split(rows), indices.split(rows), strict=True)
    distances = torch.cat([torch.linalg.vector_norm(base[some] - part[:, None], dim=2) for part, some in parts])
    nearer = distances.float().sort(stable=True, dim=1)
    return Neighbours(nearer.values[:, :k], indices.gather(1, nearer.indices[:, :k]))
