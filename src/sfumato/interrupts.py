"""Ctrl-C and SIGTERM as a wish to stop, so that nothing is lost."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopWish:
    """Whether somebody asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self) -> bool:
        """Whether somebody asked."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended: 128 + its number; 0 if nobody asked."""
        return 0 if self.signal is None else 128 + self.signal


@contextmanager
def stop_wish() -> Iterator[StopWish]:
    """Within it, the first Ctrl-C or SIGTERM only sets the wish; a second one does what it always does.

    For Ctrl-C that is a KeyboardInterrupt, after which a run still waits for what it is writing to the disk.
    """
    wish = StopWish()

    def heed(number: int, _: FrameType | None) -> None:
        wish.signal = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = {number: signal.signal(number, heed) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptions(remedy: str) -> Iterator[None]:
    """Within it, a Ctrl-C carries this sentence to whoever tells of it."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(remedy) from interruption
