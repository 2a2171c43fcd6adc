"""The nearest neighbours of many points among many, in blocks: products find candidates, differences rank them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from sfumato.errors import DataError, TooFewImagesError
from sfumato.metrics.widths import check_widths

QUERIES = 2048
BASE = 4096
"""The sides of a block: of queries that share a pass over the base, and of the base that is compared at once."""

SPARE = 8
"""Candidates beyond the k wanted, so that the rounding of products seldom loses a neighbour."""

RANKED = 1 << 24
"""Numbers that are held at once while candidates are ranked."""


class Neighbours(NamedTuple):
    """The nearest points of each query, the nearest first.

    Attributes:
        distances: Euclidean.
        indices: Of the points within the base; of equally near ones the first.
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
    """The k points of the base that are nearest to each query.

    Candidates are found by |b|^2 - 2 q.b, centred, in float32; their distances are then those of direct differences,
    in which nothing cancels. So distances are those of the indices to rounding, and a neighbour can only be missed for
    others whose squared distance is within some 1e-6 of |q|^2 + |b|^2 (centred) of its own, more than `SPARE` of them.

    Args:
        queries: float32, on any device.
        base: As wide, on the same device.
        k: From 1 to n, or to n - 1 without oneself.
        exclude_self: Queries and base are the same points, and none is its own neighbour.
        on_queries: Told how many more queries are done.

    Raises:
        TooFewImagesError: There are too few points.
        DataError: They differ in width, hold NaN or infinities, or are too far apart for float32.
    """
    candidates = min(k + SPARE, len(base) - exclude_self)
    _check(queries, base, k, candidates)
    centre = base.mean(0)
    squares = torch.cat([(part - centre).square().sum(1) for part in base.split(BASE)])
    if not (squares.isfinite().all() and queries.isfinite().all()):
        problem = "The points hold NaN or infinities, or are too far apart for float32"
        raise DataError(problem, "Look at what made them.")
    found = []
    for start in range(0, len(queries), QUERIES):
        part = queries[start : start + QUERIES]
        indices = _candidates(part - centre, base, centre, squares, candidates, start if exclude_self else None)
        found.append(_ranked(part, base, indices, k))
        on_queries(len(part))
    return Neighbours(torch.cat([each.distances for each in found]), torch.cat([each.indices for each in found]))


def _check(queries: Tensor, base: Tensor, k: int, most: int) -> None:
    if not 1 <= k <= most:
        kind = DataError if k < 1 else TooFewImagesError
        raise kind(f"{k} nearest neighbours are asked for among {most} points", f"Choose 1 to {max(most, 1)}.")
    if not len(queries):
        raise TooFewImagesError("There are no points to find the neighbours of", "Give at least one.")
    check_widths(queries, base)


def _candidates(
    queries: Float[Tensor, "m d"],
    base: Float[Tensor, "n d"],
    centre: Float[Tensor, " d"],
    squares: Float[Tensor, " n"],
    count: int,
    own: int | None,
) -> Int64[Tensor, "m count"]:
    """Which points of the base are nearest to queries that are centred, but for rounding.

    Args:
        queries: Centred.
        base: Not centred.
        centre: What to subtract from the base.
        squares: The squared norms of the centred base.
        count: How many are found.
        own: The index in the base of the first query, whose next ones follow; None where queries are not of the base.
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
    """The k nearest of the candidates, by direct differences."""
    indices = indices.sort(1).values  # so that of equally near points the first comes first
    rows = max(1, RANKED // (indices.shape[1] * base.shape[1]))
    parts = zip(queries.split(rows), indices.split(rows), strict=True)
    distances = torch.cat([torch.linalg.vector_norm(base[some] - part[:, None], dim=2) for part, some in parts])
    nearer = distances.float().sort(stable=True, dim=1)
    return Neighbours(nearer.values[:, :k], indices.gather(1, nearer.indices[:, :k]))
