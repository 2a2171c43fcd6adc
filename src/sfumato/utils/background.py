"""Runs tasks in a background thread, such as writing to a disk."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Runs tasks one after another in a thread, in the order of submission.

    After a task fails, later tasks are not run.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._begun: deque[Future[None]] = deque()
        self._failed = False

    def begin(self, work: Callable[[], object]) -> None:
        """Submits a task. It must not use data that the caller changes afterwards."""
        self._begun.append(self._thread.submit(self._do, work))

    def _do(self, work: Callable[[], object]) -> None:
        if self._failed:
            return
        self._failed = True
        work()
        self._failed = False

    def check(self) -> None:
        """Raises the exception of a completed task, once."""
        while self._begun and self._begun[0].done():
            self._begun.popleft().result()

    def finish(self) -> None:
        """Waits for all tasks, and raises the exception of a failed task."""
        while self._begun:
            self._begun.popleft().result()

    def close(self) -> None:
        """Waits for all tasks, and raises no exception."""
        self._thread.shutdown()
