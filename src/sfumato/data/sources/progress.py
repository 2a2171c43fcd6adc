"""Bars on stderr for what takes longer than a moment, if stderr is a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from sfumato.utils.text import printable, printable_lines

PATIENCE = 1.0
"""Seconds before a bar appears."""


@contextmanager
def image_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar over `total` images; yields the function to tell how many more are done."""
    with _bar(title, total, MofNCompleteColumn(), TimeRemainingColumn()) as advance:
        yield advance


@contextmanager
def byte_bar(title: str) -> Iterator[Callable[[int], None]]:
    """A bar over bytes without a known end; yields the function to tell how many more are done."""
    with _bar(title, None, DownloadColumn()) as advance:
        yield advance


@contextmanager
def _bar(title: str, total: int | None, *more: ProgressColumn) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *more)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    begun = time.monotonic()
    task = bar.add_task(printable(title), total=total)

    def advance(done: int) -> None:
        bar.advance(task, done)
        if time.monotonic() - begun > PATIENCE:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()


def tell(sentence: str) -> None:
    """A sentence on stderr, control characters escaped."""
    Console(stderr=True).print(printable_lines(sentence), markup=False, emoji=False, soft_wrap=True)
