"""Division of images into random pieces for the limit of the Frechet distance."""

import pytest
import torch

from metrics.gaussians import draws, standard
from sfumato.metrics import frechet
from sfumato.metrics.frechet import frechet_distance, frechet_limit
from sfumato.metrics.moments import Moments


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Indices of the images of each piece; the first feature of an image is its index."""
    seen: list[list[int]] = []

    class Counted(Moments):
        """Moments that record their images."""

        @staticmethod
        def of(features: torch.Tensor) -> Moments:
            """Moments of the features."""
            seen.append(features[:, 0].long().tolist())
            return Moments.of(features)

    monkeypatch.setattr(frechet, "Moments", Counted)
    return seen


def indexed(count: int) -> torch.Tensor:
    """Two features per image, the first of which is its index."""
    return torch.stack([torch.arange(float(count)), draws(count, 1, 0)[:, 0]], 1)


def test_each_division_has_all_images_once_in_random_order(cuts: list[list[int]]) -> None:
    frechet_limit(standard(2), indexed(120))
    for pieces in range(1, 5):
        cut, cuts[:] = cuts[:pieces], cuts[pieces:]
        assert sorted(index for piece in cut for index in piece) == list(range(120))
        assert all(max(piece) - min(piece) > 80 for piece in cut)
        assert {len(piece) for piece in cut} == {120 // pieces}
    assert not cuts


def test_other_seeds_give_other_pieces(cuts: list[list[int]]) -> None:
    for seed in (0, 0, 1):
        frechet_limit(standard(2), indexed(120), seed=seed)
    assert cuts[:10] == cuts[10:20]
    assert all(one != other for one, other in zip(cuts[1:10], cuts[21:], strict=True))


def test_the_order_of_images_does_not_bias_the_limit() -> None:
    """Two clusters, one after the other: pieces of one cluster would be far from the reference."""
    features = draws(2000, 3, 0) + 4.0 * (torch.arange(2000) >= 1000)[:, None]
    fresh = Moments.of(draws(2000, 3, 1) + 4.0 * (torch.arange(2000) % 2)[:, None])
    found = frechet_limit(fresh, features)
    assert max(found.distances) < 0.1
    assert found.distances[0] == pytest.approx(frechet_distance(fresh, Moments.of(features)))
