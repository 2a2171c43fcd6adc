"""Analytic denoisers against closed forms, quadrature, the score, and plain sums."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from sfumato.diffusion import analytic
from sfumato.diffusion.schedules import LinearBeta
from sfumato.errors import LabelError
from sfumato.utils.shapes import UNLABELLED

SCHEDULE = LinearBeta()
TIMES = [0.001, 0.05, 0.3, 0.7, 1.0]


def at(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def labelled_mixture(shape: tuple[int, int, int] = (2, 2, 1)) -> analytic.Mixture:
    """Four components, one of them a point, of two classes."""
    return analytic.Mixture(
        SCHEDULE,
        means=randn(4, *shape),
        variances=torch.tensor([0.3, 0.0, 0.02, 1.5]),
        weights=torch.tensor([3.0, 1.0, 2.0, 2.0]),
        labels=torch.tensor([0, 0, 1, 1]),
        label_names=("zero", "one"),
    )


@pytest.mark.parametrize("variance", [0.0, 0.2, 1.0, 3.0])
@pytest.mark.parametrize("t", TIMES)
def test_a_gaussian_is_the_closed_form(t: float, variance: float) -> None:
    mean, x_t = randn(1, 2, 3), randn(5, 1, 2, 3, seed=1)
    alpha, sigma = SCHEDULE.alpha(at(t)), SCHEDULE.sigma(at(t))
    gain = alpha * variance / (alpha**2 * variance + sigma**2)
    expected = mean + gain * (x_t - alpha * mean)
    denoised = analytic.gaussian(SCHEDULE, mean, variance)(x_t, at(t))
    torch.testing.assert_close(denoised, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t", TIMES)
def test_a_mixture_is_the_integral_over_all_images(t: float) -> None:
    """E[x_0 | x_t] = integral of x_0 p(x_0) p(x_t | x_0), over that of p(x_0) p(x_t | x_0), for one pixel."""
    means, deviations, weights = (
        torch.tensor(v, dtype=torch.float64) for v in ([-0.8, 0.1, 0.9], [0.3, 0.05, 0.2], [0.2, 0.5, 0.3])
    )
    law = MixtureSameFamily(Categorical(weights), Normal(means, deviations))
    alpha, sigma = SCHEDULE.alpha(at(t)), SCHEDULE.sigma(at(t))
    x_0 = torch.linspace(-4, 4, 40001, dtype=torch.float64)
    x_t = torch.linspace(-1, 1, 9, dtype=torch.float64)
    log_joint = law.log_prob(x_0) + Normal(alpha * x_0, sigma).log_prob(x_t[:, None])
    expected = log_joint.softmax(1) @ x_0
    model = analytic.Mixture(SCHEDULE, means.reshape(3, 1, 1, 1), deviations**2, 7 * weights)
    denoised = model(x_t.reshape(9, 1, 1, 1), at(t)).flatten()
    torch.testing.assert_close(denoised, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", TIMES)
def test_a_mixture_obeys_tweedie(t: float) -> None:
    """E[x_0 | x_t] = (x_t + sigma^2 grad log p(x_t)) / alpha, the score by autograd of torch's density."""
    model = labelled_mixture()
    means, variances = randn(4, 2, 2, 1), torch.tensor([0.3, 0.0, 0.02, 1.5], dtype=torch.float32).double()
    alpha, sigma = SCHEDULE.alpha(at(t)), SCHEDULE.sigma(at(t))
    deviations = (alpha**2 * variances + sigma**2).sqrt().reshape(4, 1, 1, 1).expand_as(means)
    weights = torch.tensor([3.0, 1.0, 2.0, 2.0], dtype=torch.float64)
    law = MixtureSameFamily(Categorical(weights), Independent(Normal(alpha * means, deviations), 3))
    x_t = (alpha * randn(4, 2, 2, 1) + 0.3 * randn(4, 2, 2, 1, seed=1)).requires_grad_()
    (score,) = torch.autograd.grad(law.log_prob(x_t).sum(), x_t)
    torch.testing.assert_close(model(x_t, at(t)), (x_t + sigma**2 * score) / alpha, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", TIMES)
def test_a_finite_data_set_gives_the_distance_weighted_mean(t: float) -> None:
    data, x_t = randn(6, 1, 2, 2), randn(3, 1, 2, 2, seed=1)
    alpha, sigma = SCHEDULE.alpha(at(t)).item(), SCHEDULE.sigma(at(t)).item()
    denoised = analytic.images(SCHEDULE, data)(x_t, at(t))
    for x, found in zip(x_t, denoised, strict=True):
        exponents = [-(x - alpha * image).square().sum().item() / (2 * sigma**2) for image in data]
        weights = [math.exp(e - max(exponents)) for e in exponents]
        expected = sum(w * image for w, image in zip(weights, data, strict=True)) / sum(weights)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_at_low_noise_a_finite_data_set_gives_the_nearest_image() -> None:
    data = randn(6, 1, 2, 2)
    near = data + 0.01 * randn(6, 1, 2, 2, seed=1)
    torch.testing.assert_close(analytic.images(SCHEDULE, data)(near, at(0.001)), data, rtol=0, atol=1e-12)


def test_a_gaussian_denoiser_is_the_identity_without_noise() -> None:
    x = randn(3, 1, 2, 2)
    torch.testing.assert_close(analytic.gaussian(SCHEDULE, randn(1, 2, 2), 0.5)(x, at(0)), x, rtol=0, atol=1e-14)


def test_the_estimate_far_from_all_data_is_finite() -> None:
    far = torch.full((1, 1, 2, 2), 1e4)
    data = randn(6, 1, 2, 2)
    denoised = analytic.images(SCHEDULE, data)(far, at(0.001))
    furthest = data[data.sum((1, 2, 3)).argmax()]
    torch.testing.assert_close(denoised[0].double(), furthest, rtol=0, atol=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_a_label_selects_the_components_of_its_class(label: int) -> None:
    full = labelled_mixture()
    own = slice(2 * label, 2 * label + 2)
    alone = analytic.Mixture(
        SCHEDULE,
        randn(4, 2, 2, 1)[own],
        torch.tensor([0.3, 0.0, 0.02, 1.5])[own],
        torch.tensor([3.0, 1.0, 2.0, 2.0])[own],
    )
    x_t = randn(5, 2, 2, 1, seed=1)
    labels = torch.full((5,), label)
    torch.testing.assert_close(full(x_t, at(0.3), labels), alone(x_t, at(0.3)), rtol=1e-12, atol=1e-12)


def test_a_class_that_no_component_has_is_rejected() -> None:
    with pytest.raises(LabelError, match=r"class 7.*Choose among \[0, 1\]"):
        labelled_mixture()(randn(1, 2, 2, 1), at(0.5), torch.tensor([7]))


def test_unlabelled_images_of_a_labelled_batch_are_unconditional() -> None:
    model, x_t = labelled_mixture(), randn(3, 2, 2, 1, seed=1)
    mixed = model(x_t, at(0.3), torch.tensor([UNLABELLED, 0, 1]))
    torch.testing.assert_close(mixed[:1], model(x_t, at(0.3))[:1])
    torch.testing.assert_close(mixed[1:2], model(x_t, at(0.3), torch.zeros(3, dtype=torch.int64))[1:2])
    torch.testing.assert_close(mixed[2:], model(x_t, at(0.3), torch.ones(3, dtype=torch.int64))[2:])
    assert (mixed[1] - model(x_t, at(0.3))[1]).abs().max() > 0.01


def test_times_of_each_image_equal_calls_with_one_time() -> None:
    model, x_t = labelled_mixture(), randn(len(TIMES), 2, 2, 1, seed=1)
    together = model(x_t, torch.tensor(TIMES, dtype=torch.float64))
    alone = [model(x[None], at(t)) for x, t in zip(x_t, TIMES, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t", TIMES)
def test_float32_inputs_give_exact_float32_outputs(t: float) -> None:
    model, x_t = labelled_mixture(), randn(5, 2, 2, 1, seed=1).float()
    assert (model(x_t, at(t)) == model(x_t.double(), at(t)).float()).all()
    assert model(x_t, at(t)).dtype == torch.float32
