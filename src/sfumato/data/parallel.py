"""Doing one thing to many files at once, while a person can see how far it is."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")

PATIENCE = 1.0  # seconds before a progress bar appears


def map_files(function: Callable[[Path], T], paths: Sequence[Path], title: str) -> list[T]:
    """Apply `function` to every path, in threads.

    Warnings are silenced meanwhile: what a decoder has to say about a file, `function` returns.

    Args:
        function: Reads one file.
        paths: The files.
        title: What the progress bar says.

    Returns:
        The results, in the order of `paths`.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")
        return list(_watched(pool.map(function, paths), len(paths), title))


def _watched(results: Iterable[T], total: int, title: str) -> Iterator[T]:
    """Pass the results on; a bar on stderr follows them if it is a terminal and they take long."""
    console = Console(stderr=True)
    begun = time.monotonic()
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(title, total=total)
    try:
        for result in results:
            yield result
            bar.advance(task)
            if time.monotonic() - begun > PATIENCE:
                bar.start()
    finally:
        bar.stop()
