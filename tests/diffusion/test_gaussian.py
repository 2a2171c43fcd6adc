"""Gaussian random variables against quadrature and torch.distributions."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from sfumato.diffusion.gaussian import Gaussian

PAIRS = [((0.7, 2.3), (-1.1, 0.4)), ((0.0, 1.0), (0.0, 1.0)), ((-3.0, 0.05), (2.0, 1.7))]
"""(mean, variance) of two Gaussians."""

X = torch.linspace(-20, 20, 8001, dtype=torch.float64)
"""Where densities are integrated: the trapezoid rule is exact to rounding for a smooth density that dies inside."""


def make(mean: float, variance: float) -> Gaussian:
    return Gaussian(torch.tensor(mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64))


def moments(density: Tensor) -> tuple[float, float]:
    """Mean and variance of an unnormalised density over X."""
    mass = torch.trapezoid(density, X)
    mean = torch.trapezoid(X * density, X) / mass
    return mean.item(), (torch.trapezoid((X - mean) ** 2 * density, X) / mass).item()


@pytest.mark.parametrize(("mean", "variance"), [pair[0] for pair in PAIRS])
def test_the_density_is_that_of_torch_and_integrates_to_one(mean: float, variance: float) -> None:
    gaussian = make(mean, variance)
    expected = Normal(torch.tensor(mean, dtype=torch.float64), math.sqrt(variance)).log_prob(X)
    torch.testing.assert_close(gaussian.log_density(X), expected, rtol=1e-13, atol=1e-13)
    assert torch.trapezoid(gaussian.log_density(X).exp(), X).item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("mean", "variance"), [pair[0] for pair in PAIRS])
def test_the_density_has_the_given_mean_and_variance(mean: float, variance: float) -> None:
    assert moments(make(mean, variance).log_density(X).exp()) == pytest.approx((mean, variance), abs=1e-12)


@pytest.mark.parametrize("factor", [0.3, -2.0])
def test_scaled_is_the_change_of_variables(factor: float) -> None:
    gaussian = make(0.7, 1.3)
    expected = gaussian.log_density(X / factor).exp() / abs(factor)
    torch.testing.assert_close(gaussian.scaled(factor).log_density(X).exp(), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_plus_is_the_convolution(a: tuple[float, float], b: tuple[float, float]) -> None:
    total = make(*a).plus(make(*b))
    for z in (-2.0, 0.0, 1.5):
        convolved = torch.trapezoid(make(*a).log_density(X).exp() * make(*b).log_density(z - X).exp(), X)
        assert total.log_density(torch.tensor(z)).exp().item() == pytest.approx(convolved.item(), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_times_is_the_normalised_product(a: tuple[float, float], b: tuple[float, float]) -> None:
    product = make(*a).times(make(*b))
    expected = moments(make(*a).log_density(X).exp() * make(*b).log_density(X).exp())
    assert (product.mean.item(), product.variance.item()) == pytest.approx(expected, abs=1e-10)


def test_a_sample_has_the_quantile_of_its_noise() -> None:
    gaussian = make(0.7, 2.3)
    noise = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    standardised = Normal(gaussian.mean, gaussian.variance.sqrt()).cdf(gaussian.sample(noise))
    torch.testing.assert_close(standardised, Normal(0.0, 1.0).cdf(noise))
