"""Precision, recall, density and coverage, for sets with known values, and against all distances."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from metrics.gaussians import draws
from sfumato.errors import DataError
from sfumato.metrics import neighbours, prdc
from sfumato.metrics.prdc import balls_around, density_coverage, precision_recall

EIGHT = torch.eye(8) * 100
"""Centres of modes that are far apart."""


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (prdc, neighbours):
        monkeypatch.setattr(module, "QUERIES", 64)
        monkeypatch.setattr(module, "BASE", 70)


def modes(which: list[int], count: int, seed: int) -> Tensor:
    """`count` points around each mode."""
    return (EIGHT[which].repeat_interleave(count, 0) + draws(len(which) * count, 8, seed)).contiguous()


def by_definition(real: Tensor, generated: Tensor, k: int) -> tuple[float, float, float, float]:
    """All four scores from all distances, in float64."""

    def distances(a: Tensor, b: Tensor) -> np.ndarray:
        return np.linalg.norm(a.double().numpy()[:, None] - b.double().numpy(), axis=2)

    radii = [np.sort(distances(each, each), axis=1)[:, k] for each in (real, generated)]
    between = distances(generated, real)
    in_real, in_generated = between <= radii[0], radii[1] >= between.T
    return (
        in_real.any(1).mean(),
        in_generated.any(1).mean(),
        in_real.sum(1).mean() / k,
        (between.min(0) <= radii[0]).mean(),
    )


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_blocks_give_the_result_of_all_distances(k: int, offset: float) -> None:
    real, generated = draws(200, 3, 0) + offset, 0.7 * draws(150, 3, 1) + offset + 0.3
    found = (*precision_recall(real, generated, k), *density_coverage(real, generated, k))
    assert found == pytest.approx(by_definition(real, generated, k))


def test_disjoint_sets_have_zero_scores() -> None:
    real, generated = modes([0], 100, 0), modes([1], 100, 1)
    assert precision_recall(real, generated) == (0, 0)
    assert density_coverage(real, generated) == (0, 0)


def test_a_model_of_some_modes_is_precise_and_covers_these_modes() -> None:
    real, generated = modes([*range(8)], 100, 0), modes([0, 1], 400, 1)
    precision, recall = precision_recall(real, generated)
    density, coverage = density_coverage(real, generated)
    assert precision > 0.75
    assert density == pytest.approx(1, abs=0.15)
    assert 0.15 < recall <= 0.25
    assert 0.2 < coverage <= 0.25


def test_a_model_of_additional_modes_has_full_recall() -> None:
    real, generated = modes([0, 1], 400, 0), modes([*range(8)], 100, 1)
    precision, recall = precision_recall(real, generated)
    density, coverage = density_coverage(real, generated)
    assert 0.15 < precision <= 0.25
    assert density == pytest.approx(0.25, abs=0.05)
    assert recall > 0.75
    assert coverage > 0.5


@pytest.mark.parametrize("width", [2, 300])
def test_a_copy_of_the_real_set_has_full_scores(width: int) -> None:
    """Every k-th neighbour is on the surface of a ball, where rounding must not matter."""
    real = draws(200, width, 0) + 10
    assert precision_recall(real, real.clone()) == (1, 1)
    density, coverage = density_coverage(real, real.clone())
    assert density == pytest.approx(1 + 1 / 5)
    assert coverage == 1


def test_equal_images_are_a_manifold_of_one_point() -> None:
    assert precision_recall(torch.ones(10, 2), torch.ones(10, 2)) == (1, 1)
    assert precision_recall(torch.ones(10, 2), torch.zeros(10, 2)) == (0, 0)


@pytest.mark.parametrize(("k", "count"), [(3, 100), (5, 200)])
def test_equal_distributions_have_expected_density_and_coverage(k: int, count: int) -> None:
    """1, and 1 - product of (m - i) / (m + n - i) for i = 1 ... k (Naeem et al.)."""
    real_count = 150
    found = np.array(
        [density_coverage(draws(real_count, 5, 2 * s), draws(count, 5, 2 * s + 1), k) for s in range(60)]
    ).mean(0)
    missed = math.prod((real_count - i) / (real_count + count - i) for i in range(1, k + 1))
    assert found[0] == pytest.approx(1, abs=0.02)
    assert found[1] == pytest.approx(1 - missed, abs=0.01)


def test_a_real_outlier_increases_precision_but_not_density() -> None:
    """The ball of an outlier contains everything near it."""
    real = torch.cat([draws(100, 2, 0), torch.full((1, 2), 50.0)])
    generated = draws(100, 2, 1) + 40
    assert precision_recall(real, generated).precision > 0.9
    assert density_coverage(real, generated).density < 0.3


def test_points_on_the_surface_of_a_ball_are_inside() -> None:
    points = torch.tensor([[1000.0 + 3.0, 4.0], [1000.0 + 3.001, 4.0]])
    centres, radii = torch.tensor([[1000.0, 0.0], [1000.0, 4.0]]), torch.tensor([5.0, 3.0])
    assert balls_around(points, centres, radii).tolist() == [2, 0]


def test_an_image_on_a_ball_surface_covers_the_real_image() -> None:
    """Real images at 0 and 1.7 have balls of radius 1.7; the second one ends at 3.4."""
    assert density_coverage(torch.tensor([[0.0], [1.7]]), torch.tensor([[3.4]]), k=1) == (1, 0.5)


def test_the_default_radii_are_those_of_the_papers() -> None:
    real, generated = draws(200, 3, 0), 0.7 * draws(150, 3, 1) + 0.3
    assert precision_recall(real, generated) == pytest.approx(by_definition(real, generated, 3)[:2])
    assert density_coverage(real, generated) == pytest.approx(by_definition(real, generated, 5)[2:])


def test_progress_counts_the_images() -> None:
    real, generated = draws(150, 2, 0), draws(100, 2, 1)
    for measure, expected in ((precision_recall, 500), (density_coverage, 400)):
        counts: list[int] = []
        measure(real, generated, on_images=counts.append)
        assert sum(counts) == expected


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("measure", [precision_recall, density_coverage])
def test_features_of_other_widths_are_rejected(measure: Callable[[Tensor, Tensor], object]) -> None:
    with pytest.raises(DataError, match=r"Features of width 3 are compared with features of width 2"):
        measure(draws(9, 2, 0), draws(9, 3, 1))


def test_too_few_images_are_rejected() -> None:
    with pytest.raises(DataError, match=r"3 nearest neighbours were requested among 2 points"):
        precision_recall(draws(3, 2, 0), draws(9, 2, 1))
    with pytest.raises(DataError, match=r"NaN"):
        density_coverage(draws(9, 2, 0), draws(9, 2, 1) * math.nan)
