"""Displays of progress: a terminal, a notebook, or a log with occasional lines."""

import time
from abc import ABC, abstractmethod
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live

from sfumato.utils.progress.line import Line
from sfumato.utils.text import printable_lines

SECONDS_A_LINE = 15.0
"""Minimum time between two lines in a log."""

SECONDS_A_FRAME = 0.5
"""Minimum time between two updates in a notebook."""

NOTEBOOK_WIDTH = 100
"""Number of characters of a line in a notebook."""


class Display(ABC):
    """Shows the latest line of progress."""

    @abstractmethod
    def show(self, line: Line) -> None:
        """Shows a line."""

    def close(self) -> None:  # noqa: B027 (a display may have nothing to close)
        """Ends the display."""


class TerminalDisplay(Display):
    """Line at the bottom of a terminal, with the width of the terminal; other output is printed above it."""

    def __init__(self, console: Console, transient: bool) -> None:
        self._line: Line | None = None
        self._live = Live(get_renderable=lambda: self._line or "", console=console, transient=transient)

    def show(self, line: Line) -> None:
        """Draws the first line immediately, and others a few times per second."""
        self._line = line
        self._live.start(refresh=True)  # no effect if already started

    def close(self) -> None:
        """Keeps the last line unless transient."""
        self._live.stop()


class NotebookDisplay(Display):
    """Line of text below a notebook cell."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._line: Line | None = None
        self._shown_at = 0.0

    def show(self, line: Line) -> None:
        """Draws the line, at most twice per second."""
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
    """Occasional lines in a log: for files, pipes, CI, and terminals that cannot redraw a line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed_at: float | None = None

    def show(self, line: Line) -> None:
        """Prints the line if enough time has passed since the last one; the first call only starts the time."""
        now = time.monotonic()
        if self._printed_at is None:
            self._printed_at = now
        elif now - self._printed_at > SECONDS_A_LINE:
            print_line(line.plain(), self._console)
            self._printed_at = now


def display_on(console: Console, transient: bool = False) -> Display:
    """Display for the output of a console; a transient line is removed at the end, if possible."""
    if console.is_jupyter:
        return NotebookDisplay()
    return TerminalDisplay(console, transient) if is_terminal(console) else LogDisplay(console)


def is_terminal(console: Console) -> bool:
    """Whether lines can be redrawn.

    `Console.is_terminal` is not sufficient, since FORCE_COLOR sets it for the logs of CI.
    """
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def print_sentence(text: str, stderr: bool = False) -> None:
    """Prints a sentence, wrapped in a terminal and on one line elsewhere, with control characters escaped."""
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
    """Wraps a text between words; a word that is longer than a line, such as a path, is not broken.

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
