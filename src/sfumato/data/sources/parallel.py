"""Parallel processing of images with progress bars; processes start only if the work takes long."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from sfumato.errors import DataError
from sfumato.utils.text import printable, printable_lines

P = TypeVar("P")
R = TypeVar("R")

PATIENCE = 0.7
"""Seconds after which the remaining time is estimated."""

WORTH = 2.0
"""Remaining seconds of work from which processes are started; starting one takes about a second."""


IDLE = 5.0
"""Seconds without work after which a process ends and its memory is released."""


def in_parallel(function: Callable[[P], R], pieces: Sequence[P], sizes: Sequence[int], title: str) -> Iterator[R]:
    """Applies `function` to every piece, in this process or, if it takes long, in one process per core.

    Warnings are suppressed; `function` must return the errors of decoders.

    Args:
        function: Function that can be imported by name.
        pieces: Arguments of the function, small when pickled.
        sizes: Number of images in each piece, for the progress bar.
        title: Title of the progress bar.

    Yields:
        The results in any order.

    Raises:
        DataError: A process was killed.
    """
    begun = time.monotonic()
    with progress_bar(title, sum(sizes)) as on_images:
        for index, piece in enumerate(pieces):
            elapsed, done, left = time.monotonic() - begun, sum(sizes[:index]), sum(sizes[index:])
            if elapsed > PATIENCE and elapsed * left > WORTH * done and len(pieces) - index > 1:
                for number, result in _in_processes(function, list(enumerate(pieces))[index:]):
                    on_images(sizes[number])
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
    """Results of numbered pieces; this process computes the last pieces while the others start."""
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
            "A process that read images was killed, probably because memory ran out",
            "Run the same command again: it continues with the remaining images.",
        ) from error
    finally:
        for future in pending:
            future.cancel()


BAR_DELAY = 1.0
"""Seconds before a progress bar appears."""


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Progress bar over `total` images, or over bytes; yields the function that adds finished ones."""
    console = Console(stderr=True)
    more = (DownloadColumn(),) if total is None else (MofNCompleteColumn(), TimeRemainingColumn())
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *more)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    begun = time.monotonic()
    task = bar.add_task(printable(title), total=total)

    def advance(done: int) -> None:
        bar.advance(task, done)
        if time.monotonic() - begun > BAR_DELAY:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()


def print_message(sentence: str) -> None:
    """Prints a message on stderr with escaped control characters."""
    Console(stderr=True).print(printable_lines(sentence), markup=False, emoji=False, soft_wrap=True)
