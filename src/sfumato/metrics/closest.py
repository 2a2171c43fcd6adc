"""The training images that look most like each of other images, over flips and small shifts: exact, seldom brute."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from sfumato.errors import DataError
from sfumato.metrics.moves import Move, check_reach, moves_within, window

WIDTH = 256
"""Numbers in a sketch, besides what it leaves out."""

LEARNED = 1024
"""Images that the sketch is learned from."""

ITERATIONS = 2
"""By which the sketch is learned."""

HELD = 1 << 23
"""Numbers that are held at once: of windows, of sketches' distances, of candidates."""

FIRST = 64
"""Candidates that are looked at first; each later round looks at twice as many."""

ROUNDING = 1e-5
"""Of the largest squared norm, that squared distances of sketches may be wrong by."""


class Closest(NamedTuple):
    """The images of a base that are closest to each query, the closest first.

    Attributes:
        distances: Root mean square difference of the pixels of the windows, black to white being 1.
        indices: Of the images within the base.
        moves: What the closest image has gone through to look like the query, one a query.
    """

    distances: Float32[Tensor, "m k"]
    indices: Int64[Tensor, "m k"]
    moves: tuple[Move, ...]


class Sketch:
    """A few numbers for many, whose distances are never greater: coordinates in a subspace, and how much is left out.

    For any orthonormal P, |a - b|^2 = |Pa - Pb|^2 + |ra - rb|^2 with r what P leaves out, where |ra - rb| is at least
    ||ra| - |rb||. So the distances of (Pa, |ra|) bound those of a from below, and closely where P holds most of the
    variance: it is about the principal components of some images, by subspace iteration.
    """

    def __init__(self, images: Float[Tensor, "n d"]) -> None:
        self._centre = images.mean(0)
        centred = images - self._centre
        basis = centred[:WIDTH].T
        for _ in range(ITERATIONS):
            basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
        self._basis = basis

    def __call__(self, images: Float[Tensor, "n d"]) -> Float[Tensor, "n s"]:
        """The sketches of images."""
        centred = images - self._centre
        inside = centred @ self._basis
        outside = (_squares(centred) - _squares(inside)).clamp(min=0).sqrt()
        return torch.cat([inside, outside[:, None]], 1)


def closest(
    queries: Float[Tensor, "m c h w"],
    base: Float[Tensor, "n c h w"],
    count: int,
    *,
    reach: int,
    flips: bool = True,
    on_queries: Callable[[int], None] = lambda _: None,
) -> Closest:
    """The `count` images of the base that are closest to each query, each as flipped and moved as suits it best.

    Every move is compared on the same number of pixels: a window into the query, and the middle of the image of the
    base. Sketches say which images can be among the closest; only those are compared pixel by pixel, in float32, until
    no other can be. So the answer is that of comparing all.

    Args:
        queries: float32 in [-1, 1].
        base: Of the same shape, on the same device.
        count: From 1 to n.
        reach: The farthest move in pixels, each way.
        flips: Whether images are compared with their mirror images too.
        on_queries: Told how many more queries are done.

    Raises:
        DataError: There are too few images, they differ in shape, are too small for the reach, or hold NaN.
    """
    _check(queries, base, count)
    check_reach(reach, base)
    moves = moves_within(reach, flips)
    middle = window(base, reach).flatten(1)
    pixels = middle.shape[1]
    sketch = Sketch(middle[:: -(-len(base) // LEARNED)])
    sketches = torch.cat([sketch(part) for part in middle.split(max(1, HELD // pixels))])
    # Written in place: small results that stay, between large ones that go, would leave holes in memory.
    distances = base.new_empty(len(queries), count)
    indices = torch.empty(len(queries), count, dtype=torch.int64, device=base.device)
    best: list[Move] = []
    for part in queries.split(max(1, HELD // (len(moves) * max(pixels, len(base))))):
        windows = torch.stack([window(part, reach, move).flatten(1) for move in moves], 1)
        bounds = _bounds(sketch(windows.flatten(0, 1)), sketches).unflatten(0, windows.shape[:2]).amin(1)
        for some, bound in zip(windows, bounds, strict=True):
            row = len(best)
            distances[row], indices[row], how = _compared(some, bound, middle, count)
            best.append(moves[how])
        on_queries(len(part))
    return Closest(distances / 2, indices, tuple(best))


def _check(queries: Tensor, base: Tensor, count: int) -> None:
    if not len(queries) or not 1 <= count <= len(base):
        raise DataError(
            f"The {count} closest of {len(base)} images are asked for, for {len(queries)} images",
            "Give at least one image, and as many to compare it with as are asked for.",
        )
    if queries.shape[1:] != base.shape[1:]:
        one, other = ("x".join(map(str, images.shape[1:])) for images in (queries, base))
        raise DataError(
            f"Images of {one} (channels, height, width) are compared with images of {other}",
            "Bring both to the same size and channels.",
        )
    if not all(torch.isfinite(images.sum()) for images in (queries, base)):
        raise DataError("The images hold NaN or infinities", "Look at what made them.")


def _bounds(one: Float[Tensor, "m s"], other: Float[Tensor, "n s"]) -> Float[Tensor, "m n"]:
    """Squared distances that are never greater than those of the images, in spite of rounding."""
    squares, others = _squares(one), _squares(other)
    slack = ROUNDING * torch.maximum(squares.max(), others.max())
    return torch.addmm(others - slack, one, other.T, alpha=-2) + squares[:, None]


def _compared(
    windows: Float[Tensor, "v d"], bounds: Float[Tensor, " n"], middle: Float[Tensor, "n d"], count: int
) -> tuple[Float[Tensor, " k"], Int64[Tensor, " k"], int]:
    """The closest images to one query: their root mean square differences, their indices, the first one's move.

    Args:
        windows: The query, moved in each way.
        bounds: Squared distances that are not greater than the true ones.
        middle: The images it is compared with.
        count: How many are found.
    """
    order = bounds.argsort(stable=True)
    squares, indices, hows = bounds.new_empty(0), order[:0], order[:0]
    start, size = 0, max(FIRST, count)
    while start < len(order) and (len(squares) < count or bounds[order[start]] <= squares[count - 1]):
        some = order[start : start + size].sort().values
        found, how = _differences(windows, middle.index_select(0, some))
        squares, ranks = torch.cat([squares, found]).sort(stable=True)
        squares, ranks = squares[:count], ranks[:count]
        indices, hows = torch.cat([indices, some])[ranks], torch.cat([hows, how])[ranks]
        start, size = start + size, min(2 * size, max(FIRST, HELD // windows.shape[1]))
    return (squares / windows.shape[1]).sqrt(), indices, int(hows[0])


def _differences(
    windows: Float[Tensor, "v d"], images: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"]]:
    """Each image's squared distance from the window nearest to it, and which that is.

    Products, which round, choose the window; the difference, in which nothing cancels, is the distance.
    """
    how = torch.addmm(_squares(windows)[:, None], windows, images.T, alpha=-2).argmin(0)
    return _squares(windows.index_select(0, how) - images), how


def _squares(rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The squared norm of each row."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square()
