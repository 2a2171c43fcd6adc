"""Progress bars on stderr for sampling, network evaluations, comparisons and stages."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from sfumato.utils.progress.display import Display, display_on
from sfumato.utils.progress.line import Fact, Line, Pace, clock


class Count:
    """Progress of a task, shown after each advance; without a unit the numbers are not shown."""

    def __init__(self, display: Display, description: Fact, total: float | None, unit: str) -> None:
        self._display, self._description, self._unit = display, description, unit
        self._done, self._pace = 0.0, Pace()
        self.total = total

    def advance(self, units: float = 0.0) -> None:
        """Adds completed units."""
        self._done += units
        self._pace.mark(time.monotonic(), self._done)
        self._display.show(self._line())

    def _line(self) -> Line:
        if self.total is None:
            counted = Fact(f"{self._done:,.0f} {self._unit}")
            return Line(self._description, None, (counted, Fact(clock(self._pace.elapsed), 1)))
        share = self._done / self.total if self.total else 1.0
        facts = (
            Fact(f"{share:.0%}"),
            Fact(f"{self._done:,.0f}/{self.total:,.0f} {self._unit}" if self._unit else "", 1),
            Fact(self._pace.left(self.total - self._done)),
        )
        return Line(self._description, share, facts)


@contextmanager
def _display(transient: bool = False) -> Iterator[Display]:
    display = display_on(Console(stderr=True), transient)
    try:
        yield display
    finally:
        display.close()


@contextmanager
def sampling_bar(count: int, steps: int) -> Iterator[Callable[[int], None]]:
    """Bar over `count` images of `steps` steps; yields a function of the number of images that took a step."""
    with _display() as display:
        done = Count(display, Fact("sampling", 2), count, "images")
        done.advance()
        yield lambda images: done.advance(images / steps)


@contextmanager
def evaluations_bar() -> Iterator[Callable[[int], None]]:
    """Bar for a task of unknown length; yields a function of the number of images evaluated by the network."""
    with _display() as display:
        done = Count(display, Fact("following the flow", 2), None, "evaluations")
        done.advance()
        yield done.advance


@contextmanager
def comparison_bar() -> Iterator[Callable[[int, int], None]]:
    """Bar over compared images; yields a function of the number of images completed, and the total number."""
    with _display() as display:
        done = Count(display, Fact("comparing", 2), None, "images")

        def advance(images: int, total: int) -> None:
            done.total = total
            done.advance(images)

        yield advance


@contextmanager
def stages_bar() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Line for the current stage of a task, removed at the end; yields a function that begins a stage.

    That function takes a description and a number of units, and returns a function of the number of units completed.
    A new stage replaces the previous one.
    """
    with _display(transient=True) as display:
        current: list[Count] = []

        def begin(description: str, units: int) -> Callable[[int], None]:
            stage = Count(display, Fact(description), units, "")
            current[:] = [stage]
            stage.advance()
            return lambda done: stage.advance(done) if stage in current else None

        yield begin
