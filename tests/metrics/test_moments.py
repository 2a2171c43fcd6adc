"""Moments of batches, against NumPy's of all rows."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metrics.gaussians import covariance, draws
from sfumato.errors import DataError
from sfumato.metrics import moments
from sfumato.metrics.moments import Moments, moments_of

FAR = draws(700, 5, 0) * torch.tensor([1.0, 2.0, 0.1, 5.0, 1.0]) + 1000
"""Features whose mean is a thousand times their spread."""


def assert_moments_of(found: Moments, features: Tensor) -> None:
    rows = features.double().numpy()
    assert found.count == len(rows)
    np.testing.assert_allclose(found.mean.numpy(), rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance.numpy(), np.cov(rows, rowvar=False), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("piece", [3, 256, 2048])
@pytest.mark.parametrize("batch", [1, 7, 64, 700])
def test_batches_change_no_number(batch: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "PIECE", piece)
    assert_moments_of(moments_of(FAR.split(batch)), FAR)


def test_moments_of_parts_add_up() -> None:
    parts = [Moments.of(part) for part in FAR.split([1, 2, 97, 600])]
    assert_moments_of((parts[0] + parts[1]) + (parts[2] + parts[3]), FAR)


def test_small_batches_are_held_no_longer_than_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "PIECE", 16)
    pieces = list(moments._pieces(FAR.split(5)))
    assert max(len(piece) for piece in pieces) == 16
    assert (torch.cat(pieces) == FAR.double()).all()


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_root_has_a_column_for_each_direction_that_is_filled(rank: int) -> None:
    right = covariance(6, rank, 0)
    root = Moments(11, torch.zeros(6).double(), right * 10).root
    assert root.shape == (6, rank)
    torch.testing.assert_close(root @ root.T, right, rtol=1e-12, atol=1e-12)


def test_constant_features_have_a_root_without_columns() -> None:
    assert Moments.of(torch.ones(5, 3)).root.shape == (3, 0)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 image\(s\) have no covariance"):
        Moments.of(draws(1, 3, 0)).covariance  # noqa: B018
    with pytest.raises(DataError, match=r"no features"):
        moments_of(iter([]))
    with pytest.raises(DataError, match=r"no features"):
        moments_of([torch.empty(0, 3)])
