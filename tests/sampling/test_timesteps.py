"""Time grids start at noise, end at data, and decrease strictly."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from sfumato.diffusion.schedules import (
    Cosine,
    Custom,
    Flow,
    LinearBeta,
    Schedule,
    Shifted,
    Sigmoid,
    VarianceExploding,
    ZeroTerminal,
)
from sfumato.errors import SamplingError
from sfumato.sampling.timesteps import (
    MIN_LOGSNR,
    TIME_GRIDS,
    Discrete,
    Karras,
    Leading,
    Linspace,
    LogSNR,
    TimeGrid,
    Trailing,
    Uniform,
)

LINEAR = LinearBeta()
FEW = LinearBeta(97)
"""A prime number of steps."""

STEPPED: list[Schedule] = [LINEAR, FEW, Cosine(30), Sigmoid(), ZeroTerminal(LINEAR), Shifted(LINEAR, 2.0)]
SMOOTH: list[Schedule] = [
    VarianceExploding(),
    Flow(),
    Shifted(Flow(), 3.0),
    Custom(lambda t: -2 * torch.log(torch.tan(math.pi / 2 * t))),
]
FREE: list[TimeGrid] = [Uniform(), Karras(), Karras(rho=2.0), LogSNR()]
ON_STEPS: list[TimeGrid] = [Trailing(), Leading(), Linspace()]
STEPS = [1, 2, 3, 7, 20, 29, 30, 97, 250]


def steps_of(timesteps: Tensor, schedule: Schedule) -> list[int]:
    """The stops as whole steps of a discrete schedule."""
    steps = timesteps * (schedule.timesteps or 0)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-10)
    return [int(step) for step in steps.round()]


@pytest.mark.parametrize("schedule", [*STEPPED, *SMOOTH], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("grid", FREE, ids=str)
def test_every_free_grid_falls_strictly_from_1_to_0(grid: TimeGrid, schedule: Schedule) -> None:
    """peers.md mistake 9: no last sigma twice, none left over."""
    for steps in STEPS:
        timesteps = grid(schedule, steps)
        assert timesteps.dtype == torch.float64
        assert len(timesteps) == steps + 1
        assert (timesteps[0].item(), timesteps[-1].item()) == (1, 0)
        assert (timesteps.diff() < 0).all()
        assert schedule.sigma(timesteps[-1]) == 0
        assert (schedule.sigma(timesteps).diff() < 0).all()


@pytest.mark.parametrize("schedule", STEPPED, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("grid", ON_STEPS, ids=str)
def test_every_discrete_grid_falls_strictly_along_schedule_steps(grid: TimeGrid, schedule: Schedule) -> None:
    """peers.md mistakes 3 and 9: in range, none twice, and the last stop is clean."""
    timesteps = schedule.timesteps
    assert timesteps is not None
    for steps in {*range(1, 31), min(97, timesteps), timesteps - 1, timesteps}:
        times = grid(schedule, steps)
        whole = steps_of(times, schedule)
        assert times.dtype == torch.float64
        assert len(whole) == steps + 1
        assert whole[-1] == 0
        assert 1 <= whole[-2] <= whole[0] <= timesteps
        assert all(now > after for now, after in pairwise(whole))
        if not isinstance(grid, Leading):
            assert whole[0] == timesteps


@pytest.mark.parametrize("grid", ON_STEPS, ids=str)
@pytest.mark.parametrize("schedule", [LINEAR, FEW], ids=str)
def test_a_grid_of_all_steps_equals_those_of_the_schedule(grid: TimeGrid, schedule: LinearBeta) -> None:
    """peers.md mistake 3: an offset of the leading grid out of range at 1000 steps."""
    timesteps = schedule.timesteps
    assert steps_of(grid(schedule, timesteps), schedule) == list(range(timesteps, -1, -1))


@pytest.mark.parametrize("schedule", [LINEAR, FEW], ids=str)
def test_trailing_strides_are_nearly_equal(schedule: LinearBeta) -> None:
    timesteps = schedule.timesteps
    for steps in range(1, timesteps + 1, 7):
        chosen = torch.tensor(steps_of(Trailing()(schedule, steps), schedule))
        strides = -chosen.diff()
        assert strides.max() - strides.min() <= 1, "strides differ by more than one step"
        equal = timesteps - timesteps / steps * torch.arange(steps + 1)
        assert (chosen - equal).abs().max() <= 0.5001, "a stop is not the step nearest to equal strides"


def test_the_discrete_grids_equal_the_table_of_the_paper() -> None:
    """Lin et al. (arXiv 2305.08891), table 2, T = 1000, 10 steps: there t from 1, and no clean stop."""
    assert steps_of(Trailing()(LINEAR, 10), LINEAR) == [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    assert steps_of(Leading()(LINEAR, 10), LINEAR) == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1, 0]
    assert steps_of(Linspace()(LINEAR, 10), LINEAR) == [1000, 889, 778, 667, 556, 445, 334, 223, 112, 1, 0]


def test_leading_never_starts_at_t_unless_all_steps_are_taken() -> None:
    """peers.md mistake 3: a known property, which the default grid must not have."""
    for steps in (1, 2, 7, 20, 501, 999):
        assert Leading()(LINEAR, steps)[0] < 1
        assert Leading()(LINEAR, steps)[-2].item() == 1 / 1000
    assert steps_of(Leading()(LINEAR, 7), LINEAR) == [853, 711, 569, 427, 285, 143, 1, 0]


@pytest.mark.parametrize("steps", [7, 13, 97, 499])
def test_prime_numbers_of_steps_follow_the_grid(steps: int) -> None:
    """peers.md mistake 1: t - T // N leaves the grid wherever N does not divide T."""
    whole = steps_of(Trailing()(LINEAR, steps), LINEAR)
    mistaken = [stop - 1000 // steps for stop in whole[:-1]]
    assert whole[1:] != mistaken

    assert whole[-1] == 0


def test_uniform_has_equal_strides_in_t() -> None:
    torch.testing.assert_close(
        Uniform()(Flow(), 7), torch.tensor([7, 6, 5, 4, 3, 2, 1, 0]).double() / 7, rtol=1e-15, atol=0
    )


@pytest.mark.parametrize("rho", [7.0, 3.0])
@pytest.mark.parametrize("steps", [2, 5, 18])
def test_karras_is_eq_5_of_edm(rho: float, steps: int) -> None:
    schedule = VarianceExploding()
    largest, least = 80 ** (1 / rho), 0.002 ** (1 / rho)
    expected = [(largest + i / (steps - 1) * (least - largest)) ** rho for i in range(steps)]
    sigma = schedule.sigma(Karras(rho)(schedule, steps))
    assert sigma.tolist() == pytest.approx([*expected, 0], rel=1e-12)


@pytest.mark.parametrize("rho", [7.0, 3.0, 0.5])
def test_karras_has_equal_strides_in_the_root_of_the_noise_level(rho: float) -> None:
    timesteps = Karras(rho)(LINEAR, 18)[:-1]
    roots = (LINEAR.sigma(timesteps) / LINEAR.alpha(timesteps)) ** (1 / rho)
    torch.testing.assert_close(roots.diff(), roots.diff().mean().expand(17), rtol=1e-9, atol=0)
    assert timesteps[-1].item() == pytest.approx(LINEAR.earliest, rel=1e-12)


@pytest.mark.parametrize("schedule", [LINEAR, VarianceExploding()], ids=lambda one: type(one).__name__)
def test_logsnr_has_equal_strides_in_the_log_snr(schedule: Schedule) -> None:
    timesteps = LogSNR()(schedule, 18)[:-1]
    strides = schedule.logsnr(timesteps).diff()
    torch.testing.assert_close(strides, strides.mean().expand(17), rtol=1e-9, atol=0)
    assert timesteps[-1].item() == pytest.approx(schedule.earliest, rel=1e-12)


@pytest.mark.parametrize("grid", [LogSNR(), Karras()], ids=str)
@pytest.mark.parametrize("schedule", [Flow(), ZeroTerminal(LINEAR)], ids=lambda one: type(one).__name__)
def test_without_signal_at_t_1_noise_levels_start_from_160(grid: TimeGrid, schedule: Schedule) -> None:
    timesteps = grid(schedule, 18)
    levels = torch.exp(-schedule.logsnr(timesteps[1:-1]) / 2)
    line = levels.log() if isinstance(grid, LogSNR) else levels ** (1 / 7)
    first = line[0] - (line[1] - line[0])
    assert first.item() == pytest.approx(math.log(160) if isinstance(grid, LogSNR) else 160 ** (1 / 7), rel=1e-9)
    assert pytest.approx(-2 * math.log(160)) == MIN_LOGSNR


@pytest.mark.parametrize("grid", [*FREE, *ON_STEPS], ids=str)
@pytest.mark.parametrize("steps", [-1, 0])
def test_fewer_than_one_step_is_rejected(grid: TimeGrid, steps: int) -> None:
    with pytest.raises(SamplingError, match=f"sampling steps is {steps}.*Choose 1 to"):
        grid(LINEAR, steps)


@pytest.mark.parametrize("grid", ON_STEPS, ids=str)
def test_more_steps_than_the_schedule_has_are_rejected(grid: TimeGrid) -> None:
    with pytest.raises(SamplingError, match=r"sampling steps is 1001.*1000.*Choose 1 to 1000"):
        grid(LINEAR, 1001)


@pytest.mark.parametrize("grid", ON_STEPS, ids=str)
@pytest.mark.parametrize("schedule", SMOOTH, ids=lambda one: type(one).__name__)
def test_a_discrete_grid_for_a_continuous_schedule_is_rejected(grid: TimeGrid, schedule: Schedule) -> None:
    with pytest.raises(
        SamplingError,
        match=f"{type(grid).__name__.lower()} needs a schedule with timesteps.*Choose among: uniform, karras, logsnr",
    ):
        grid(schedule, 10)


def test_timesteps_that_do_not_decrease_are_rejected() -> None:
    with pytest.raises(SamplingError, match=r"LogSNR\(\) does not decrease with 5 steps"):
        LogSNR()(VarianceExploding(sigma_max=1000.0, sigma_min=200.0), 5)


@pytest.mark.parametrize("steps", [5, 20, 1000])
def test_no_uniform_timestep_is_before_the_earliest_time(steps: int) -> None:
    timesteps = Uniform()(VarianceExploding(), steps)
    assert timesteps[-2].item() == pytest.approx(max(1 / steps, VarianceExploding().earliest), rel=1e-12)
    torch.testing.assert_close(timesteps[:-1].diff(), timesteps[:2].diff().expand(steps - 1), rtol=1e-9, atol=1e-12)


def test_every_grid_has_a_name() -> None:
    assert {name: type(grid) for name, grid in TIME_GRIDS.items()} == {
        "uniform": Uniform,
        "trailing": Trailing,
        "leading": Leading,
        "linspace": Linspace,
        "karras": Karras,
        "logsnr": LogSNR,
    }
    assert [name for name, grid in TIME_GRIDS.items() if isinstance(grid, Discrete)] == [
        "trailing",
        "leading",
        "linspace",
    ]
    assert TIME_GRIDS.parse("karras").rho == 7  # type: ignore[attr-defined]  # the paper's
    assert TIME_GRIDS.parse("karras:rho=5") == Karras(5.0)
    assert (TIME_GRIDS.parse("karras:rho=0.1"), TIME_GRIDS.parse("karras:rho=100")) == (Karras(0.1), Karras(100.0))


def test_a_custom_grid_with_a_repeated_time_is_rejected() -> None:
    """peers.md mistake 9: a wasted step."""

    class Stuck(TimeGrid):
        def noisy_times(self, schedule: Schedule, steps: int) -> Tensor:  # noqa: ARG002
            return torch.tensor([1.0, 0.5, 0.5], dtype=torch.float64)

    with pytest.raises(SamplingError, match="does not decrease"):
        Stuck()(Flow(), 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("karas", "grid 'karas' is unknown.*uniform, trailing, leading, linspace, karras, logsnr"),
        ("logsnr:rho=5", "'logsnr' has no setting 'rho'.*none"),
        ("karras:rho=0", "rho 0.0 is out of range"),
        ("karras:rho=-1", "rho -1.0 is out of range"),
        ("karras:rho=inf", "rho inf is out of range"),
        ("karras:rho=0.05", "rho 0.05 is out of range"),
        ("karras:rho=101", "rho 101.0 is out of range"),
    ],
)
def test_invalid_grids_are_rejected(name: str, message: str) -> None:
    with pytest.raises(SamplingError, match=message):
        TIME_GRIDS.parse(name)
