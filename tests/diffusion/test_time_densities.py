"""Densities of the training times against their distributions; independent and stratified sampling."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sfumato.diffusion.schedules import SCHEDULES, Cosine, Flow, LinearBeta, Schedule, VarianceExploding, ZeroTerminal
from sfumato.diffusion.time_densities import (
    TIME_DENSITIES,
    LogitNormalTimes,
    LogNormalTimes,
    TimeDensity,
    UniformTimes,
    check_quantiles,
    independent,
    stratified,
)
from sfumato.errors import ConfigError

EVERY: dict[str, Schedule] = {**SCHEDULES, "zero-terminal": ZeroTerminal(Cosine())}
DEVIATIONS = torch.tensor([-2.5, -1.0, 0.0, 0.7, 2.0], dtype=torch.float64)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Torch's generator, of a known state inside and restored behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def normal_share(z: Tensor) -> Tensor:
    """The share of a standard normal law below z, by the error function of Python."""
    return torch.tensor([(1 + math.erf(value / math.sqrt(2))) / 2 for value in z.tolist()], dtype=torch.float64)


@pytest.mark.parametrize("timesteps", [21, 1000])
def test_uniform_times_include_every_step(timesteps: int) -> None:
    """Each has the share 1 / T of all draws. The article's code never draws its first step."""
    schedule, step = LinearBeta(timesteps), torch.arange(1, timesteps + 1, dtype=torch.float64)
    for within in (0.01, 0.5, 0.99):
        drawn = UniformTimes()(schedule, (step - 1 + within) / timesteps)
        torch.testing.assert_close(drawn, step / timesteps, rtol=0, atol=1e-15)


@pytest.mark.parametrize("schedule", [Flow(), VarianceExploding()])
def test_uniform_continuous_times_start_at_the_earliest_time(schedule: Schedule) -> None:
    drawn = UniformTimes()(schedule, torch.tensor([0, 0.25, 1], dtype=torch.float64)).tolist()
    assert drawn == pytest.approx([schedule.earliest, 0.75 * schedule.earliest + 0.25, 1], rel=1e-15)


@pytest.mark.parametrize("schedule", EVERY)
@pytest.mark.parametrize(("mean", "std"), [(-1.2, 1.2), (0.3, 0.5)])
def test_the_log_of_the_noise_level_is_normal(schedule: str, mean: float, std: float) -> None:
    """But for draws below the level of the schedule's earliest time, which become that."""
    path = EVERY[schedule]
    t = torch.cat([torch.tensor([path.earliest]), LogNormalTimes(mean, std)(path, normal_share(DEVIATIONS))])
    least, *levels = (path.sigma(t) / path.alpha(t)).log().tolist()
    assert levels == pytest.approx([max(least, mean + std * z) for z in DEVIATIONS.tolist()], abs=1e-7)


@pytest.mark.parametrize("schedule", EVERY)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.5, 0.6)])
def test_the_logit_of_the_time_is_normal(schedule: str, mean: float, std: float) -> None:
    drawn = LogitNormalTimes(mean, std)(EVERY[schedule], normal_share(DEVIATIONS)).tolist()
    expected = [1 / (1 + math.exp(-mean - std * z)) for z in DEVIATIONS.tolist()]
    assert drawn == pytest.approx([max(EVERY[schedule].earliest, t) for t in expected], rel=1e-9)


def test_the_logit_normal_density_is_the_formula_of_sd3() -> None:
    """Its integral up to t, by the trapezoidal rule, is the share of draws below t. SD3, section 3.1."""
    mean, std = 0.4, 0.8
    t = torch.linspace(1e-5, 1 - 1e-5, 200_001, dtype=torch.float64)
    density = torch.exp(-((t.logit() - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi) * t * (1 - t))
    share = torch.cumulative_trapezoid(density, t)[::20_000][1:]
    torch.testing.assert_close(LogitNormalTimes(mean, std)(Flow(), share), t[1::20_000][1:], rtol=1e-6, atol=1e-6)


def test_on_the_flow_both_normal_densities_are_one() -> None:
    u = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    torch.testing.assert_close(LogitNormalTimes(0.2, 0.7)(Flow(), u), LogNormalTimes(0.2, 0.7)(Flow(), u))


def test_the_densities_have_the_constants_of_their_papers() -> None:
    assert TIME_DENSITIES.parse("log-normal") == LogNormalTimes(mean=-1.2, std=1.2)
    assert TIME_DENSITIES.parse("logit-normal") == LogitNormalTimes(mean=0.0, std=1.0)


@pytest.mark.parametrize("name", TIME_DENSITIES)
@pytest.mark.parametrize("schedule", EVERY)
def test_times_rise_with_the_quantile_from_earliest_to_1(schedule: str, name: str) -> None:
    u = torch.cat([torch.zeros(1), torch.tensor([2.0**-53]), torch.linspace(0, 1, 101)[1:]]).double()
    t = TIME_DENSITIES[name](EVERY[schedule], u)
    assert t.dtype == torch.float64
    assert (t.diff() >= 0).all()
    assert (t[0].item(), t[-1].item()) == (EVERY[schedule].earliest, 1)


def test_a_custom_density_cannot_leave_the_schedule() -> None:
    class Wide(TimeDensity):
        def quantile(self, schedule: Schedule, u: Tensor) -> Tensor:  # noqa: ARG002
            return 3 * u - 1

    times = Wide()(LinearBeta(), torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert times.tolist() == [0.001, 0.5, 1]


def test_independent_shares_are_uniform() -> None:
    u = independent(20_000)
    counts = torch.histc(u, 20, 0, 1)
    assert u.dtype == torch.float64
    assert ((counts - 1000) ** 2 / 1000).sum().item() < 44  # 19 degrees of freedom: exceeded once in a thousand seeds
    assert abs(torch.corrcoef(torch.stack([u[1:], u[:-1]]))[0, 1].item()) < 0.03


@pytest.mark.parametrize("count", [1, 2, 7, 128])
def test_stratified_shares_are_one_in_each_part(count: int) -> None:
    for _ in range(20):
        u = stratified(count)
        assert u.dtype == torch.float64
        assert (u * count).floor().sort().values.tolist() == list(range(count))


def test_stratified_shares_are_shuffled_and_uniform_in_strata() -> None:
    draws = torch.stack([stratified(4) for _ in range(5000)])
    means = draws.mean(dim=0)
    assert (means - 0.5).abs().max().item() < 0.017  # four standard errors: each alone is uniform
    within = (draws * 4).frac().flatten()
    counts = torch.histc(within, 20, 0, 1)
    assert ((counts - 1000) ** 2 / 1000).sum().item() < 44
    assert abs(torch.corrcoef((draws * 4).frac().T)[0, 1].item()) < 0.06


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("log-normal:std=0", "std 0.0"),
        ("log-normal:std=-1", "std -1.0"),
        ("log-normal:mean=inf", "mean inf"),
        ("logit-normal:std=inf", "std inf"),
        ("logit-normal:mean=-inf", "mean -inf"),
        ("uniform:mean=1", "has no setting 'mean'"),
        ("normal", "'normal' is unknown. Choose among: uniform, log-normal, logit-normal"),
    ],
)
def test_an_invalid_density_is_rejected(name: str, changed: str) -> None:
    with pytest.raises(ConfigError, match=changed):
        TIME_DENSITIES.parse(name)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=list(SCHEDULES))
@pytest.mark.parametrize("name", ["uniform", "log-normal:mean=9", "log-normal:mean=-9", "logit-normal:std=5"])
def test_the_quantiles_of_the_densities_are_times(name: str, schedule: Schedule) -> None:
    check_quantiles(TIME_DENSITIES.parse(name), schedule)


@pytest.mark.parametrize("factor", [1.5, -0.1, math.nan])
def test_quantiles_outside_0_to_1_are_rejected(factor: float) -> None:
    class Wrong(TimeDensity):
        """Multiples of uniform times."""

        def quantile(self, schedule: Schedule, u: Tensor) -> Tensor:
            """Not in [0, 1]."""
            del schedule
            return factor * u

    with pytest.raises(ConfigError, match=r"the time density .* gives the time .*\. Its quantiles must be in \[0, 1\]"):
        check_quantiles(Wrong(), SCHEDULES["flow"])
