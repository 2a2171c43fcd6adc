"""The decoder and the variational bound, against quadrature, torch's divergences and closed forms."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from likelihood.eight_bit_images import (
    LEVELS,
    LINEAR,
    VARIANCE,
    at,
    bits,
    discretised,
    eight_bit,
    randn,
    smooth_mixture,
)
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import SCHEDULES, Flow, LinearBeta, Schedule, VarianceExploding, ZeroTerminal
from sfumato.errors import ConfigError
from sfumato.likelihood import variational_bound
from sfumato.likelihood.discrete_pixels import dequantized, log_probability
from sfumato.sampling.sampler import ImageNoise
from sfumato.sampling.timesteps import TIME_GRIDS, Karras, LogSNR, Trailing, Uniform


@pytest.mark.parametrize("deviation", [1e-4, 0.0074, 0.1, 3.0])
@pytest.mark.parametrize("mean", [-1.4, -1.0, 0.013, 0.999, 2.0])
def test_the_masses_of_the_256_levels_add_up_to_one(mean: float, deviation: float) -> None:
    levels = LEVELS.reshape(256, 1, 1, 1)
    log_mass = log_probability(levels, torch.full_like(levels, mean), deviation)
    assert log_mass.isfinite().all()
    assert log_mass.exp().sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("mean", [-0.3, 0.001, 0.71])
def test_the_mass_of_a_level_is_the_integral_over_its_bin(mean: float) -> None:
    deviation, level = 0.02, 100 + torch.arange(0, 60, 7)
    centre = LEVELS[level].reshape(-1, 1, 1, 1)
    place = torch.linspace(-1 / 255, 1 / 255, 2001, dtype=torch.float64)
    density = Normal(at(mean), at(deviation)).log_prob(centre.flatten()[:, None] + place).exp()
    found = log_probability(centre, torch.full_like(centre, mean), deviation).exp().flatten()
    torch.testing.assert_close(found, torch.trapezoid(density, place), rtol=3e-3, atol=1e-300)


def test_the_first_and_the_last_bin_are_open() -> None:
    ends, law = LEVELS[[0, 255]].reshape(2, 1, 1, 1), Normal(at(0.2), at(0.9))
    found = log_probability(ends, torch.full_like(ends, 0.2), 0.9).exp().flatten()
    torch.testing.assert_close(found, torch.stack([law.cdf(-1 + 1 / 255 + at(0)), 1 - law.cdf(1 - 1 / 255 + at(0))]))


def test_probabilities_of_both_far_tails_are_precise() -> None:
    """From 40 deviations on, where Phi is 0 or 1 in float64. Phi(-x) = exp(-x^2 / 2) / (x sqrt(2 pi)), nearly."""
    levels = LEVELS[[127, 128]].reshape(2, 1, 1, 1)  # their bins meet at 0
    means = torch.tensor([0.4, -0.4], dtype=torch.float64).reshape(2, 1, 1, 1)
    expected = -(40**2) / 2 - math.log(40 * math.sqrt(2 * math.pi))
    assert log_probability(levels, means, 0.01).flatten().tolist() == pytest.approx([expected] * 2, rel=2e-6)


# Dequantisation


def test_positions_in_a_bin_are_uniform_and_centred() -> None:
    images = LEVELS[[0, 100, 255]].reshape(3, 1, 1, 1).expand(3, 1, 100, 100)
    noise = ImageNoise(0, range(3), (1, 100, 100))()
    place = (dequantized(images, noise) - images) * 255
    assert place.abs().max() < 1
    torch.testing.assert_close(
        place.flatten(1).sort().values,
        ((2 * torch.arange(10000, dtype=torch.float64) + 1) / 10000 - 1).expand(3, -1),
        rtol=0,
        atol=0.05,
    )


# The bound


def naive_bound(model: Denoiser, images: Tensor, timesteps: Tensor, variance: str, seed: int) -> Tensor:
    """(n, terms) bits per dimension: DDPM eq. 5 written out with torch's Gaussians and the schedule's laws."""
    schedule = model.schedule
    noise = ImageNoise(seed, range(len(images)), model.image_shape)
    prior = schedule.marginal(images, timesteps[0])
    deviation = schedule.sigma(timesteps[0])
    terms = [kl_divergence(Normal(prior.mean, prior.variance.sqrt()), Normal(0 * prior.mean, deviation))]
    for t, s in pairwise(timesteps):
        x_t = schedule.alpha(t) * images + schedule.sigma(t) * noise().double()
        x0_hat = model(x_t, t)
        if s > 0:
            q, p = schedule.posterior(x_t, images, t, s), schedule.posterior(x_t, x0_hat, t, s)
            p_variance = p.variance if variance == "small" else schedule.transition(x_t, s, t).variance
            terms.append(kl_divergence(Normal(q.mean, q.variance.sqrt()), Normal(p.mean, p_variance.sqrt())))
        else:
            last = schedule.posterior(x_t, x0_hat, min(2 * t, at(1)), t).variance.sqrt()
            law = Normal(x0_hat, last)
            upper = torch.where(images > 0.999, 1.0, law.cdf(images + 1 / 255))
            lower = torch.where(images < -0.999, 0.0, law.cdf(images - 1 / 255))
            terms.append(-(upper - lower).log())
    return torch.stack([bits(term.flatten(1).sum(1), images[0].numel()) for term in terms], 1)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize(
    ("schedule", "timesteps"),
    [
        (LinearBeta(timesteps=30), None),
        (LINEAR, Trailing()(LINEAR, 7)),
        (LINEAR, TIME_GRIDS["leading"](LINEAR, 7)),
        (SCHEDULES["cosine"], Uniform()(SCHEDULES["cosine"], 9)),
        (ZeroTerminal(LINEAR), Uniform()(LINEAR, 10)),
        (Flow(), Uniform()(Flow(), 12)),
        (VarianceExploding(), Karras()(VarianceExploding(), 10)),
        (VarianceExploding(), torch.tensor([1.0, 0.8, 0.0], dtype=torch.float64)),
    ],
)
def test_every_term_is_the_divergence_that_torch_computes(
    schedule: Schedule, timesteps: Tensor | None, variance: str
) -> None:
    model, images = smooth_mixture(schedule), eight_bit(0.6 * randn(5, 2, 2, 3, seed=1))
    bound = variational_bound(model, images, timesteps=timesteps, variance=variance, seed=3)  # type: ignore[arg-type]
    if timesteps is None:
        timesteps = torch.arange(30, -1, -1, dtype=torch.float64) / 30
    expected = naive_bound(model, images, timesteps, variance, seed=3)
    torch.testing.assert_close(bound.timesteps, timesteps)
    torch.testing.assert_close(bound.prior, expected[:, 0], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(bound.terms, expected[:, 1:], rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(bound.total, expected.sum(1), rtol=1e-8, atol=1e-12)


def test_the_decoder_has_the_deviation_of_the_ddpm_code() -> None:
    """sqrt(beta_tilde_2), from DDPM eq. 7: beta_tilde_t = (1 - abar_{t-1}) / (1 - abar_t) beta_t."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    abar = (1 - betas).cumprod(0)
    deviation = ((1 - abar[0]) / (1 - abar[1]) * betas[1]).sqrt().item()
    image = LEVELS[[30]].reshape(1, 1, 1, 1)
    model = analytic.images(LINEAR, image + 0.01)  # knows no other image than this one, and misses by 0.01
    bound = variational_bound(model, image, timesteps=torch.tensor([1.0, 0.001, 0.0], dtype=torch.float64))
    law = Normal(image + 0.01, at(deviation))
    mass = law.cdf(image + 1 / 255) - law.cdf(image - 1 / 255)
    assert bound.terms[0, -1].item() == pytest.approx(-math.log2(mass.item()), rel=1e-9)


def test_a_schedule_without_steps_has_1000_timesteps_by_log_snr() -> None:
    image, schedule = LEVELS[[30]].reshape(1, 1, 1, 1), Flow()
    bound = variational_bound(analytic.images(schedule, image), image)
    assert bound.terms.shape == (1, 1000)
    assert bound.timesteps[[0, -1]].tolist() == [1, 0]
    strides = schedule.logsnr(bound.timesteps[1:-1]).diff()
    torch.testing.assert_close(strides, strides[:1].expand(998), rtol=1e-9, atol=0)
    assert bound.timesteps[-2].item() == pytest.approx(schedule.earliest)


def expected_error(schedule: Schedule, t: Tensor, offset: Tensor) -> Tensor:
    """E |x_0 - x0_hat|^2 over the noise, x_0 being `offset` away from the mean of N(mean, VARIANCE).

    x0_hat = mean + g (x_t - alpha mean) with g = alpha v / (alpha^2 v + sigma^2).
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    gain = alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2)
    return (1 - gain * alpha) ** 2 * offset**2 + gain**2 * sigma**2


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("schedule", [LINEAR, Flow()])
def test_the_expected_terms_of_a_gaussian_are_its_closed_form(schedule: Schedule, variance: str) -> None:
    """For one image of 10,000 equal pixels, whose mean is within 5 standard errors of the expectation."""
    level, mean, pixels = LEVELS[160], 0.1, 10_000
    model = analytic.gaussian(schedule, torch.full((1, 100, 100), mean), VARIANCE)
    timesteps = Uniform()(schedule, 40)
    bound = variational_bound(
        model,
        level.expand(1, 1, 100, 100),
        timesteps=timesteps,
        variance=variance,  # type: ignore[arg-type]
    )
    t, s = timesteps[:-2], timesteps[1:-1]
    snr_t, snr_s = (schedule.logsnr(u).exp() for u in (t, s))
    error = expected_error(schedule, t, level - model.means[0, 0])
    ratio = (schedule.sigma(s) / schedule.sigma(t)) ** 2 if variance == "large" else torch.ones_like(t)
    expected = ((ratio - 1 - ratio.log()) / 2 + ratio * (snr_s - snr_t) * error / 2) / math.log(2)
    spread = ratio * (snr_s - snr_t) * error / 2 / math.log(2) * math.sqrt(2 / pixels)  # of a chi-square, at the most
    assert ((bound.terms[0, :-1] - expected).abs() < 5 * spread + 1e-9).all()
    assert bound.prior.item() == pytest.approx(
        (schedule.logsnr(at(1)).exp() * level**2 / 2 / math.log(2)).item(), rel=1e-9, abs=1e-12
    )


def limit_of_the_bound(schedule: Schedule, mean: float, levels: Tensor) -> Tensor:
    """Bits of each level where the reverse steps are exact, so that the law of x_t at the last stop is the data's.

    What is left is E[log q(x_t | x_0) - log p(x_t) - log p(x_0 | x_t)], by Gauss-Hermite quadrature over the noise.
    """
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(100))
    t = at(schedule.earliest)
    alpha, sigma, levels = schedule.alpha(t), schedule.sigma(t), levels[:, None]
    x_t, variance = alpha * levels + sigma * nodes, alpha**2 * VARIANCE + sigma**2
    x0_hat = mean + alpha * VARIANCE / variance * (x_t - alpha * mean)
    deviation = (sigma * schedule.snr_lost(t, 2 * t).sqrt()).item()
    rate = Normal(alpha * levels, sigma).log_prob(x_t) - Normal(alpha * mean, variance.sqrt()).log_prob(x_t)
    pixels, x0_hat = (part[:, :, None, None] for part in (levels.expand_as(x_t), x0_hat))
    decoder = -log_probability(pixels, x0_hat, deviation)[:, :, 0, 0]
    return (rate + decoder) @ weights / math.sqrt(2 * math.pi) / math.log(2)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_bound_decreases_to_its_limit_with_the_steps(variance: str) -> None:
    """The data are a Gaussian, whose density answers for the 256 levels; the excess falls like 1 / steps."""
    schedule, mean = VarianceExploding(), 0.1
    model = analytic.gaussian(schedule, torch.full((1, 64, 64), mean), VARIANCE)
    images = eight_bit(mean + math.sqrt(VARIANCE) * randn(2, 1, 64, 64))
    limit = limit_of_the_bound(schedule, mean, images.flatten()).mean().item()
    truth = discretised(Normal(at(mean), at(math.sqrt(VARIANCE))), images).mean().item()
    assert truth < limit < truth + 0.25
    excess = [
        variational_bound(model, images, timesteps=LogSNR()(schedule, steps), variance=variance).total.mean().item()
        - limit  # type: ignore[arg-type]
        for steps in (20, 60, 180)
    ]
    assert 2 < excess[0] / excess[1] < 5
    assert 2 < excess[1] / excess[2] < 5
    assert excess[2] < 0.6


def test_noise_does_not_depend_on_the_batch_size() -> None:
    model, images = smooth_mixture(LINEAR), eight_bit(0.6 * randn(5, 2, 2, 3, seed=1))
    timesteps = Uniform()(LINEAR, 4)
    whole = variational_bound(model, images, timesteps=timesteps)
    torch.testing.assert_close(variational_bound(model, images, timesteps=timesteps, batch=1).terms, whole.terms)
    same = variational_bound(model, images[:1].expand(3, -1, -1, -1), timesteps=timesteps)
    assert same.total.unique().numel() == 3
    assert not torch.equal(variational_bound(model, images, timesteps=timesteps, seed=1).total, whole.total)


def test_progress_counts_every_image_at_every_step() -> None:
    told: list[int] = []
    images = torch.zeros(5, 2, 2, 3).double() + LEVELS[100]
    variational_bound(smooth_mixture(LINEAR), images, timesteps=Uniform()(LINEAR, 3), batch=2, on_step=told.append)
    assert told == [2, 2, 2, 2, 2, 2, 1, 1, 1]


@pytest.mark.parametrize(
    "timesteps",
    [[1.0, 0.0], [1.0, 0.5], [1.0, 0.5, 0.1], [0.5, 1.0, 0.0], [1.0, 0.5, 0.5, 0.0], [1.5, 0.5, 0.0]],
)
def test_invalid_timesteps_are_rejected(timesteps: list[float]) -> None:
    with pytest.raises(ConfigError, match="decreasing times from 1 to 0 with at least 2 steps"):
        variational_bound(
            smooth_mixture(LINEAR), torch.ones(1, 2, 2, 3), timesteps=torch.tensor(timesteps, dtype=torch.float64)
        )


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_variance_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"'huge' is unknown\. Choose small or large"):
        variational_bound(smooth_mixture(LINEAR), torch.ones(1, 2, 2, 3), variance="huge")  # type: ignore[arg-type]
