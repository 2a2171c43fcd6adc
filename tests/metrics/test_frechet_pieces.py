"""How images are cut into pieces for the limit of the Frechet distance: at random, and each image in every cut."""

import pytest
import torch

from metrics.gaussians import draws, standard
from sfumato.metrics import frechet
from sfumato.metrics.frechet import frechet_distance, frechet_limit
from sfumato.metrics.moments import Moments


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The images of each piece, of features whose first number is the image's index; filled by each limit."""
    seen: list[list[int]] = []

    class Counted(Moments):
        """Moments that note what they are of."""

        @staticmethod
        def of(features: torch.Tensor) -> Moments:
            """Those of the features."""
            seen.append(features[:, 0].long().tolist())
            return Moments.of(features)

    monkeypatch.setattr(frechet, "Moments", Counted)
    return seen


def indexed(count: int) -> torch.Tensor:
    """Features of two numbers, the first of which is the index."""
    return torch.stack([torch.arange(float(count)), draws(count, 1, 0)[:, 0]], 1)


def test_each_cut_has_every_image_once_and_no_piece_is_of_neighbours(cuts: list[list[int]]) -> None:
    frechet_limit(standard(2), indexed(120))
    for pieces in range(1, 5):
        cut, cuts[:] = cuts[:pieces], cuts[pieces:]
        assert sorted(index for piece in cut for index in piece) == list(range(120))
        assert all(max(piece) - min(piece) > 80 for piece in cut)
        assert {len(piece) for piece in cut} == {120 // pieces}
    assert not cuts


def test_other_seeds_cut_otherwise(cuts: list[list[int]]) -> None:
    for seed in (0, 0, 1):
        frechet_limit(standard(2), indexed(120), seed=seed)
    assert cuts[:10] == cuts[10:20]
    assert all(one != other for one, other in zip(cuts[1:10], cuts[21:], strict=True))


def test_images_in_the_order_of_their_classes_have_the_limit_of_any_order() -> None:
    """Two clusters, one after the other: pieces of one cluster each would be far from both together."""
    features = draws(2000, 3, 0) + 4.0 * (torch.arange(2000) >= 1000)[:, None]
    fresh = Moments.of(draws(2000, 3, 1) + 4.0 * (torch.arange(2000) % 2)[:, None])
    found = frechet_limit(fresh, features)
    assert max(found.distances) < 0.1
    assert found.distances[0] == pytest.approx(frechet_distance(fresh, Moments.of(features)))
