"""Doing one thing to many pieces of work: at once if it takes long, and while a person can see how far it is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sfumato.data.sources.progress import image_bar
from sfumato.errors import DataError

P = TypeVar("P")
R = TypeVar("R")

PATIENCE = 0.7
"""Seconds after which it is judged how long the work will take."""

WORTH = 2.0
"""Seconds of work left at which other processes are started: each takes about one to begin."""


IDLE = 5.0
"""Seconds without work after which a process ends, and its memory is free for training."""


def in_parallel(function: Callable[[P], R], pieces: Sequence[P], sizes: Sequence[int], title: str) -> Iterator[R]:
    """Applies `function` to every piece of work: here, or in as many processes as there are cores if it takes long.

    Warnings are silenced meanwhile: what a decoder has to say about a file, `function` returns.

    Args:
        function: One that can be imported by its name.
        pieces: What it is given; cheap to pickle.
        sizes: Images in each piece, for the progress bar.
        title: What the progress bar says.

    Yields:
        The results, as they come.

    Raises:
        DataError: A process was killed.
    """
    begun = time.monotonic()
    with image_bar(title, sum(sizes)) as on_images:
        for index, piece in enumerate(pieces):
            if _is_long(time.monotonic() - begun, sum(sizes[:index]), sum(sizes[index:])) and len(pieces) - index > 1:
                for done, result in _in_processes(function, list(enumerate(pieces))[index:]):
                    on_images(sizes[done])
                    yield result
                return
            yield _quietly(function, piece)
            on_images(sizes[index])


def _is_long(elapsed: float, done: int, left: int) -> bool:
    """Whether what is left will take long, by what was done in the seconds that have elapsed."""
    return elapsed > PATIENCE and elapsed * left > WORTH * done


def _quietly(function: Callable[[P], R], piece: P) -> R:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(piece)


def _numbered(function: Callable[[P], R], index: int, piece: P) -> tuple[int, R]:
    return index, _quietly(function, piece)


def _in_processes(function: Callable[[P], R], pieces: Sequence[tuple[int, P]]) -> Iterator[tuple[int, R]]:
    """The results of numbered pieces; while the processes begin, this one goes on from the end."""
    from loky import as_completed, get_reusable_executor
    from loky.process_executor import BrokenProcessPool

    executor = get_reusable_executor(timeout=IDLE)
    pending = [executor.submit(_numbered, function, index, piece) for index, piece in pieces]
    try:
        for future, (index, piece) in reversed(list(zip(pending, pieces, strict=True))):
            if future.cancel():
                pending.remove(future)
                yield index, _quietly(function, piece)
                for done in [other for other in pending if other.done()]:
                    pending.remove(done)
                    yield done.result()
        yield from (future.result() for future in as_completed(pending))
    except BrokenProcessPool as error:
        raise DataError(
            "A process that read images was killed, as happens when memory runs out",
            "Give the same command again: it goes on with the images that are left.",
        ) from error
    finally:
        for future in pending:
            future.cancel()
