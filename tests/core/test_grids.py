"""Time grids begin at noise, end at data, and waste no step."""

import pytest
import torch

from sfumato import grids
from sfumato.errors import SamplingError


@pytest.mark.parametrize("timesteps", [1000, 97])
def test_every_number_of_steps_falls_from_one_to_zero_along_the_schedules_own_steps(timesteps: int) -> None:
    for steps in range(1, timesteps + 1):
        grid = grids.uniform(timesteps, steps)
        stops = (grid * timesteps).round()
        strides = -stops.diff()
        assert len(grid) == steps + 1
        assert (grid[0].item(), grid[-1].item()) == (1, 0)
        assert (grid == stops / timesteps).all()
        assert strides.min() >= 1
        assert strides.max() - strides.min() <= 1, "strides differ by more than one step"
        equal = timesteps - timesteps / steps * torch.arange(steps + 1)
        assert (stops - equal).abs().max() <= 0.5001, "a stop is not the step nearest to equal strides"


def test_all_steps_are_the_schedules_own() -> None:
    assert (grids.uniform(1000, 1000) * 1000).round().tolist() == list(range(1000, -1, -1))


@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_numbers_of_steps_that_cannot_be_are_refused(steps: int) -> None:
    with pytest.raises(SamplingError, match=f"{steps} sampling steps.*Choose 1 to 1000"):
        grids.uniform(1000, steps)


def test_a_grid_is_in_double_precision() -> None:
    assert grids.uniform(1000, 3).dtype == torch.float64
