"""Background tasks run in order, and their exceptions are raised."""

from collections.abc import Callable, Iterator
from threading import Event

import pytest

from sfumato.utils.background import Background


@pytest.fixture
def background() -> Iterator[Background]:
    """A background thread that is closed at the end."""
    made = Background()
    yield made
    made.close()


def failing(text: str) -> Callable[[], None]:
    """A task that fails."""

    def fail() -> None:
        raise OSError(text)

    return fail


def test_tasks_run_in_order_while_the_caller_continues(background: Background) -> None:
    done: list[int] = []
    caller_went_on = Event()
    background.begin(lambda: done.append(int(caller_went_on.wait(10))))
    background.begin(lambda: done.append(2))
    assert not done
    background.check()
    caller_went_on.set()
    background.finish()
    assert done == [1, 2]


def test_an_exception_is_raised_once_and_later_tasks_are_not_run(background: Background) -> None:
    done: list[int] = []
    background.begin(lambda: done.append(1))
    background.begin(failing("full"))
    background.begin(lambda: done.append(2))
    with pytest.raises(OSError, match="full"):
        background.finish()
    background.finish()
    assert done == [1]


def test_a_check_raises_the_exception_of_a_completed_task(background: Background) -> None:
    background.begin(failing("full"))
    background.close()
    with pytest.raises(OSError, match="full"):
        background.check()
    background.check()


def test_closing_waits_and_raises_no_exception(background: Background) -> None:
    done: list[int] = []
    background.begin(lambda: done.append(1))
    background.begin(failing("full"))
    background.close()
    assert done == [1]
