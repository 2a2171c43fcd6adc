"""Handling of Ctrl-C, SIGTERM and a closed terminal, so that a command can save before it stops."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C (128 + SIGINT)."""

HANGUP = getattr(signal, "SIGHUP", None)  # absent on Windows
BREAK = getattr(signal, "SIGBREAK", None)  # on Windows only: Ctrl-Break, or a closed console


class StopRequest:
    """Whether a signal requested to stop, and which one."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self) -> bool:
        """Whether a stop was requested."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Exit code of a program ended by the signal: 128 + its number, or 0 without a request."""
        return 0 if self.signal is None else 128 + self.signal


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Context in which the first Ctrl-C, SIGTERM or SIGHUP only sets the request; a second one has its usual effect.

    The usual effect of Ctrl-C is a KeyboardInterrupt, after which a run still completes its writes to disk. SIGHUP
    means that the terminal was closed: further output is discarded. Under nohup it stays ignored.
    """
    request = StopRequest()

    def handle(number: int, _: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        if number == HANGUP:
            _discard_output()
        for other in before:
            signal.signal(other, signal.default_int_handler if other == signal.SIGINT else signal.SIG_DFL)

    numbers = [signal.SIGINT, signal.SIGTERM, *([] if BREAK is None else [BREAK])]
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _discard_output() -> None:
    """Redirects a closed terminal to the null device, as writing to it would fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if os.isatty(descriptor):
            os.dup2(null, descriptor)
    os.close(null)


@contextmanager
def interrupt_hint(remedy: str) -> Iterator[None]:
    """Adds a remedy to the KeyboardInterrupt of a Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(remedy) from interruption


@contextmanager
def exit_on_interrupted_import() -> Iterator[None]:
    """Context in which a Ctrl-C during an import ends the process with code 130 and without a traceback.

    Some modules are left broken by a KeyboardInterrupt during their import. Outside imports it is raised as usual.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _handle_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _handle_interrupt(number: int, frame: FrameType | None) -> None:
    inner = frame
    while inner is not None:
        if inner.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"sfumato: interrupted\n")
            os._exit(INTERRUPTED)
        inner = inner.f_back
    signal.default_int_handler(number, frame)
