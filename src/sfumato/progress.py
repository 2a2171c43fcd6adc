"""What a person sees while something runs: a bar on a terminal, a line now and then elsewhere."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_A_LINE = 15.0
"""Between two lines of progress where there is no terminal."""


def _bar(console: Console) -> Progress:
    done = TextColumn("{task.completed:,.0f}/{task.total:,.0f} images")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        done,
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=20)


class TrainingProgress:
    """A training bar with images/s, loss and time left, sentences above it. A context manager."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f}%, {task.fields[images]:,} images"),
            TextColumn("{task.fields[rate]:,.0f} images/s", style="cyan"),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[waiting]:.0%} waiting for data"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        is_terminal = self.console.is_terminal
        self.bar = Progress(*columns, console=self.console, disable=not is_terminal, speed_estimate_period=20)
        self.task = self.bar.add_task(
            "training", total=1.0, visible=False, images=0, rate=0.0, loss=math.nan, waiting=0.0
        )
        self.begun: _Mark | None = None
        self.smooth_loss = math.nan

    def __enter__(self) -> "TrainingProgress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def say(self, text: str) -> None:
        """A sentence, above the bar."""
        self.console.print(text, markup=False, emoji=False, soft_wrap=True)

    def advance(self, images_seen: int, share: float, loss: float, waited: float) -> None:
        """A step ended, at this loss: so many images seen, that share of the run over, seconds waited for data."""
        now = _Mark(time.monotonic(), images_seen, share, waited)
        if self.begun is None:
            self.begun = self.line = now
            self.smooth_loss = loss
        self.smooth_loss = 0.98 * self.smooth_loss + 0.02 * loss
        waiting, rate = now.waiting_since(self.begun), now.rate_since(self.line)
        self.bar.update(
            self.task,
            completed=share,
            visible=True,
            images=images_seen,
            rate=rate,
            loss=self.smooth_loss,
            waiting=waiting,
        )
        if now.time - self.line.time > SECONDS_A_LINE:
            if not self.console.is_terminal:
                self._print_line(now, waiting)
            self.line = now

    def _print_line(self, now: "_Mark", waiting: float) -> None:
        speed = (now.share - self.line.share) / (now.time - self.line.time)
        left = f", {(1 - now.share) / speed / 60:.1f} minutes left" if speed else ""
        self.say(
            f"{now.share:.0%}, {now.images:,} images, {now.rate_since(self.line):,.0f} images/s, "
            f"loss {self.smooth_loss:.4f}, {waiting:.0%} waiting for data{left}"
        )


class _Mark(NamedTuple):
    """A moment of a run: its time in seconds, images, share that is over, and seconds waited for data."""

    time: float
    images: int
    share: float
    waited: float

    def rate_since(self, earlier: "_Mark") -> float:
        """Images a second."""
        return (self.images - earlier.images) / (self.time - earlier.time) if self.time > earlier.time else 0.0

    def waiting_since(self, earlier: "_Mark") -> float:
        """Share of the time that went by waiting for data."""
        return (self.waited - earlier.waited) / (self.time - earlier.time) if self.time > earlier.time else 0.0


@contextmanager
def sampling_bar(count: int, steps: int) -> Iterator[Callable[[int], None]]:
    """A bar over `count` images of `steps` steps; yields the function to tell how many images took a step."""
    with _bar(Console(stderr=True)) as bar:
        task = bar.add_task("sampling", total=count)
        yield lambda images: bar.advance(task, images / steps)


@contextmanager
def evaluations_bar() -> Iterator[Callable[[int], None]]:
    """A bar for work of unknown length; yields the function to tell how many images the network has looked at."""
    console = Console(stderr=True)
    count = TextColumn("{task.completed:,.0f} evaluations")
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("following the flow", total=None)
        yield lambda images: bar.advance(task, images)


@contextmanager
def comparison_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar over images that are compared; yields the function to tell how many more are done, of how many."""
    with _bar(Console(stderr=True)) as bar:
        task = bar.add_task("comparing", total=None, visible=False)
        yield lambda done, total: bar.update(task, advance=done, total=total, visible=True)


@contextmanager
def stages_bar() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """A line for each stage of a work, gone at its end; yields what is told that a stage of so many parts begins.

    That gives the function to tell how many more parts are done. Stages that are over leave their place to the next.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:

        def begin(what: str, parts: int) -> Callable[[int], None]:
            for task in bar.task_ids:
                bar.remove_task(task)
            task = bar.add_task(what, total=parts)
            return lambda done: bar.advance(task, done) if task in bar.task_ids else None

        yield begin
