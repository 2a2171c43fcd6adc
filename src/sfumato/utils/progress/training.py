"""Progress of training: a bar with speed, loss and remaining time, and sentences above it."""

import math
import time

from rich.console import Console

from sfumato.utils.progress.display import display_on, is_terminal, print_line
from sfumato.utils.progress.line import Fact, Line, Pace

LOSS_MEMORY = 0.98
"""Decay of the exponential moving average of the displayed loss, per step."""


class TrainingBar:
    """Shows the progress of training on stdout. A context manager, and a `Reporter` of `sfumato.train`."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._display = display_on(self.console)
        self._share, self._images = Pace(), Pace()
        self._waited_before = 0.0
        self._loss: float | None = None

    def __enter__(self) -> "TrainingBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._display.close()

    def say(self, text: str) -> None:
        """Prints a sentence above the bar."""
        print_line(text, self.console)

    def advance(self, images_seen: int, share: float, loss: float, waited: float) -> None:
        """Shows the progress after a step; see `Reporter`."""
        now = time.monotonic()
        if self._loss is None:
            self._waited_before, self._loss = waited, loss
        self._share.mark(now, share)
        self._images.mark(now, images_seen)
        self._loss = LOSS_MEMORY * self._loss + (1 - LOSS_MEMORY) * loss
        elapsed, rate = self._share.elapsed, self._images.rate
        waiting = (waited - self._waited_before) / elapsed if elapsed else 0.0
        self._display.show(
            Line(
                Fact("training", 2),
                share,
                (
                    Fact(f"{share:.0%}"),
                    Fact(f"{images_seen:,}{self._forecast(images_seen, share)} images", 4),
                    Fact(f"{rate:,.0f} images/s" if rate else "", 3),
                    Fact(f"loss {self._loss:.4f}", 1),
                    Fact(f"{waiting:.0%} waiting for data", 5),
                    Fact(self._share.left(1 - share)),
                ),
            )
        )

    def _forecast(self, images_seen: int, share: float) -> str:
        """Estimated number of training images of the whole run; the remaining ones with two digits."""
        to_come = (1 - share) * self._images.rate / self._share.rate if self._share.rate else 0.0
        if not to_come:
            return ""
        return f" of about {round(images_seen + to_come, 1 - math.floor(math.log10(to_come))):,.0f}"


def shows_bars() -> bool:
    """Whether stdout is a terminal or a notebook, which can show a bar."""
    console = Console()
    return console.is_jupyter or is_terminal(console)
