"""Doing one thing to many pieces of work: at once if it takes long, and while a person can see how far it is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sfumato.sources.progress import image_bar

P = TypeVar("P")
R = TypeVar("R")

PATIENCE = 0.7
"""Seconds of work in this process before others are started, which takes about as long."""


def in_parallel(function: Callable[[P], R], pieces: Sequence[P], sizes: Sequence[int], title: str) -> Iterator[R]:
    """Applies `function` to every piece of work: here for a moment, then in as many processes as there are cores.

    Warnings are silenced meanwhile: what a decoder has to say about a file, `function` returns.

    Args:
        function: One that can be imported by its name.
        pieces: What it is given; cheap to pickle.
        sizes: Images in each piece, for the progress bar.
        title: What the progress bar says.

    Yields:
        The results, as they come.
    """
    begun = time.monotonic()
    with image_bar(title, sum(sizes)) as on_images:
        for index, piece in enumerate(pieces):
            if time.monotonic() - begun > PATIENCE and len(pieces) - index > 1:
                rest = _in_processes(function, list(enumerate(pieces))[index:])
                for done, result in rest:
                    on_images(sizes[done])
                    yield result
                return
            yield _quietly(function, piece)
            on_images(sizes[index])


def _quietly(function: Callable[[P], R], piece: P) -> R:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(piece)


def _numbered(function: Callable[[P], R], index: int, piece: P) -> tuple[int, R]:
    return index, _quietly(function, piece)


def _in_processes(function: Callable[[P], R], pieces: Sequence[tuple[int, P]]) -> Iterator[tuple[int, R]]:
    from joblib import Parallel, delayed

    workers = Parallel(n_jobs=-1, return_as="generator_unordered", batch_size=1, max_nbytes=None)
    yield from workers(delayed(_numbered)(function, index, piece) for index, piece in pieces)
