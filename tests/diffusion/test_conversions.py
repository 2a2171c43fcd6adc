"""Conversions between data, noise, velocity, flow and score, against definitions and an exact density."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from sfumato.diffusion import analytic
from sfumato.diffusion.conversions import RELATIONS, Quantity, convert, noise_in
from sfumato.diffusion.schedules import SCHEDULES, Cosine, Flow, Schedule, ZeroTerminal
from sfumato.errors import ConfigError
from sfumato.utils.shapes import over

PAIRS = list(itertools.product(RELATIONS, RELATIONS))


def times_of(schedule: Schedule) -> Tensor:
    return torch.tensor([schedule.earliest, 0.3, 0.5, 0.9], dtype=torch.float64)


def quantities(schedule: Schedule, t: Tensor) -> tuple[Tensor, dict[Quantity, Tensor]]:
    """x_t, and all that can be said of it, by their definitions from x_0 and the noise."""
    generator = torch.Generator().manual_seed(0)
    x_0, noise = (torch.randn(len(t), 2, 3, 1, dtype=torch.float64, generator=generator) for _ in range(2))
    alpha, sigma = over(schedule.alpha(t), x_0), over(schedule.sigma(t), x_0)
    return alpha * x_0 + sigma * noise, {
        "data": x_0,
        "noise": noise,
        "velocity": alpha * noise - sigma * x_0,
        "flow": noise - x_0,
        "score": -noise / sigma,
    }


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_each_quantity_follows_from_each(schedule: str, source: Quantity, target: Quantity) -> None:
    t = times_of(SCHEDULES[schedule])
    x_t, known = quantities(SCHEDULES[schedule], t)
    found = convert(known[source], x_t, t, SCHEDULES[schedule], source, target)
    torch.testing.assert_close(found, known[target], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_there_and_back_is_where_it_began(source: Quantity, target: Quantity) -> None:
    """For any value at all, not only for the truth."""
    t = times_of(Cosine())
    x_t, known = quantities(Cosine(), t)
    value = known["noise"].flip(0) + 1
    there = convert(value, x_t, t, Cosine(), source, target)
    torch.testing.assert_close(convert(there, x_t, t, Cosine(), target, source), value, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_score_is_the_gradient_of_the_log_density(schedule: str) -> None:
    """Tweedie's formula, for a mixture of two Gaussians, one pixel."""
    path, t = SCHEDULES[schedule], torch.tensor(0.6, dtype=torch.float64)
    means, variances, weights = (torch.tensor(v, dtype=torch.float64) for v in ([-1.0, 0.5], [0.1, 0.3], [0.4, 0.6]))
    x_t = torch.linspace(-3, 3, 13, dtype=torch.float64).reshape(-1, 1, 1, 1).requires_grad_()
    alpha, sigma = path.alpha(t), path.sigma(t)
    law = MixtureSameFamily(Categorical(weights), Normal(alpha * means, (alpha**2 * variances + sigma**2).sqrt()))
    (gradient,) = torch.autograd.grad(law.log_prob(x_t).sum(), x_t)
    denoised = analytic.Mixture(path, means.reshape(-1, 1, 1, 1), variances, weights)(x_t.detach(), t)
    score = convert(denoised, x_t.detach(), t, path, "data", "score")
    torch.testing.assert_close(score, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("schedule", [Flow(), ZeroTerminal(Cosine())])
@pytest.mark.parametrize("source", ["velocity", "flow"])
def test_without_signal_the_image_still_follows_from_what_tells_of_it(schedule: Schedule, source: Quantity) -> None:
    """There x_t is the noise, the velocity is -x_0, and the flow is noise - x_0."""
    t = torch.ones(4, dtype=torch.float64)
    x_t, known = quantities(schedule, t)
    torch.testing.assert_close(convert(known[source], x_t, t, schedule, source, "data"), known["data"])
    assert not convert(known["noise"], x_t, t, schedule, "noise", "data").isfinite().any()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_noise_that_an_estimate_implies_is_the_conversion(schedule: str) -> None:
    path = SCHEDULES[schedule]
    t = times_of(path)
    x_t, known = quantities(path, t)
    implied = noise_in(x_t, known["flow"], path.alpha(t), path.sigma(t))
    torch.testing.assert_close(implied, convert(known["flow"], x_t, t, path, "data", "noise"), rtol=1e-9, atol=1e-9)
    exact = noise_in(x_t, known["data"], path.alpha(t), path.sigma(t))
    torch.testing.assert_close(exact, known["noise"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("source", "target"), [("epsilon", "data"), ("data", "epsilon")])
def test_an_unknown_quantity_is_rejected_with_the_valid_names(source: str, target: str, unchecked: None) -> None:
    del unchecked
    x = torch.zeros(1, 1, 1, 1)
    with pytest.raises(ConfigError, match=r"'epsilon' is unknown. Choose among: data, noise, velocity, flow, score\."):
        convert(x, x, torch.tensor(0.5), Cosine(), source, target)  # type: ignore[arg-type]
