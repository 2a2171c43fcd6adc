"""Exact search for the training images closest to each query, over flips and small shifts.

Lower bounds of the distances exclude most images, from coarse to fine. The first bound is the distance of a few
components of each image from boxes around the components of all shifts of the query; the second uses more components
of each shift. The remaining images are compared pixel by pixel.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from sfumato.errors import DataError
from sfumato.metrics.memorization.shifts import Shift, check_window, shifts_within, window
from sfumato.metrics.memorization.sketches import AXES, Boxes, Sketcher, Sketches, bounds, squared_norms

SKETCH_WIDTHS = (12, 24, 128)
"""Number of components of each half of an image in its sketches, from coarse to fine."""

LEARNED = 1024
"""Number of images from which the principal components are computed."""

HELD = 1 << 23
"""Maximum number of elements of the tensors of a thread: windows, distances of sketches, candidates."""

CACHED = 1 << 21
"""Maximum number of elements of the tensor of coordinates in boxes, about the size of a CPU cache."""

FIRST = 32
"""Number of candidates in the first round of comparison by pixels; each later round has up to twice as many."""

LIKELY = 256
"""Number of images with the smallest coarse bounds, which are compared first."""


class Closest(NamedTuple):
    """Closest images of each query, sorted by distance.

    Attributes:
        distances: Root mean square difference of the pixels of the windows; black to white is 1.
        indices: Indices of the images in the base.
        moves: Flip and shift of the closest image that match each query best.
    """

    distances: Float32[Tensor, "m k"]
    indices: Int64[Tensor, "m k"]
    moves: tuple[Shift, ...]


class _Best(NamedTuple):
    """Closest images of one query among those compared so far, with their squared distances and best moves.

    They are sorted by distance, then by index.
    """

    squares: Float[Tensor, " k"]
    indices: Int64[Tensor, " k"]
    moves: Int64[Tensor, " k"]

    def with_others(self, squares: Tensor, moves: Tensor, indices: Tensor, count: int) -> "_Best":
        """The `count` closest images of these and others."""
        squares, indices = torch.cat([self.squares, squares]), torch.cat([self.indices, indices])
        by_index = indices.argsort()
        order = by_index[squares[by_index].argsort(stable=True)[:count]]
        return _Best(squares[order], indices[order], torch.cat([self.moves, moves])[order])

    def limit(self, count: int) -> float:
        """Largest squared distance of an image that can be among the `count` closest."""
        return self.squares[count - 1].item() if len(self.squares) >= count else torch.inf


class _Query(NamedTuple):
    """One query with all its moves.

    Attributes:
        windows: Pixels of the windows.
        levels: Sketches of its shifts, except the coarsest.
        distances: Squared distances of all images from the boxes around the coarsest sketches.
        off: Maximum distance of a sketch from the space of its box.
    """

    windows: Float[Tensor, "v d"]
    levels: list[Sketches]
    distances: Float[Tensor, "b n"]
    off: Float[Tensor, " b"]


class Search:
    """Index for finding the images closest to queries, over flips and shifts.

    All moves are compared on the same number of pixels: a window of the query, and the middle of the image in the base.
    The result equals that of comparing all pixels of all images in float32.

    Args:
        base: Images to search, float32 in [-1, 1]; the search runs on their device.
        reach: Largest shift in pixels, in each direction.
        flips: Whether images are also compared with their mirror images.

    Raises:
        DataError: There are no images, they are too small for the reach, or contain NaN.
    """

    def __init__(self, base: Float[Tensor, "n c h w"], *, reach: int, flips: bool = True) -> None:
        _check_finite(base)
        check_window(reach, base)
        self._shape, self._reach, self._flips = base.shape, reach, flips
        self._moves = shifts_within(reach, flips)
        self._shifts = shifts_within(reach, flips=False)
        middle = window(base, reach)
        self._middle = middle.flatten(1)
        self._sketcher = Sketcher(middle[:: -(-len(base) // LEARNED)], SKETCH_WIDTHS[-1])
        parts = [self._sketcher(part) for part in middle.split(max(1, HELD // self._middle.shape[1]))]
        sketches = Sketches(torch.cat([part.numbers for part in parts]), parts[0].evens)
        self._coarse, *self._levels = (sketches.narrowed(width) for width in SKETCH_WIDTHS)
        self._squares = sketches.numbers.square().sum(1)

    def closest(
        self, queries: Float[Tensor, "m c h w"], count: int, on_queries: Callable[[int], None] = lambda _: None
    ) -> Closest:
        """The `count` closest images of each query.

        Args:
            queries: Images, float32 in [-1, 1], of the shape of the base, on the same device.
            count: Number of images per query, 1 to n.
            on_queries: Called with the number of queries completed since the last call.

        Raises:
            DataError: There are too few images, the shapes differ, or values are NaN.
        """
        _check(queries, self._shape, count)
        pixels = self._middle.shape[1]
        distances = queries.new_empty(len(queries), count)
        indices = torch.empty(len(queries), count, dtype=torch.int64, device=queries.device)
        moves: list[Shift] = []
        windows = len(self._moves) * pixels
        boxes = (1 + self._flips) * (AXES + 1) * len(self._squares)
        parts = queries.split(max(1, min(HELD // windows, CACHED // boxes)))
        with _single_threads(queries.device) as workers:
            for found in workers.map(lambda part: [self._found(each, count) for each in self._prepared(part)], parts):
                for best in found:
                    row = len(moves)
                    distances[row], indices[row] = (best.squares / pixels).sqrt() / 2, best.indices
                    moves.append(self._moves[int(best.moves[0])])
                on_queries(len(found))
        return Closest(distances, indices, tuple(moves))

    def _prepared(self, queries: Float[Tensor, "m c h w"]) -> Iterator[_Query]:
        shifts, flips = len(self._shifts), 1 + self._flips
        shifted = torch.stack([window(queries, self._reach, shift) for shift in self._shifts], 1)
        windows = torch.cat([shifted, shifted.flip(4)], 1) if self._flips else shifted
        sketches = self._sketcher(shifted.flatten(0, 1))
        coarse, *levels = (sketches.narrowed(width) for width in SKETCH_WIDTHS)
        flipped = [coarse, coarse.mirrored()][:flips]
        boxes = Boxes.around(torch.stack([each.numbers.unflatten(0, (-1, shifts)) for each in flipped], 1))
        squares = boxes.bounds(self._coarse.numbers, self._squares)
        for place, (pixels, distances, off) in enumerate(zip(windows.flatten(2), squares, boxes.off, strict=True)):
            rows = slice(place * shifts, (place + 1) * shifts)
            finer = [Sketches(level.numbers[rows], level.evens) for level in levels]
            yield _Query(pixels, finer, distances, off)

    def _found(self, query: _Query, count: int) -> _Best:
        """Closest images of one query: first among those with the smallest bounds, then among all others."""
        levels = list(zip(query.levels, self._levels, strict=True))
        squares = query.distances
        likely = squares.amin(0).topk(min(max(LIKELY, count), squares.shape[1]), largest=False).indices
        best = _Best(squares.new_empty(0), likely[:0], likely[:0])
        best = self._compared(query, levels[-1:], likely, best, count)
        farthest = (best.limit(count) ** 0.5 + query.off).square()
        possible = (squares <= farthest[:, None]).any(0)
        possible[likely] = False
        for part in possible.nonzero()[:, 0].split(max(1, HELD // len(query.windows))):
            best = self._compared(query, levels, part, best, count)
        return best

    def _compared(
        self,
        query: _Query,
        levels: Sequence[tuple[Sketches, Sketches]],
        some: Int64[Tensor, " n"],
        best: _Best,
        count: int,
    ) -> _Best:
        """Updates the `count` closest images with those at `some`, most of which the sketches in `levels` exclude."""
        squares = query.windows.new_zeros(len(some))
        for sketches, level in levels:
            if not len(some):
                return best
            norms = self._squares.index_select(0, some)
            squares = bounds(
                sketches, Sketches(level.numbers.index_select(0, some), level.evens), norms, self._flips
            ).amin(0)
            possible = (squares <= best.limit(count)).nonzero()[:, 0]
            some, squares = some.index_select(0, possible), squares.index_select(0, possible)
        squares, order = squares.sort()
        some = some[order]
        start, size = 0, max(FIRST, count)
        while (end := min(start + size, int((squares <= best.limit(count)).sum()))) > start:
            part = some[start:end]
            best = best.with_others(*_differences(query.windows, self._middle.index_select(0, part)), part, count)
            start, size = end, min(2 * size, max(FIRST, HELD // query.windows.shape[1]))
        return best


@contextmanager
def _single_threads(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Workers with one thread each: most operations are too small to be split among cores."""
    threads = torch.get_num_threads()
    count = threads if device.type == "cpu" else 1
    workers = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # a worker's call has changed the default of new threads


def _check(queries: Tensor, base: torch.Size, count: int) -> None:
    if not len(queries) or not 1 <= count <= base[0]:
        raise DataError(
            f"The {count} closest of {base[0]} images were requested for {len(queries)} images",
            "Give at least one image, and at least as many images to search as are requested.",
        )
    if queries.shape[1:] != base[1:]:
        one, other = ("x".join(map(str, shape[1:])) for shape in (queries.shape, base))
        raise DataError(
            f"Images of shape {one} (channels, height, width) are compared with images of shape {other}",
            "Convert both to the same size and channels.",
        )
    _check_finite(queries)


def _check_finite(images: Tensor) -> None:
    if not torch.isfinite(images.sum()):
        raise DataError("The images contain NaN or infinite values", "Check the program that generated them.")


def _differences(
    windows: Float[Tensor, "v d"], images: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"]]:
    """Squared distance of each image from its closest window, and the index of that window.

    The window is chosen by products of differences from the mean window, so that rounding is small even for similar
    windows. The distance is computed without products.
    """
    centre = windows.mean(0)
    apart = windows - centre
    how = torch.addmm(squared_norms(apart)[:, None], apart, (images - centre).T, alpha=-2).argmin(0)
    return squared_norms(windows.index_select(0, how) - images), how
