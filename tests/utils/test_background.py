"""Work in the background: in order, beside the caller, and never silently lost."""

from collections.abc import Callable, Iterator
from threading import Event

import pytest

from sfumato.utils.background import Background


@pytest.fixture
def background() -> Iterator[Background]:
    """One that is closed at the end."""
    made = Background()
    yield made
    made.close()


def failing(text: str) -> Callable[[], None]:
    """Work that fails."""

    def fail() -> None:
        raise OSError(text)

    return fail


def test_the_caller_goes_on_while_work_is_done_in_its_order(background: Background) -> None:
    done: list[int] = []
    caller_went_on = Event()
    background.begin(lambda: done.append(int(caller_went_on.wait(10))))
    background.begin(lambda: done.append(2))
    assert not done
    background.check()
    caller_went_on.set()
    background.finish()
    assert done == [1, 2]


def test_what_failed_is_raised_once_and_nothing_after_it_is_done(background: Background) -> None:
    done: list[int] = []
    background.begin(lambda: done.append(1))
    background.begin(failing("full"))
    background.begin(lambda: done.append(2))
    with pytest.raises(OSError, match="full"):
        background.finish()
    background.finish()
    assert done == [1]


def test_a_check_raises_what_has_failed_by_now(background: Background) -> None:
    background.begin(failing("full"))
    background.close()
    with pytest.raises(OSError, match="full"):
        background.check()
    background.check()


def test_closing_waits_and_raises_nothing(background: Background) -> None:
    done: list[int] = []
    background.begin(lambda: done.append(1))
    background.begin(failing("full"))
    background.close()
    assert done == [1]
