"""Work that goes on in a thread while the caller goes on too, such as writing to a disk."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Does one piece of work after the other, in the order in which they were given, until one fails.

    What was given after that is not done.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._begun: deque[Future[None]] = deque()
        self._failed = False

    def begin(self, work: Callable[[], object]) -> None:
        """Does it once all that was given before is over.

        Args:
            work: that touches nothing which the caller goes on to change.
        """
        self._begun.append(self._thread.submit(self._do, work))

    def _do(self, work: Callable[[], object]) -> None:
        if self._failed:
            return
        self._failed = True
        work()
        self._failed = False

    def check(self) -> None:
        """Raises what a piece of work has raised by now, unless that was raised before."""
        while self._begun and self._begun[0].done():
            self._begun.popleft().result()

    def finish(self) -> None:
        """Waits until all is over; raises what a piece of work has raised."""
        while self._begun:
            self._begun.popleft().result()

    def close(self) -> None:
        """Waits until all is over, and raises nothing."""
        self._thread.shutdown()
