"""The progress of training: a bar with speed, loss and time left, and sentences above it."""

import math
import time

from rich.console import Console

from sfumato.utils.progress.display import display_on, is_terminal, print_line
from sfumato.utils.progress.line import Fact, Line, Pace

LOSS_MEMORY = 0.98
"""Weight of the past in the loss that is shown, an exponential moving average over steps."""


class TrainingBar:
    """Shows how training gets on, on stdout. A context manager, and a `Reporter` of `sfumato.train`."""

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
        """Prints a sentence, above the bar."""
        print_line(text, self.console)

    def advance(self, images_seen: int, share: float, loss: float, waited: float) -> None:
        """Shows that a step ended.

        Args:
            images_seen: by all steps.
            share: of the run that is over, 0 to 1.
            loss: of the step.
            waited: seconds that training has waited for data.
        """
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
        """How many images the whole run will have seen, at the pace of now; those to come in two digits."""
        to_come = (1 - share) * self._images.rate / self._share.rate if self._share.rate else 0.0
        if not to_come:
            return ""
        return f" of about {round(images_seen + to_come, 1 - math.floor(math.log10(to_come))):,.0f}"


def shows_bars() -> bool:
    """Whether stdout is a terminal or a notebook, where a bar can be drawn."""
    console = Console()
    return console.is_jupyter or is_terminal(console)
