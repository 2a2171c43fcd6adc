"""The Frechet distance against closed forms of Gaussians, the matrix root of SciPy, and torch-fidelity."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from metrics.fidelity import fidelity
from metrics.gaussians import covariance, draws, moments, rotation, standard
from sfumato.errors import DataError
from sfumato.metrics.frechet import _influences, frechet_distance, frechet_interval, frechet_limit
from sfumato.metrics.moments import Moments


def commuting(width: int, one: Tensor, other: Tensor, apart: Tensor) -> tuple[Moments, Moments, float]:
    """Gaussians with the same axes, their variances, and their distance: sum (a - b)^2 of standard deviations."""
    axes = rotation(width, 0)
    gaussians = [
        moments(mean, axes @ deviations.square().diag() @ axes.T)
        for mean, deviations in ((torch.zeros(width).double(), one), (apart, other))
    ]
    return gaussians[0], gaussians[1], (apart.square().sum() + (one - other).square().sum()).item()


@pytest.mark.parametrize("width", [1, 2, 7, 64])
def test_gaussians_with_the_same_axes(width: int) -> None:
    one, other = (draws(2, width, 1).double() ** 2 + 0.1).unbind()
    a, b, distance = commuting(width, one, other, draws(1, width, 2)[0].double())
    assert frechet_distance(a, b) == pytest.approx(distance, rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-12)


@pytest.mark.parametrize("width", [2, 7, 64])
def test_gaussians_without_variance_in_some_directions(width: int) -> None:
    one, other = (draws(2, width, 1).double() ** 2 + 0.1).unbind()
    one[: width // 2] = 0
    other[width // 3 : width // 2 + 1] = 0
    a, b, distance = commuting(width, one, other, torch.zeros(width).double())
    assert frechet_distance(a, b) == pytest.approx(distance, rel=1e-12)


@pytest.mark.parametrize("rank", [1, 5, 64])
def test_the_distance_of_a_gaussian_from_itself_is_zero(rank: int) -> None:
    gaussian = moments(torch.zeros(64).double(), covariance(64, rank, 0))
    assert abs(frechet_distance(gaussian, gaussian)) < 1e-12 * gaussian.covariance.trace()


@pytest.mark.parametrize("width", [2, 3])
def test_the_distance_of_scaled_samples_follows_from_the_scale(width: int) -> None:
    """x and c x + b have the distance (c - 1)^2 tr(C) + |(c - 1) m + b|^2, here from fewer images than dimensions."""
    features = draws(30, 100 * width, 0)
    one, other = Moments.of(features), Moments.of(1.5 * features + 0.25)
    expected = 0.25 * one.covariance.trace() + (0.5 * one.mean + 0.25).square().sum()
    assert frechet_distance(one, other) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("constant", ["reference", "generated", "both"])
def test_constant_images_have_a_distance(constant: str) -> None:
    """|m_1 - m_2|^2 + tr(C), since a point is a Gaussian without variance."""
    same, spread = torch.full((50, 3), 0.5), draws(50, 3, 0)
    reference, generated = spread if constant == "generated" else same, spread if constant == "reference" else same
    one, other = Moments.of(reference), Moments.of(generated)
    expected = (one.mean - other.mean).square().sum() + (one.covariance + other.covariance).trace()
    assert frechet_distance(one, other) == pytest.approx(expected.item(), abs=1e-12)
    low, high = frechet_interval(one, generated)
    assert low <= expected + 1e-12
    assert high >= expected - 1e-12
    assert (high - low < 1e-12) == (constant != "reference")


def test_any_two_gaussians_agree_with_the_matrix_root_of_scipy() -> None:
    c, d = covariance(20, 40, 1), covariance(20, 40, 2)
    root = scipy.linalg.sqrtm((c @ d).numpy())
    expected = (c.trace() + d.trace()).item() - 2 * np.trace(root).real
    mean = torch.zeros(20).double()
    assert frechet_distance(moments(mean, c), moments(mean, d)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("count", [40, 500])
def test_the_distance_agrees_with_torch_fidelity(count: int) -> None:
    """Also with fewer images than dimensions, within the rounding error of torch-fidelity."""
    fid = fidelity("metric_fid")
    one, other = draws(count, 60, 1), 1.3 * draws(count, 60, 2) + 0.1
    statistics = [fid.fid_features_to_statistics(features.double()) for features in (one, other)]
    expected = fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(Moments.of(one), Moments.of(other)) == pytest.approx(expected, rel=1e-5)


def test_intervals_have_the_expected_width_and_coverage() -> None:
    reference = standard(4)
    samples = [1.5 * draws(200, 4, seed) for seed in range(100)]
    distances = [frechet_distance(reference, Moments.of(sample)) for sample in samples]
    for confidence, deviations in ((0.5, 0.674), (0.95, 1.96)):
        intervals = [frechet_interval(reference, sample, confidence) for sample in samples]
        widths = [interval.high - interval.low for interval in intervals]
        assert np.mean(widths) == pytest.approx(2 * deviations * np.std(distances), rel=0.2)
        held = np.mean([low <= np.mean(distances) <= high for low, high in intervals])
        assert held == pytest.approx(confidence, abs=0.12)


def test_an_interval_around_a_small_distance_is_clipped_at_0() -> None:
    """The shifts are nearly symmetric, so that the interval would begin below 0."""
    features = draws(30, 2, 0)
    distance = frechet_distance(standard(2), Moments.of(features))
    low, high = frechet_interval(standard(2), features)
    assert low == 0
    assert high > 2 * distance > 0


@pytest.mark.parametrize("count", [20, 200])
def test_an_interval_follows_the_distance_of_resampled_images(count: int) -> None:
    """The influences are the derivative of the distance by the weights of the images, also for few images."""
    reference, features = moments(torch.zeros(30).double(), covariance(30, 60, 3)), draws(count, 30, 0)
    own = Moments.of(features)
    influences = _influences(reference, own, features)
    step = 1e-5

    def moved(image: int, step: float) -> float:
        weights = torch.full((count,), (1 - step) / count, dtype=torch.float64)
        weights[image] += step
        mean = weights @ features.double()
        centred = features.double() - mean
        spread = (weights[:, None] * centred).T @ centred * (count / (count - 1))
        return frechet_distance(reference, moments(mean, spread))

    for image in (0, 7):
        slope = (moved(image, step) - moved(image, -step)) / (2 * step)
        assert slope == pytest.approx(influences[image], rel=1e-5)


def test_equal_seeds_give_equal_intervals() -> None:
    features = draws(50, 3, 0)
    assert frechet_interval(standard(3), features, seed=1) == frechet_interval(standard(3), features, seed=1)
    assert frechet_interval(standard(3), features, seed=1) != frechet_interval(standard(3), features, seed=2)


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_the_limit_has_no_bias_of_few_images(shift: float) -> None:
    width, truth = 16, 16 * shift**2
    limits = [frechet_limit(standard(width), draws(800, width, seed) + shift) for seed in range(30)]
    bias = np.mean([limit.distances[0] for limit in limits]) - truth
    assert bias == pytest.approx((width + width * (width + 1) / 4) / 800, rel=0.1)  # mean and covariance, to 1 / n
    assert abs(np.mean([limit.distance for limit in limits]) - truth) < 0.1 * bias
    assert limits[0].counts == (800, 400, 267, 200)


def test_progress_counts_the_distances() -> None:
    counts: list[int] = []
    frechet_limit(standard(2), draws(40, 2, 0), on_distances=counts.append)
    assert sum(counts) == 10


def test_features_that_cannot_be_compared_are_rejected() -> None:
    with pytest.raises(DataError, match=r"Features of width 2 are compared with features of width 3"):
        frechet_distance(standard(2), standard(3))
    with pytest.raises(DataError, match=r"Features of width 2"):
        frechet_interval(standard(2), draws(5, 3, 0))
    with pytest.raises(DataError, match=r"7 images are too few .* with 2 features\. Give at least 8"):
        frechet_limit(standard(2), draws(7, 2, 0))
    with pytest.raises(DataError, match=r"1 image\(s\)"):
        frechet_distance(standard(2), Moments.of(draws(1, 2, 0)))
