"""What a person sees while something runs: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

SECONDS_A_LINE = 15.0
"""Between two lines of progress where there is no terminal."""


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "", style="cyan")


def _bar(console: Console, *more: ProgressColumn) -> Progress:
    done = TextColumn("{task.completed:,.0f}/{task.total:,.0f} images")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        done,
        *more,
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=20)


class TrainingProgress:
    """A training bar with images/s, loss and time left, sentences above it. A context manager."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.bar = _bar(
            self.console,
            _Rate(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[waiting]:.0%} waiting for data"),
        )
        self.task = self.bar.add_task("training", total=None, loss=float("nan"), waiting=0.0, visible=False)
        self.line_at, self.line_images, self.smooth_loss = time.monotonic(), 0, float("nan")
        self.begun, self.waited_before, self.waiting = time.monotonic(), 0.0, 0.0

    def __enter__(self) -> "TrainingProgress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def say(self, text: str) -> None:
        """A sentence, above the bar."""
        self.console.print(text, markup=False, emoji=False, soft_wrap=True)

    def advance(self, images_seen: int, images: int, loss: float, waited: float) -> None:
        """A step ended: `images_seen` of `images`, at this loss; `waited` seconds for data since training began."""
        is_first = self.smooth_loss != self.smooth_loss
        self.smooth_loss = loss if is_first else 0.98 * self.smooth_loss + 0.02 * loss
        if is_first:
            self.begun, self.waited_before = time.monotonic(), waited
            self.line_at, self.line_images = self.begun, images_seen
        elapsed = time.monotonic() - self.begun
        self.waiting = (waited - self.waited_before) / elapsed if elapsed else 0.0
        self.bar.update(
            self.task,
            completed=images_seen,
            total=images,
            loss=self.smooth_loss,
            waiting=self.waiting,
            visible=True,
        )
        if not self.console.is_terminal and time.monotonic() - self.line_at > SECONDS_A_LINE:
            self._print_line(images_seen, images)

    def _print_line(self, images_seen: int, images: int) -> None:
        now = time.monotonic()
        rate = (images_seen - self.line_images) / (now - self.line_at)
        left = f", {(images - images_seen) / rate / 60:.1f} minutes left" if rate else ""
        share = images_seen / images
        self.say(
            f"{images_seen:,}/{images:,} images ({share:.0%}), {rate:,.0f} images/s, loss {self.smooth_loss:.4f}, "
            f"{self.waiting:.0%} waiting for data{left}"
        )
        self.line_at, self.line_images = now, images_seen


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
