"""Where lines of progress go: a terminal, a notebook, or a log, which takes one now and then."""

import time
from abc import ABC, abstractmethod
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live

from sfumato.utils.progress.line import Line
from sfumato.utils.text import printable_lines

SECONDS_A_LINE = 15.0
"""Between two lines of progress in a log."""

SECONDS_A_FRAME = 0.5
"""Between two changes of the line in a notebook."""

NOTEBOOK_WIDTH = 100
"""Characters of a line in a notebook."""


class Display(ABC):
    """Shows the newest line of progress."""

    @abstractmethod
    def show(self, line: Line) -> None:
        """This is the newest line."""

    def close(self) -> None:  # noqa: B027 (a display may have nothing to close)
        """No more lines will come."""


class TerminalDisplay(Display):
    """The line at the bottom of a terminal, which follows the terminal's width; what is printed goes above it."""

    def __init__(self, console: Console, transient: bool) -> None:
        self._line: Line | None = None
        self._live = Live(get_renderable=lambda: self._line or "", console=console, transient=transient)

    def show(self, line: Line) -> None:
        """Draws the first line at once, the others a few times a second."""
        self._line = line
        self._live.start(refresh=True)  # does nothing if it was started before

    def close(self) -> None:
        """Leaves the last line, or nothing if it is transient."""
        self._live.stop()


class NotebookDisplay(Display):
    """One line of text below the cell of a notebook."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._line: Line | None = None
        self._shown_at = 0.0

    def show(self, line: Line) -> None:
        """Draws the line, twice a second at most."""
        self._line = line
        if self._handle is None or time.monotonic() - self._shown_at > SECONDS_A_FRAME:
            self._draw(line)

    def close(self) -> None:
        """Draws the last line."""
        if self._line is not None:
            self._draw(self._line)

    def _draw(self, line: Line) -> None:
        from IPython.display import display

        content, self._shown_at = {"text/plain": line.drawn(NOTEBOOK_WIDTH).plain}, time.monotonic()
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


class LogDisplay(Display):
    """A line of a log now and then: for files, pipes, CI, and terminals that cannot go back in a line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed_at: float | None = None

    def show(self, line: Line) -> None:
        """Prints the line, if the last one is old enough; the first only starts the clock."""
        now = time.monotonic()
        if self._printed_at is None:
            self._printed_at = now
        elif now - self._printed_at > SECONDS_A_LINE:
            print_line(line.plain(), self._console)
            self._printed_at = now


def display_on(console: Console, transient: bool = False) -> Display:
    """The display that suits where the console writes.

    Args:
        console: of stdout or stderr.
        transient: whether the line is taken away at the end, where that is possible.
    """
    if console.is_jupyter:
        return NotebookDisplay()
    return TerminalDisplay(console, transient) if is_terminal(console) else LogDisplay(console)


def is_terminal(console: Console) -> bool:
    """Whether lines can be drawn anew there.

    Not by `Console.is_terminal` alone, which FORCE_COLOR makes true for the logs of CI.
    """
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def print_sentence(text: str, stderr: bool = False) -> None:
    """Prints a sentence: broken between words on a terminal, and on one line elsewhere; control characters escaped."""
    print_line(text, Console(stderr=stderr))


def print_line(text: str, console: Console) -> None:
    """The same on a console."""
    text = printable_lines(text)
    if console.is_jupyter:
        print(text)
        return
    shown = wrapped(text, console.width) if console.file.isatty() else text
    console.print(shown, markup=False, emoji=False, highlight=False, soft_wrap=True)


def wrapped(text: str, width: int) -> str:
    """Breaks a text between words; a word that is longer than a line, such as a path, stays whole.

    >>> wrapped("at about 0.16 TFLOP/s, on cpu", 14).splitlines()
    ['at about 0.16', 'TFLOP/s, on', 'cpu']
    """
    lines = []
    for paragraph in text.split("\n"):
        line, *words = paragraph.split(" ")
        for word in words:
            if cell_len(line) + 1 + cell_len(word) <= width:
                line += f" {word}"
            else:
                lines.append(line)
                line = word
        lines.append(line)
    return "\n".join(lines)
