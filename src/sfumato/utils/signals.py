"""Ctrl-C, SIGTERM and a closed terminal as a wish to stop, so that nothing is lost."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended."""

HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
BREAK = getattr(signal, "SIGBREAK", None)  # Windows alone: Ctrl-Break, or the console was closed


class StopRequest:
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
def stop_request() -> Iterator[StopRequest]:
    """Within it, the first Ctrl-C, SIGTERM or SIGHUP only sets the wish; a second one does what it always does.

    For Ctrl-C that is a KeyboardInterrupt, after which a run still waits for what it is writing to the disk. SIGHUP
    tells that the terminal was closed: what is printed then goes nowhere. Under nohup it stays ignored.
    """
    wish = StopRequest()

    def check_signals(number: int, _: FrameType | None) -> None:
        wish.signal = signal.Signals(number)
        if number == HANGUP:
            _print_nowhere()
        for other in before:
            signal.signal(other, signal.default_int_handler if other == signal.SIGINT else signal.SIG_DFL)

    numbers = [signal.SIGINT, signal.SIGTERM, *([] if BREAK is None else [BREAK])]
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, check_signals)
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_nowhere() -> None:
    """Connects what was the terminal to nothing: writing to it would fail from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if os.isatty(descriptor):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextmanager
def interruptions(remedy: str) -> Iterator[None]:
    """Within it, a Ctrl-C carries this sentence to whoever tells of it."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(remedy) from interruption


@contextmanager
def importing_ends_at_once() -> Iterator[None]:
    """Within it, a Ctrl-C while a module is imported ends the process at once with code 130, and without a traceback.

    Some modules do not survive a KeyboardInterrupt in the middle of their import. At any other moment it is raised.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _leave_import)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave_import(number: int, frame: FrameType | None) -> None:
    inner = frame
    while inner is not None:
        if inner.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"sfumato: interrupted\n")
            os._exit(INTERRUPTED)
        inner = inner.f_back
    signal.default_int_handler(number, frame)
