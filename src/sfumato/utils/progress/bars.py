"""Bars on stderr over work that is counted: samples, evaluations, comparisons, stages."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from sfumato.utils.progress.display import Display, display_on
from sfumato.utils.progress.line import Fact, Line, Pace, clock


class Count:
    """What is done of a work, shown after each advance.

    Args:
        display: where it is shown.
        description: of the work.
        total: of the units; None: unknown.
        unit: what is counted; empty: the numbers mean nothing to a person.
    """

    def __init__(self, display: Display, description: Fact, total: float | None, unit: str) -> None:
        self._display, self._description, self._unit = display, description, unit
        self._done, self._pace = 0.0, Pace()
        self.total = total

    def advance(self, units: float = 0.0) -> None:
        """So many more units are done."""
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
    """A bar over `count` images of `steps` steps; yields the function to tell how many images took a step."""
    with _display() as display:
        done = Count(display, Fact("sampling", 2), count, "images")
        done.advance()
        yield lambda images: done.advance(images / steps)


@contextmanager
def evaluations_bar() -> Iterator[Callable[[int], None]]:
    """A bar for work of unknown length; yields the function to tell how many images the network has evaluated."""
    with _display() as display:
        done = Count(display, Fact("following the flow", 2), None, "evaluations")
        done.advance()
        yield done.advance


@contextmanager
def comparison_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar over images that are compared; yields the function to tell how many more are done, of how many."""
    with _display() as display:
        done = Count(display, Fact("comparing", 2), None, "images")

        def advance(images: int, total: int) -> None:
            done.total = total
            done.advance(images)

        yield advance


@contextmanager
def stages_bar() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """A line for the current stage of a work, gone at its end; yields the function that begins a stage of n parts.

    That returns the function to tell how many more parts are done. A stage that is over leaves its place to the next.
    """
    with _display(transient=True) as display:
        current: list[Count] = []

        def begin(what: str, parts: int) -> Callable[[int], None]:
            stage = Count(display, Fact(what), parts, "")
            current[:] = [stage]
            stage.advance()
            return lambda done: stage.advance(done) if stage in current else None

        yield begin
