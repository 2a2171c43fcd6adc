"""Properties of every schedule."""

import math

import pytest
import torch
from torch import Tensor

from diffusion.one_pixel import number, pixel
from sfumato.diffusion.gaussian import Gaussian
from sfumato.diffusion.schedules import (
    BetaSchedule,
    Cosine,
    Custom,
    Flow,
    LinearBeta,
    ScaledLinearBeta,
    Schedule,
    Shifted,
    Sigmoid,
    VarianceExploding,
    ZeroTerminal,
)


def angular(t: Tensor) -> Tensor:
    """The log-SNR of alpha = cos(pi t / 2), sigma = sin(pi t / 2)."""
    return -2 * torch.log(torch.tan(math.pi / 2 * t))


DISCRETE: list[BetaSchedule] = [
    LinearBeta(),
    LinearBeta(50),
    ScaledLinearBeta(),
    ScaledLinearBeta(250),
    Cosine(),
    Cosine(20),
    Sigmoid(),
    Sigmoid(300, start=0.0, end=3.0, temperature=0.7),
    ZeroTerminal(LinearBeta()),
    ZeroTerminal(ScaledLinearBeta(100)),
    ZeroTerminal(Cosine()),
]
CONTINUOUS: list[Schedule] = [
    VarianceExploding(),
    VarianceExploding(sigma_max=5.0, sigma_min=0.1, rho=3.0),
    Flow(),
    Custom(angular),
    Shifted(Flow(), 3.0),
    Shifted(Custom(angular), 0.5),
]
ALL: list[Schedule] = [*DISCRETE, *CONTINUOUS, Shifted(LinearBeta(), 2.0), Shifted(ZeroTerminal(LinearBeta()), 2.0)]


def named_by_itself(schedule: object) -> str:
    """A short id for pytest."""
    return str(schedule).split(" at 0x")[0]


every_schedule = pytest.mark.parametrize("schedule", ALL, ids=named_by_itself)

INSIDE = torch.cat(
    [
        torch.tensor([1e-9, 1e-6, 1e-4], dtype=torch.float64),
        torch.linspace(0.001, 0.999, 1777, dtype=torch.float64),
        torch.tensor([1 - 1e-4, 1 - 1e-6, 1 - 1e-9], dtype=torch.float64),
    ]
)
"""Times between the ends, near them too."""

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("schedule", DISCRETE, ids=named_by_itself)
def test_alpha_squared_is_the_product_of_one_minus_beta(schedule: BetaSchedule) -> None:
    t = torch.arange(schedule.timesteps + 1, dtype=torch.float64) / schedule.timesteps
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - schedule.betas).cumprod(0)])
    torch.testing.assert_close(schedule.alpha_bar, alpha_bar, rtol=1e-9, atol=0)
    torch.testing.assert_close(schedule.alpha(t), alpha_bar.sqrt(), rtol=1e-8, atol=1e-15)
    torch.testing.assert_close(schedule.sigma(t) ** 2, 1 - alpha_bar, rtol=1e-9, atol=0)


@every_schedule
def test_logsnr_is_the_log_of_signal_over_noise(schedule: Schedule) -> None:
    expected = 2 * (schedule.alpha(INSIDE) / schedule.sigma(INSIDE)).log()
    torch.testing.assert_close(schedule.logsnr(INSIDE), expected, rtol=1e-9, atol=1e-9)


@every_schedule
def test_the_path_at_a_log_snr_is_the_schedule_at_its_time(schedule: Schedule) -> None:
    alpha, sigma = schedule.amplitudes(schedule.logsnr(INSIDE))
    torch.testing.assert_close(alpha, schedule.alpha(INSIDE), rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(sigma, schedule.sigma(INSIDE), rtol=1e-9, atol=0)


@every_schedule
def test_time_at_inverts_logsnr_to_float64_precision(schedule: Schedule) -> None:
    """To 1e-13 in t, and near the data relative to t."""
    back = schedule.time_at(schedule.logsnr(INSIDE))
    torch.testing.assert_close(back, INSIDE, rtol=1e-9, atol=0)
    torch.testing.assert_close(back, INSIDE, rtol=0, atol=1e-13)
    levels = schedule.logsnr(INSIDE)
    torch.testing.assert_close(schedule.logsnr(back), levels, rtol=1e-6, atol=1e-6)


@every_schedule
def test_time_at_the_ends_and_beyond_them_gives_the_ends(schedule: Schedule) -> None:
    beyond = torch.tensor([math.inf, -math.inf], dtype=torch.float64)
    assert schedule.time_at(beyond).tolist() == pytest.approx([0, 1], abs=1e-15)
    ends = schedule.time_at(schedule.logsnr(ENDS))
    assert ends.tolist() == pytest.approx([0, 1], abs=1e-14)


@every_schedule
def test_noise_increases_and_signal_and_noise_follow_the_path(schedule: Schedule) -> None:
    t = torch.linspace(0, 1, 7919, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    assert (sigma.diff() > 0).all()
    assert (alpha.diff() <= 0).all()
    assert (schedule.logsnr(t)[1:].diff() < 0).all()
    path = schedule.base if isinstance(schedule, Shifted) else schedule
    if isinstance(path, VarianceExploding):
        assert (alpha == 1).all()
    elif isinstance(path, Flow):
        torch.testing.assert_close(alpha + sigma, torch.ones_like(t), rtol=1e-14, atol=0)
    else:
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t), rtol=1e-14, atol=0)


@every_schedule
def test_time_0_is_exactly_clean_and_the_ends_are_numbers(schedule: Schedule) -> None:
    alpha, sigma, logsnr = schedule.alpha(ENDS), schedule.sigma(ENDS), schedule.logsnr(ENDS)
    assert (alpha[0].item(), sigma[0].item(), logsnr[0].item()) == (1, 0, math.inf)
    assert alpha.isfinite().all()
    assert sigma.isfinite().all()
    assert not logsnr.isnan().any()
    assert schedule.network_time(ENDS).isfinite().all()
    assert alpha.dtype == sigma.dtype == logsnr.dtype == torch.float64


@every_schedule
def test_the_slope_of_the_log_snr_is_its_derivative(schedule: Schedule) -> None:
    """Against central differences; at the middle of steps, since between two steps it jumps."""
    t = (torch.arange(0, 1000, 7, dtype=torch.float64) + 0.5) / 1000
    h = 1e-7
    expected = (schedule.logsnr(t + h) - schedule.logsnr(t - h)) / (2 * h)
    with torch.no_grad():
        slope = schedule.logsnr_slope(t)
    torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-5)
    assert not slope.requires_grad
    assert (slope < 0).all()


@every_schedule
def test_the_slope_is_negative_up_to_the_last_time(schedule: Schedule) -> None:
    slope = schedule.logsnr_slope(torch.cat([INSIDE, ENDS[1:]]))
    assert (slope < 0).all()
    assert slope[:-1].isfinite().all()


PAIRS = [(0.001, 0.002), (0.13, 0.131), (0.3, 0.7), (0.02, 1.0), (0.999, 1.0)]
"""(s, t)."""


@every_schedule
@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_a_transition_composes_with_the_marginal(schedule: Schedule, s: float, t: float) -> None:
    before, after = schedule.marginal(pixel(0.6), number(s)), schedule.marginal(pixel(0.6), number(t))
    transition = schedule.transition(before.mean, number(s), number(t))
    ratio = schedule.alpha(number(t)) / schedule.alpha(number(s))
    torch.testing.assert_close(transition.mean, after.mean, rtol=1e-10, atol=1e-15)
    total = ratio**2 * before.variance + transition.variance
    torch.testing.assert_close(total, after.variance, rtol=1e-10, atol=0)


@every_schedule
@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_the_posterior_is_bayes_rule(schedule: Schedule, s: float, t: float) -> None:
    """q(x_s | x_t, x_0): the marginal at s times the transition's density of x_t, as a Gaussian in x_s."""
    x_t, x_0 = pixel(1.3), pixel(-0.4)
    prior = schedule.marginal(x_0, number(s))
    posterior = schedule.posterior(x_t, x_0, number(t), number(s))
    ratio = schedule.alpha(number(t)) / schedule.alpha(number(s))
    if ratio == 0:  # x_t tells nothing
        expected = prior
    else:
        noise = schedule.transition(x_0, number(s), number(t)).variance
        expected = prior.times(Gaussian(x_t / ratio, noise / ratio**2))
    torch.testing.assert_close(posterior.mean, expected.mean, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(posterior.variance, expected.variance, rtol=1e-8, atol=1e-15)


@every_schedule
@pytest.mark.parametrize("t", [0.001, 0.5, 1.0])
def test_the_posterior_at_time_zero_is_the_clean_image(schedule: Schedule, t: float) -> None:
    posterior = schedule.posterior(pixel(1.3), pixel(-0.4), number(t), number(0))
    assert posterior.mean.item() == pytest.approx(-0.4, abs=1e-15)
    assert posterior.variance.item() == 0


@every_schedule
def test_times_of_each_image_equal_calls_with_one_time(schedule: Schedule) -> None:
    t = torch.tensor([0.01, 0.5, 1.0], dtype=torch.float64)
    for function in (schedule.alpha, schedule.sigma, schedule.logsnr, schedule.network_time):
        assert function(t).tolist() == [function(one).item() for one in t]
    logsnr = schedule.logsnr(t)
    assert schedule.time_at(logsnr).tolist() == [schedule.time_at(one).item() for one in logsnr]


@pytest.mark.parametrize("schedule", DISCRETE, ids=named_by_itself)
def test_discrete_schedules_give_networks_the_step_from_zero(schedule: BetaSchedule) -> None:
    steps = schedule.timesteps
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    torch.testing.assert_close(schedule.network_time(t), torch.arange(steps).double(), rtol=0, atol=1e-10)
    assert schedule.earliest == 1 / steps
    moved = schedule.nearest_step(torch.tensor([0, 0.4, 1.6, 7.4, steps]).double() / steps) * steps
    torch.testing.assert_close(moved, torch.tensor([1, 1, 2, 7, steps]).double(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("schedule", CONTINUOUS, ids=named_by_itself)
def test_continuous_schedules_give_networks_a_time_of_0_to_1000(schedule: Schedule) -> None:
    assert schedule.timesteps is None
    assert schedule.network_time(number(0.25)).item() == 250
    assert schedule.nearest_step(number(0.76543)).item() == 0.76543
    assert schedule.nearest_step(number(0)).item() == schedule.earliest > 0


def test_by_default_the_earliest_time_is_a_thousandth() -> None:
    assert Flow().earliest == Custom(angular).earliest == 0.001
