"""Layout of a line of progress, and estimation of the remaining time."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.text import Text

LEAST_BAR, MOST_BAR = 10, 50
"""Minimum and maximum number of characters of the bar."""

PERIOD = 30.0
"""Seconds over which the pace is measured."""


@dataclass(frozen=True)
class Fact:
    """Text in a line.

    Attributes:
        text: Text; empty texts are not shown.
        rank: 0 is always shown; of the others, the highest rank is omitted first if the line is too long.
    """

    text: str
    rank: int = 0


@dataclass(frozen=True)
class Line:
    """Line with a description, a bar and facts; a renderable of rich.

    Attributes:
        description: Description of the task.
        share: Completed share, 0 to 1; None: unknown, without a bar.
        facts: Facts in display order.
    """

    description: Fact
    share: float | None
    facts: tuple[Fact, ...]

    def fitted(self, width: int) -> tuple[str, int, str]:
        """Text before the bar, number of characters of the bar, and text after it, with at most `width` characters."""
        shown = [fact for fact in (self.description, *self.facts) if fact.text]
        least, most = (0, 0) if self.share is None else (LEAST_BAR, MOST_BAR)
        while _length(shown) + least > width and any(fact.rank for fact in shown):
            shown.remove(max(shown, key=lambda fact: fact.rank))
        before = f"{self.description.text} " if self.description in shown else ""
        after = "".join(f"  {fact.text}" for fact in shown if fact is not self.description)
        bar = max(0, min(most, width - cell_len(before) - cell_len(after)))
        return before, bar, set_cell_size(after, min(cell_len(after), max(0, width - cell_len(before) - bar)))

    def drawn(self, width: int, ascii_only: bool = False) -> Text:
        """The line as a text of rich."""
        before, bar, after = self.fitted(width)
        full = int(bar * min(1.0, max(0.0, self.share or 0.0)))
        done, rest = "#-" if ascii_only else "━─"
        return Text.assemble(
            before, (done * full, "bar.complete"), (rest * (bar - full), "bar.back"), after, no_wrap=True
        )

    def plain(self) -> str:
        """The line without a bar, for logs."""
        return f"{self.description.text}: {', '.join(fact.text for fact in self.facts if fact.text)}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield self.drawn(options.max_width, options.ascii_only)


def _length(facts: list[Fact]) -> int:
    """Number of characters of facts, with two spaces for each."""
    return sum(cell_len(fact.text) + 2 for fact in facts)


class Pace:
    """Speed over the last `PERIOD` seconds, or between the last two marks if they are further apart."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()
        self.began: float | None = None

    def mark(self, time: float, done: float) -> None:
        """Records the completed units at a time in seconds."""
        if self.began is None:
            self.began = time
        self._marks.append((time, done))
        while len(self._marks) > 2 and time - self._marks[1][0] >= PERIOD:
            self._marks.popleft()

    @property
    def rate(self) -> float:
        """Units per second; 0 if unknown."""
        if len(self._marks) < 2:
            return 0.0
        (then, before), (now, done) = self._marks[0], self._marks[-1]
        return max(0.0, (done - before) / (now - then)) if now > then else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the first mark."""
        return self._marks[-1][0] - self.began if self.began is not None else 0.0

    def left(self, remaining: float) -> str:
        """Remaining time in words, such as "0:01:30 left"; at the end the elapsed time, such as "in 0:12:00"."""
        if remaining <= 0:
            return f"in {clock(self.elapsed)}"
        return f"{clock(remaining / self.rate) if self.rate else '-:--:--'} left"


def clock(seconds: float) -> str:
    """Formats seconds as hours, minutes and seconds.

    >>> clock(59.6), clock(3661), clock(360_000)
    ('0:01:00', '1:01:01', '100:00:00')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
