"""Moments of batches against those of all rows by NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metrics.gaussians import covariance, draws
from sfumato.errors import DataError
from sfumato.metrics import moments
from sfumato.metrics.moments import Moments, moments_of

FAR = draws(700, 5, 0) * torch.tensor([1.0, 2.0, 0.1, 5.0, 1.0]) + 1000
"""Features with a mean of a thousand standard deviations."""


def assert_moments_of(found: Moments, features: Tensor) -> None:
    rows = features.double().numpy()
    assert found.count == len(rows)
    np.testing.assert_allclose(found.mean.numpy(), rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance.numpy(), np.cov(rows, rowvar=False), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("piece", [3, 256, 2048])
@pytest.mark.parametrize("batch", [1, 7, 64, 700])
def test_batches_do_not_change_the_result(batch: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "ROWS_PER_PRODUCT", piece)
    assert_moments_of(moments_of(FAR.split(batch)), FAR)


def test_moments_of_parts_add_up() -> None:
    parts = [Moments.of(part) for part in FAR.split([1, 2, 97, 600])]
    assert_moments_of((parts[0] + parts[1]) + (parts[2] + parts[3]), FAR)


def test_small_batches_are_concatenated_up_to_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "ROWS_PER_PRODUCT", 16)
    pieces = list(moments._pieces(FAR.split(5)))
    assert max(len(piece) for piece in pieces) == 16
    assert (torch.cat(pieces) == FAR.double()).all()


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_root_has_as_many_columns_as_the_rank(rank: int) -> None:
    right = covariance(6, rank, 0)
    root = Moments(11, torch.zeros(6).double(), right * 10).root
    assert root.shape == (6, rank)
    torch.testing.assert_close(root @ root.T, right, rtol=1e-12, atol=1e-12)


def test_constant_features_have_a_root_without_columns() -> None:
    assert Moments.of(torch.ones(5, 3)).root.shape == (3, 0)


def test_too_few_images_are_rejected() -> None:
    with pytest.raises(DataError, match=r"1 image\(s\) have no covariance"):
        Moments.of(draws(1, 3, 0)).covariance  # noqa: B018
    with pytest.raises(DataError, match=r"no features"):
        moments_of(iter([]))
    with pytest.raises(DataError, match=r"no features"):
        moments_of([torch.empty(0, 3)])
