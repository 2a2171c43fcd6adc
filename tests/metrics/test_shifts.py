"""Windows and moves against their definition, pixel by pixel."""

import pytest
import torch

from sfumato.errors import DataError
from sfumato.metrics.memorization.shifts import (
    STILL,
    Shift,
    check_window,
    default_window,
    shifted,
    shifts_within,
    window,
)


def test_each_move_is_listed_once_and_the_first_is_no_move() -> None:
    moves = shifts_within(2, flips=True)
    assert moves[0] == STILL
    steps = range(-2, 3)
    assert set(moves) == {Shift(flipped, down, right) for flipped in (False, True) for down in steps for right in steps}
    assert len(moves) == len(set(moves))
    assert shifts_within(0, flips=False) == (STILL,)


@pytest.mark.parametrize("move", shifts_within(2, flips=True))
def test_the_window_of_a_moved_crop_is_the_original_middle(move: Shift) -> None:
    """The image is cropped from a larger one at the position of the move; down is towards larger rows."""
    large = torch.randn(2, 3, 14, 16, generator=torch.Generator().manual_seed(0))
    flipped = large.flip(3) if move.flipped else large
    image = large[:, :, 3:-3, 3:-3]
    cut = flipped[:, :, 3 - move.down : 11 - move.down, 3 - move.right : 13 - move.right]
    assert (window(cut, 2, move) == image[:, :, 2:-2, 2:-2]).all()
    assert (window(image, 2) == image[:, :, 2:-2, 2:-2]).all()


@pytest.mark.parametrize("move", shifts_within(2, flips=True))
def test_the_window_of_a_moved_image_equals_that_of_the_original(move: Shift) -> None:
    image = torch.randn(1, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    assert (window(shifted(image[0], move)[None], 2, move) == window(image, 2)).all()


def test_pixels_that_enter_repeat_the_edge() -> None:
    image = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert shifted(image, Shift(right=2)).tolist() == [[[1.0, 1.0, 1.0]]]
    assert shifted(image, Shift(right=-1)).tolist() == [[[2.0, 3.0, 3.0]]]
    assert shifted(image, Shift(flipped=True, right=1)).tolist() == [[[3.0, 3.0, 2.0]]]


@pytest.mark.parametrize(("height", "width", "reach"), [(64, 64, 2), (16, 32, 2), (8, 8, 1), (28, 10, 1), (4, 4, 0)])
def test_tiny_images_have_a_smaller_reach(height: int, width: int, reach: int) -> None:
    assert default_window(height, width) == reach


@pytest.mark.parametrize("reach", [-1, 2, 3])
def test_a_reach_without_a_window_is_rejected(reach: int) -> None:
    with pytest.raises(DataError, match=rf"4x5 pixels.*shifted by up to {reach} pixels.*0 to 1"):
        check_window(reach, torch.zeros(1, 1, 5, 4))
    check_window(1, torch.zeros(1, 1, 5, 4))
