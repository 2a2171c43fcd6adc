"""The density of the probability-flow ODE against closed forms, and properties of both likelihoods."""

import math
from collections.abc import Callable

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from likelihood.eight_bit_images import (
    LEVELS,
    LINEAR,
    VARIANCE,
    at,
    bits,
    blur,
    discretised,
    eight_bit,
    randn,
    smooth_mixture,
)
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser, predict_flow
from sfumato.diffusion.guidance import Clipped
from sfumato.diffusion.schedules import SCHEDULES, Flow, LinearBeta, Schedule, ZeroTerminal
from sfumato.errors import ConfigError, DataError, LabelError, SamplingError
from sfumato.likelihood import flow_likelihood, log_density, variational_bound
from sfumato.likelihood.discrete_pixels import check_depth, dequantized
from sfumato.sampling.sampler import ImageNoise
from sfumato.sampling.timesteps import Uniform
from sfumato.utils.shapes import UNLABELLED, Images, Labels


def flow_of_a_gaussian(schedule: Schedule, mean: Tensor, variance: float) -> Independent:
    """The law that the exact flow makes of N(0, sigma_1^2): linear in the noise, since x keeps its distance to
    alpha mean in standard deviations.
    """
    (a, b), (c, d) = ((schedule.alpha(t), schedule.sigma(t)) for t in (at(schedule.earliest), at(1.0)))
    ratio = ((a**2 * variance + b**2) / (c**2 * variance + d**2)).sqrt()
    return Independent(Normal(mean - ratio * c / a * mean, ratio * d / a), 3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_log_density_of_a_gaussian_is_the_closed_form(name: str) -> None:
    schedule, mean = SCHEDULES[name], 0.3 * randn(1, 4, 4, seed=1)
    images = mean + math.sqrt(VARIANCE) * randn(16, 1, 4, 4)
    found = log_density(analytic.gaussian(schedule, mean, VARIANCE), images, tolerance=1e-7)
    exact = flow_of_a_gaussian(schedule, mean, VARIANCE).log_prob(images)
    torch.testing.assert_close(bits(found, 16), bits(exact, 16), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["linear", "cosine", "flow", "edm"])
def test_the_likelihood_of_a_gaussian_is_exact_to_0_001_bits(name: str) -> None:
    """At the usual tolerance, on average over images; blur and prior have cost less than that."""
    mean = 0.3 * randn(1, 8, 8, seed=1)
    images = mean + 0.5 * randn(200, 1, 8, 8)
    found = log_density(analytic.gaussian(SCHEDULES[name], mean, 0.25), images, batch=200)
    exact = Independent(Normal(mean, 0.5), 3).log_prob(images)
    assert abs(bits((found - exact).mean(), 64).item()) < 1e-4


def blurred_mixture(schedule: Schedule, means: Tensor, variances: Tensor, weights: Tensor) -> MixtureSameFamily:
    deviations = (variances + blur(schedule)).sqrt()[:, None, None, None].expand_as(means)
    return MixtureSameFamily(Categorical(weights), Independent(Normal(means, deviations), 3))


@pytest.mark.parametrize("schedule", [ZeroTerminal(LINEAR), Flow()])
def test_the_log_density_of_a_one_pixel_mixture_is_exact(schedule: Schedule) -> None:
    means = torch.tensor([-0.6, 0.1, 0.5], dtype=torch.float64).reshape(3, 1, 1, 1)
    variances, weights = (torch.tensor(v, dtype=torch.float64) for v in ([0.01, 0.04, 0.0025], [0.3, 0.5, 0.2]))
    images = torch.linspace(-1, 1, 41, dtype=torch.float64).reshape(41, 1, 1, 1)
    found = log_density(analytic.Mixture(schedule, means, variances, weights), images, tolerance=1e-7)
    exact = blurred_mixture(schedule, means, variances, weights).log_prob(images)
    torch.testing.assert_close(bits(found, 1), bits(exact, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("probes", [1, 4])
def test_the_log_density_of_a_mixture_of_four_pixels_is_unbiased(probes: int) -> None:
    """The same two images 400 times each, with directions of their own; more probes spread less."""
    means, variances = 0.5 * randn(3, 1, 2, 2), torch.tensor([0.02, 0.05, 0.01], dtype=torch.float64)
    weights = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
    model, images = analytic.Mixture(Flow(), means, variances, weights), means[:2] + 0.15 * randn(2, 1, 2, 2, seed=1)
    found = log_density(model, images.repeat_interleave(400, 0), probes=probes, batch=800, tolerance=1e-6)
    exact = blurred_mixture(Flow(), means, variances, weights).log_prob(images)
    for estimates, value in zip(bits(found, 4).chunk(2), bits(exact, 4), strict=True):
        spread = estimates.std().item()
        assert 0.01 < spread * math.sqrt(probes) < 1
        assert estimates.mean().item() == pytest.approx(value.item(), abs=4 * spread / math.sqrt(400))


class Warp(nn.Module):
    """A small random network of one pixel and two classes, which is no data's exact denoiser."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Images, times: Float[Tensor, " n"], labels: Labels | None = None) -> Images:
        """x plus some waves in x and time, and a number of the class."""
        assert x.requires_grad == torch.is_grad_enabled()
        rate, speed, height = self.weights.to(x.dtype)
        waves = torch.tanh(rate * x + speed * (times / 1000).to(x.dtype).reshape(-1, 1, 1, 1))
        shift = 0 if labels is None else 0.1 * labels.reshape(-1, 1, 1, 1)
        return x + 0.3 * (self.dropout(waves) * height).mean(-1, keepdim=True) + shift


def warp() -> PreconditionedDenoiser:
    return PreconditionedDenoiser(Warp(), Flow(), predict_flow, (1, 1, 1), ("zero", "one")).train()


def test_the_density_of_any_network_integrates_to_one() -> None:
    x = torch.linspace(-20, 20, 2001, dtype=torch.float64)
    density = log_density(warp(), x.reshape(-1, 1, 1, 1), batch=5000).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=1e-3)


def test_float32_and_float64_densities_agree_within_tolerance() -> None:
    x = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(-1, 1, 1, 1)
    exact = log_density(warp(), x, tolerance=1e-6)
    found = log_density(warp(), x.float())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-3)


def bound_of_four_steps(model: Denoiser, images: Tensor, labels: Tensor | None = None, batch: int = 64) -> Tensor:
    timesteps = Uniform()(model.schedule, 4)
    return variational_bound(model, images, labels=labels, timesteps=timesteps, batch=batch).total


@pytest.mark.parametrize("measure", [log_density, flow_likelihood, bound_of_four_steps])
def test_the_model_is_in_eval_mode_and_its_mode_is_restored(
    measure: Callable[[Denoiser, Tensor], Tensor],
) -> None:
    model, images = warp(), LEVELS[[10, 200]].reshape(2, 1, 1, 1)
    model.network.dropout.eval()  # type: ignore[union-attr]
    first = measure(model, images)
    assert model.training
    assert model.network.training
    assert not model.network.dropout.training  # type: ignore[union-attr]
    assert model.network.weights.grad is None
    model.network.dropout.train()  # type: ignore[union-attr]
    with torch.no_grad():
        again = measure(model, images)
    assert torch.equal(first, again)
    assert not first.requires_grad


def test_the_bits_of_8_bit_images_use_a_position_in_the_bin() -> None:
    """An isotropic Gaussian, for which the random directions are exact."""
    mean = 0.3 * randn(1, 4, 4, seed=1)
    model, images = analytic.gaussian(Flow(), mean, VARIANCE), eight_bit(mean + 0.2 * randn(6, 1, 4, 4))
    places = dequantized(images, ImageNoise(5, range(6), (1, 4, 4))())
    density = flow_of_a_gaussian(Flow(), mean, VARIANCE).log_prob(places)
    expected = -(density + 16 * math.log(2 / 255)) / (16 * math.log(2))
    found = flow_likelihood(model, images, seed=5, tolerance=1e-7, batch=4)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("deviation", [0.5, 2 / 255])
def test_expected_bits_are_the_bin_integral_above_exact_bits(deviation: float) -> None:
    """One image of 10,000 equal pixels; at a deviation of one bin, the places in it cost half a bit."""
    image = LEVELS[[140]].reshape(1, 1, 1, 1)
    mean = image.item() - 0.003
    model = analytic.gaussian(Flow(), torch.full((1, 100, 100), mean, dtype=torch.float64), deviation**2)
    found = flow_likelihood(model, image.expand(1, 1, 100, 100)).item()
    law, place = Normal(at(mean), at(deviation)), torch.linspace(-1 / 255, 1 / 255, 10001, dtype=torch.float64)
    expected = -(law.log_prob(image.flatten() + place).mean() + math.log(2 / 255)).item() / math.log(2)
    assert found == pytest.approx(expected, abs=0.01 if deviation < 0.1 else 1e-4)
    assert found > discretised(law, image).item() - 1e-4


def two_classes(schedule: Schedule) -> analytic.Mixture:
    means = torch.tensor([-0.5, 0.4], dtype=torch.float64).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    variances = torch.tensor([0.04, 0.09], dtype=torch.float64)
    return analytic.Mixture(schedule, means, variances, torch.ones(2), torch.tensor([0, 1]), ("zero", "one"))


@pytest.mark.parametrize("measure", [log_density, flow_likelihood, bound_of_four_steps])
def test_labels_stay_with_their_images(measure: Callable[..., Tensor]) -> None:
    """A model of two classes, each a Gaussian, is for each image the Gaussian of its class."""
    schedule = LinearBeta(timesteps=25)
    model, labels = two_classes(schedule), torch.tensor([0, 1, 1, 0, 1])
    images = eight_bit(model.means[labels].reshape(5, 1, 2, 2) + 0.2 * randn(5, 1, 2, 2))
    found = measure(model, images, labels=labels, batch=2)
    for label in (0, 1):
        alone = analytic.gaussian(schedule, model.means[label].reshape(1, 2, 2), model.variances[label].item())
        own = labels == label
        torch.testing.assert_close(found[own], measure(alone, images)[own], rtol=1e-4, atol=1e-4)


def test_a_clipped_model_has_the_bound_of_a_sampler_that_clips() -> None:
    image, timesteps = torch.ones(1, 1, 1, 1), Uniform()(LINEAR, 4)
    right, wrong = analytic.images(LINEAR, image), analytic.images(LINEAR, 3 * image)
    clipped, ideal, worse = (
        variational_bound(m, image, timesteps=timesteps).total for m in (Clipped(wrong), right, wrong)
    )
    assert torch.equal(clipped, ideal)
    assert worse > ideal + 1


def test_the_density_does_not_depend_on_the_batch_size() -> None:
    model, images = smooth_mixture(Flow()), 0.5 * randn(3, 2, 2, 3)
    whole = log_density(model, images)
    torch.testing.assert_close(log_density(model, images, batch=2), whole, rtol=1e-4, atol=1e-4)
    assert log_density(model, images[:1].expand(3, -1, -1, -1)).unique().numel() == 3
    assert ((log_density(model, images, seed=1) - whole).abs() > 1e-3).any()


def test_the_defaults_are_one_probe_and_seed_0() -> None:
    model, images = smooth_mixture(Flow()), eight_bit(0.5 * randn(3, 2, 2, 3))
    for measure in (log_density, flow_likelihood):
        assert torch.equal(measure(model, images), measure(model, images, probes=1, seed=0))
    timesteps = Uniform()(Flow(), 4)
    usual = variational_bound(model, images, timesteps=timesteps)
    assert torch.equal(
        usual.total, variational_bound(model, images, timesteps=timesteps, variance="small", seed=0).total
    )


def test_progress_of_the_flow_counts_images() -> None:
    told: list[int] = []
    log_density(two_classes(Flow()), randn(5, 1, 2, 2), batch=2, on_batch=told.append)
    flow_likelihood(two_classes(Flow()), eight_bit(randn(3, 1, 2, 2)), on_batch=told.append)
    assert told == [2, 2, 1, 3]


@pytest.mark.parametrize("measure", [flow_likelihood, variational_bound])
@pytest.mark.parametrize("pixel", [0.123, -1 + 0.01 / 127.5, 1 + 2 / 255, -1 - 2 / 255, math.nan, math.inf])
def test_pixels_between_the_256_levels_are_rejected(measure: Callable[..., object], pixel: float) -> None:
    images = eight_bit(randn(2, 1, 2, 2))
    images[1, 0, 1, 0] = pixel
    with pytest.raises(DataError, match=f"pixel value {torch.tensor(pixel).item():.6g} is not one of the 256 levels"):
        measure(two_classes(LINEAR), images)


def test_all_levels_are_accepted_as_float32() -> None:
    check_depth((torch.arange(256, dtype=torch.uint8).float() / 127.5 - 1).reshape(1, 1, 16, 16))


@pytest.mark.parametrize("measure", [log_density, flow_likelihood, variational_bound])
def test_invalid_shapes_batches_and_labels_are_rejected(measure: Callable[..., object]) -> None:
    model, images = two_classes(LINEAR), torch.ones(3, 1, 2, 2)
    with pytest.raises(DataError, match=r"shape \(3, 1, 2, 3\) were given to a model for \(n, 1, 2, 2\)"):
        measure(model, torch.ones(3, 1, 2, 3))
    with pytest.raises(DataError, match="at least one image"):
        measure(model, images[:0])
    with pytest.raises(ConfigError, match="the batch size is 0"):
        measure(model, images, batch=0)
    with pytest.raises(LabelError, match=r"does not have.*classes have the indices 0 to 1"):
        measure(model, images, labels=torch.tensor([0, 1, 7]))


@pytest.mark.usefixtures("unchecked")
def test_images_of_whole_numbers_are_rejected() -> None:
    with pytest.raises(DataError, match=r"images of dtype torch.uint8 were given.*Scale them"):
        log_density(two_classes(LINEAR), torch.ones(3, 1, 2, 2, dtype=torch.uint8))


def test_an_unlabelled_image_has_the_unconditional_density() -> None:
    model, images = two_classes(LINEAR), 0.3 * randn(2, 1, 2, 2)
    unlabelled = log_density(model, images, labels=torch.full((2,), UNLABELLED))
    assert (unlabelled == log_density(model, images)).all()


def test_labels_for_a_model_without_classes_are_rejected() -> None:
    with pytest.raises(LabelError, match="It has no classes"):
        log_density(
            analytic.gaussian(LINEAR, torch.zeros(1, 2, 2), 1.0), torch.ones(1, 1, 2, 2), labels=torch.tensor([0])
        )


@pytest.mark.usefixtures("unchecked")
def test_labels_that_are_not_one_an_image_are_rejected() -> None:
    with pytest.raises(LabelError, match="2 labels were given for 3 images"):
        log_density(two_classes(LINEAR), torch.ones(3, 1, 2, 2), labels=torch.tensor([0, 1]))


@pytest.mark.parametrize("measure", [log_density, flow_likelihood])
def test_impossible_settings_of_the_flow_are_rejected(measure: Callable[..., object]) -> None:
    model, images = two_classes(LINEAR), torch.ones(3, 1, 2, 2)
    with pytest.raises(ConfigError, match="number of probes is 0"):
        measure(model, images, probes=0)
    for tolerance in (0.0, math.inf):
        with pytest.raises(SamplingError, match="Choose both above 0"):
            measure(model, images, tolerance=tolerance)
