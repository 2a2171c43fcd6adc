"""Nearest neighbours in blocks against all differences in float64."""

import math

import pytest
import torch
from torch import Tensor

from sfumato.errors import DataError
from sfumato.metrics import neighbours
from sfumato.metrics.neighbours import nearest


def points(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def all_distances(queries: Tensor, base: Tensor) -> Tensor:
    """By the definition, in float64."""
    return (queries[:, None].double() - base.double()).square().sum(2).sqrt()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "QUERIES", 16)
    monkeypatch.setattr(neighbours, "BASE", 23)
    monkeypatch.setattr(neighbours, "RANKED", 200)


@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize(("width", "k"), [(1, 1), (3, 5), (40, 100)])
def test_blocks_give_the_result_of_all_differences(width: int, k: int, offset: float) -> None:
    """Also far from the origin, where products of points that are not centred would cancel."""
    queries, base = points(50, width, 0) + offset, points(100, width, 1) + offset
    expected = all_distances(queries, base).sort(1)
    found = nearest(queries, base, k)
    assert found.distances.dtype == torch.float32
    torch.testing.assert_close(found.distances.double(), expected.values[:, :k], rtol=1e-6, atol=0)
    assert (found.indices == expected.indices[:, :k]).all()


def test_distances_below_the_rounding_of_products_are_exact() -> None:
    base = points(60, 3072, 0)
    queries = base + 1e-5 * points(60, 3072, 1)
    found = nearest(queries, base, 1)
    assert found.indices[:, 0].tolist() == list(range(60))
    expected = all_distances(queries, base).amin(1, keepdim=True)
    torch.testing.assert_close(found.distances.double(), expected, rtol=1e-5, atol=0)


def test_candidates_far_from_the_origin_are_exact_without_spares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of points that are not centred would have errors larger than the differences of distances."""
    monkeypatch.setattr(neighbours, "SPARE_CANDIDATES", 0)
    queries, base = points(50, 3, 0) + 30_000, points(100, 3, 1) + 30_000
    expected = all_distances(queries, base).sort(1)
    assert (nearest(queries, base, 3).indices == expected.indices[:, :3]).all()


def test_neighbours_within_the_rounding_of_products_are_found() -> None:
    """Distances of 0.001 to 0.006 from queries of norm 55, with errors of products of about 1e-4."""
    queries, away = points(30, 3072, 0), points(1, 3072, 1) / 3072**0.5
    for query in queries.split(1):
        close = query + torch.tensor([6.0, 3, 1, 4, 5, 2])[:, None] * 1e-3 * away
        base = torch.cat([points(40, 3072, 2), close])
        assert nearest(query, base, 1).indices.item() == 42
        assert nearest(query, base, 6).indices[0].tolist() == [42, 45, 41, 43, 44, 40]


def test_exclude_self_excludes_a_point_from_its_own_neighbours() -> None:
    both = points(60, 3, 0)
    expected = all_distances(both, both).fill_diagonal_(math.inf).sort(1)
    for k in (1, 7, 59):
        found = nearest(both, both, k, exclude_self=True)
        assert (found.indices == expected.indices[:, :k]).all()
    assert (nearest(both, both, 1).distances == 0).all()


def test_a_copy_of_a_point_is_its_neighbour() -> None:
    both = points(30, 3, 0).repeat(2, 1)
    found = nearest(both, both, 1, exclude_self=True)
    assert (found.distances == 0).all()
    assert found.indices[:, 0].tolist() == [*range(30, 60), *range(30)]


def test_equal_distances_are_sorted_by_index() -> None:
    base = torch.tensor([[9.0], [1.0], [-1.0], [1.0]])
    assert nearest(torch.zeros(1, 1), base, 3).indices.tolist() == [[1, 2, 3]]


def test_progress_counts_each_query_once() -> None:
    counts: list[int] = []
    nearest(points(50, 2, 0), points(10, 2, 1), 1, on_queries=counts.append)
    assert counts == [16, 16, 16, 2]


@pytest.mark.parametrize(
    ("queries", "base", "k", "message"),
    [
        (points(5, 2, 0), points(5, 3, 0), 1, r"width 2 are compared with features of width 3"),
        (points(5, 2, 0), points(5, 2, 0), 6, r"6 nearest .* among 5 points\. Choose 1 to 5"),
        (points(5, 2, 0), points(5, 2, 0), 0, r"0 nearest"),
        (points(0, 2, 0), points(5, 2, 0), 1, r"no query points"),
        (points(5, 2, 0) * math.nan, points(5, 2, 0), 1, r"NaN"),
        (points(5, 2, 0), points(5, 2, 0) * math.inf, 1, r"NaN, infinite"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_points_that_cannot_be_compared_are_rejected(queries: Tensor, base: Tensor, k: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        nearest(queries, base, k)


def test_a_single_point_has_no_neighbour_but_itself() -> None:
    with pytest.raises(DataError, match=r"1 nearest .* among 0 points"):
        nearest(points(1, 2, 0), points(1, 2, 0), 1, exclude_self=True)
