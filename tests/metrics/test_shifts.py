"""Windows against the definition of a move, pixel by pixel."""

import pytest
import torch

from sfumato.errors import DataError
from sfumato.metrics.shifts import STILL, Shift, check_window, default_window, shifted, shifts_within, window


def test_every_move_is_looked_at_once_and_none_at_all_first() -> None:
    moves = shifts_within(2, flips=True)
    assert moves[0] == STILL
    steps = range(-2, 3)
    assert set(moves) == {Shift(flipped, down, right) for flipped in (False, True) for down in steps for right in steps}
    assert len(moves) == len(set(moves))
    assert shifts_within(0, flips=False) == (STILL,)


@pytest.mark.parametrize("move", shifts_within(2, flips=True))
def test_the_window_of_a_moved_image_is_its_middle_before_it_moved_whatever_enters(move: Shift) -> None:
    """The flipped image stands within a larger one, which is cut where the move says: down is towards larger rows."""
    large = torch.randn(2, 3, 14, 16, generator=torch.Generator().manual_seed(0))
    flipped = large.flip(3) if move.flipped else large
    image = large[:, :, 3:-3, 3:-3]
    cut = flipped[:, :, 3 - move.down : 11 - move.down, 3 - move.right : 13 - move.right]
    assert (window(cut, 2, move) == image[:, :, 2:-2, 2:-2]).all()
    assert (window(image, 2) == image[:, :, 2:-2, 2:-2]).all()


@pytest.mark.parametrize("move", shifts_within(2, flips=True))
def test_a_moved_image_looks_like_the_original_through_the_window(move: Shift) -> None:
    image = torch.randn(1, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    assert (window(shifted(image[0], move)[None], 2, move) == window(image, 2)).all()


def test_what_enters_repeats_the_edge() -> None:
    image = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert shifted(image, Shift(right=2)).tolist() == [[[1.0, 1.0, 1.0]]]
    assert shifted(image, Shift(right=-1)).tolist() == [[[2.0, 3.0, 3.0]]]
    assert shifted(image, Shift(flipped=True, right=1)).tolist() == [[[3.0, 3.0, 2.0]]]


@pytest.mark.parametrize(("height", "width", "reach"), [(64, 64, 2), (16, 32, 2), (8, 8, 1), (28, 10, 1), (4, 4, 0)])
def test_tiny_images_are_moved_less(height: int, width: int, reach: int) -> None:
    assert default_window(height, width) == reach


@pytest.mark.parametrize("reach", [-1, 2, 3])
def test_moves_that_leave_no_window_are_refused(reach: int) -> None:
    with pytest.raises(DataError, match=rf"4x5 pixels.*moved by up to {reach}.*0 to 1"):
        check_window(reach, torch.zeros(1, 1, 5, 4))
    check_window(1, torch.zeros(1, 1, 5, 4))
