"""LinearBeta against DDPM's formulas, and against Bayes' rule, computed numerically."""

import math

import pytest
import torch
from torch import Tensor

from sfumato.diffusion import analytic
from sfumato.diffusion.gaussian import Gaussian
from sfumato.diffusion.schedules import LinearBeta
from sfumato.errors import ConfigError

T = 1000
LINEAR = LinearBeta()
STEPS = torch.arange(1, T + 1)
"""The article's step index t = 1 ... T."""


def at(step: int, timesteps: int = T) -> Tensor:
    """The time at which a step ends."""
    return torch.tensor(step / timesteps, dtype=torch.float64)


def pixel(value: float) -> Tensor:
    """One grey image of one pixel."""
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


def article(timesteps: int = T) -> tuple[list[float], list[float]]:
    """beta_1 ... beta_T and alpha_bar_0 ... alpha_bar_T, by a plain loop. Formula 2."""
    first, last = 1e-4 * T / timesteps, 0.02 * T / timesteps
    betas = [first + (last - first) * i / (timesteps - 1) for i in range(timesteps)]
    alpha_bar = [1.0]
    for beta in betas:
        alpha_bar.append(alpha_bar[-1] * (1 - beta))
    return betas, alpha_bar


def test_the_betas_rise_linearly_between_those_of_the_paper() -> None:
    betas, _ = article()
    assert len(LINEAR.betas) == LINEAR.timesteps == 1000
    assert (LINEAR.betas[0].item(), LINEAR.betas[-1].item()) == pytest.approx((1e-4, 0.02), rel=1e-14)
    torch.testing.assert_close(LINEAR.betas, torch.tensor(betas, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("timesteps", [1000, 100, 21, 4000])
def test_alpha_bar_is_the_product_of_one_minus_beta(timesteps: int) -> None:
    schedule = LinearBeta(timesteps)
    alpha_bar = torch.tensor(article(timesteps)[1], dtype=torch.float64)
    t = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    torch.testing.assert_close(schedule.alpha_bar, alpha_bar, rtol=1e-10, atol=0)
    torch.testing.assert_close(schedule.alpha(t), alpha_bar.sqrt(), rtol=1e-10, atol=0)
    torch.testing.assert_close(schedule.sigma(t), (1 - alpha_bar).sqrt(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("timesteps", [1000, 21, 300, 4000])
def test_the_last_step_is_nearly_noise_for_any_number_of_steps(timesteps: int) -> None:
    assert 0 < LinearBeta(timesteps).alpha_bar[-1] < 1e-4


def test_signal_and_noise_share_a_variance_of_one_at_every_time() -> None:
    t = torch.linspace(0, 1, 7919, dtype=torch.float64)
    torch.testing.assert_close(LINEAR.alpha(t) ** 2 + LINEAR.sigma(t) ** 2, torch.ones_like(t), rtol=1e-14, atol=0)


def test_noise_also_increases_between_the_steps() -> None:
    t = torch.linspace(0, 1, 7919, dtype=torch.float64)
    assert LINEAR.sigma(t)[0] == 0
    assert (LINEAR.sigma(t).diff() > 0).all()
    assert (LINEAR.alpha(t).diff() < 0).all()
    assert (LINEAR.logsnr(t).diff() < 0).all()


def test_between_two_steps_log_alpha_is_linear() -> None:
    between = 0.75 * LINEAR.alpha(at(41)).log() + 0.25 * LINEAR.alpha(at(42)).log()
    t = torch.tensor(0.04125, dtype=torch.float64)
    torch.testing.assert_close(LINEAR.alpha(t).log(), between, rtol=1e-11, atol=0)


def test_the_steps_of_formula_1_compose_to_formula_7() -> None:
    x_0 = torch.tensor([[[[-1.0, 0.3, 0.9]]]], dtype=torch.float64)
    betas, _ = article()
    x = Gaussian(x_0, torch.zeros_like(x_0))
    for step, beta in enumerate(betas, start=1):
        x = x.scaled(math.sqrt(1 - beta)).plus(Gaussian(torch.zeros_like(x_0), torch.full_like(x_0, beta)))
        marginal = LINEAR.marginal(x_0, at(step))
        torch.testing.assert_close(marginal.mean, x.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(marginal.variance.expand_as(x_0), x.variance, rtol=1e-12, atol=1e-12)


STRIDES = [(0, 1), (1, 2), (0, 1000), (1, 1000), (499, 500), (300, 700), (7, 994), (999, 1000)]
"""(s, t) as step indices."""


@pytest.mark.parametrize(("s", "t"), STRIDES)
def test_a_transition_is_its_single_steps_composed(s: int, t: int) -> None:
    betas, _ = article()
    x = Gaussian(pixel(0.6), pixel(0))
    for beta in betas[s:t]:
        x = x.scaled(math.sqrt(1 - beta)).plus(Gaussian(pixel(0), pixel(beta)))
    transition = LINEAR.transition(pixel(0.6), at(s), at(t))
    torch.testing.assert_close(transition.mean, x.mean, rtol=1e-11, atol=0)
    torch.testing.assert_close(transition.variance.expand_as(x.variance), x.variance, rtol=1e-11, atol=0)


def test_the_transition_over_one_step_adds_beta() -> None:
    """The "large" variance of DDPM's sampler."""
    for step, beta in enumerate(article()[0], start=1):
        variance = LINEAR.transition(pixel(0.6), at(step - 1), at(step)).variance
        assert variance.item() == pytest.approx(beta, rel=1e-10)


def test_the_posterior_of_every_step_is_formula_9() -> None:
    betas, alpha_bar = article()
    x_t, x_0 = 1.3, -0.4
    for t in range(1, T + 1):
        beta, now, before = betas[t - 1], alpha_bar[t], alpha_bar[t - 1]
        mean = (
            math.sqrt(before) * beta / (1 - now) * x_0 + math.sqrt(1 - beta) * (1 - before) / (1 - now) * x_t
        )  # DDPM eq. 7
        variance = (1 - before) / (1 - now) * beta
        posterior = LINEAR.posterior(pixel(x_t), pixel(x_0), at(t), at(t - 1))
        assert posterior.mean.item() == pytest.approx(mean, abs=1e-10)
        assert posterior.variance.item() == pytest.approx(variance, abs=1e-10)


def test_ddpm_eq_11_is_the_posterior_mean_with_the_x_0_of_eq_15() -> None:
    betas, alpha_bar = article()
    x_t, noise = 1.3, 0.8
    for t in range(1, T + 1):
        beta, now = betas[t - 1], alpha_bar[t]
        x_0 = (x_t - math.sqrt(1 - now) * noise) / math.sqrt(now)
        mean = (x_t - beta / math.sqrt(1 - now) * noise) / math.sqrt(1 - beta)
        posterior = LINEAR.posterior(pixel(x_t), pixel(x_0), at(t), at(t - 1))
        assert posterior.mean.item() == pytest.approx(mean, abs=1e-10)


@pytest.mark.parametrize(("s", "t"), [(1, 2), (1, 1000), (499, 500), (300, 700), (7, 30), (990, 1000)])
def test_the_posterior_is_bayes_rule(s: int, t: int) -> None:
    """q(x_s | x_t, x_0) is proportional to q(x_t | x_s) q(x_s | x_0), multiplied and normalised on a grid of x_s."""
    x_0 = pixel(0.6)
    x_t = LINEAR.marginal(x_0, at(t)).sample(pixel(1.3))
    prior = LINEAR.marginal(x_0, at(s))
    reach = 14 * prior.variance.sqrt()
    x_s = (prior.mean + reach * torch.linspace(-1, 1, 40001, dtype=torch.float64)).reshape(-1, 1, 1, 1)
    density = (prior.log_density(x_s).exp() * LINEAR.transition(x_s, at(s), at(t)).log_density(x_t).exp()).flatten()
    x = x_s.flatten()
    mass = torch.trapezoid(density, x)
    mean = torch.trapezoid(x * density, x) / mass
    variance = torch.trapezoid((x - mean) ** 2 * density, x) / mass
    posterior = LINEAR.posterior(x_t, x_0, at(t), at(s))
    assert posterior.mean.item() == pytest.approx(mean.item(), rel=1e-9)
    assert posterior.variance.item() == pytest.approx(variance.item(), rel=1e-9)


@pytest.mark.parametrize(("s", "t"), [(399, 400), (100, 400)])
def test_bayes_rule_without_x_0_averages_the_posteriors(s: int, t: int) -> None:
    """q(x_s | x_t) of the data {-1, 1}: by Bayes' rule on a grid, and with E[x_0 | x_t] in closed form."""
    x_t, data = pixel(0.1), torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    x_s = torch.linspace(-8, 8, 80001, dtype=torch.float64).reshape(-1, 1, 1, 1)
    of_x_s = sum(LINEAR.marginal(one, at(s)).log_density(x_s).exp() for one in data[:, None])
    density = (of_x_s * LINEAR.transition(x_s, at(s), at(t)).log_density(x_t).exp()).flatten()
    mean = torch.trapezoid(x_s.flatten() * density, x_s.flatten()) / torch.trapezoid(density, x_s.flatten())
    clean = analytic.images(LINEAR, data)(x_t, at(t))
    assert mean.item() == pytest.approx(LINEAR.posterior(x_t, clean, at(t), at(s)).mean.item(), rel=1e-6)


@pytest.mark.parametrize("step", [1, 2, 500, 1000])
def test_the_posterior_at_time_zero_is_the_clean_image(step: int) -> None:
    posterior = LINEAR.posterior(pixel(1.3), pixel(-0.4), at(step), at(0))
    assert (posterior.mean.item(), posterior.variance.item()) == (-0.4, 0)


def test_the_posterior_keeps_its_precision_at_low_noise() -> None:
    """In single precision 1 - alpha_bar has four digits at the first steps; the coefficients must not."""
    exact = LINEAR.posterior(pixel(0.9), pixel(-0.4), at(2), at(1))
    single = LINEAR.posterior(pixel(0.9).float(), pixel(-0.4).float(), at(2), at(1))
    assert single.mean.dtype == torch.float32
    assert single.mean.item() == pytest.approx(exact.mean.item(), rel=3e-7)
    assert single.variance.item() == pytest.approx(exact.variance.item(), rel=3e-7)


def test_times_of_each_image_equal_calls_with_one_time() -> None:
    x_t, x_0 = torch.randn(2, 3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t, s = torch.stack([at(10), at(500), at(1000)]), torch.stack([at(9), at(20), at(0)])
    together = LINEAR.posterior(x_t, x_0, t, s)
    for i in range(3):
        alone = LINEAR.posterior(x_t[i : i + 1], x_0[i : i + 1], t[i], s[i])
        assert (together.mean[i : i + 1] == alone.mean).all()
        assert (together.variance[i] == alone.variance).all()


def test_logsnr_is_the_log_of_signal_over_noise() -> None:
    _, alpha_bar = article()
    expected = [math.log(now / (1 - now)) for now in alpha_bar[1:]]
    t = STEPS.double() / T
    torch.testing.assert_close(LINEAR.logsnr(t), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


def test_time_at_inverts_logsnr() -> None:
    t = torch.linspace(0, 1, 7919, dtype=torch.float64)
    torch.testing.assert_close(LINEAR.time_at(LINEAR.logsnr(t)), t, rtol=0, atol=1e-14)
    torch.testing.assert_close(LINEAR.time_at(LINEAR.logsnr(at(333))), at(333), rtol=0, atol=1e-14)


def test_log_snrs_beyond_the_schedule_give_its_ends() -> None:
    beyond = torch.tensor([math.inf, 100.0, -100.0, -math.inf], dtype=torch.float64)
    assert LINEAR.time_at(beyond).tolist() == pytest.approx([0, 0, 1, 1], abs=1e-14)


@pytest.mark.parametrize("timesteps", [1000, 300])
def test_networks_receive_the_step_counted_from_zero(timesteps: int) -> None:
    t = torch.arange(1, timesteps + 1, dtype=torch.float64) / timesteps
    time_input = LinearBeta(timesteps).network_time(t)
    torch.testing.assert_close(time_input, torch.arange(timesteps, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"timesteps": 0}, "at least 21"),
        ({"timesteps": 20}, "at least 21"),
        ({"timesteps": 500, "beta_end": 0.5}, "at least 501"),
        ({"beta_start": 0.0}, "0 < beta_start"),
        ({"beta_start": 0.03}, "beta_start <= beta_end"),
        ({"beta_end": 1.0}, "beta_end < 1"),
        ({"beta_start": -0.1}, "0 < beta_start"),
        ({"beta_end": math.nan}, "beta_end < 1"),
    ],
)
def test_an_invalid_schedule_is_rejected_with_a_remedy(settings: dict[str, float], remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LinearBeta(**settings)  # type: ignore[arg-type]
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("beta_end", [0.02, 0.57, 0.3, 0.999])
def test_the_suggested_minimum_of_timesteps_is_valid(beta_end: float) -> None:
    with pytest.raises(ConfigError) as caught:
        LinearBeta(1, beta_end=beta_end)
    least = int(caught.value.remedy.split("at least ")[1].split()[0])
    assert (LinearBeta(least, beta_end=beta_end).betas < 1).all()
    with pytest.raises(ConfigError):
        LinearBeta(least - 1, beta_end=beta_end)
