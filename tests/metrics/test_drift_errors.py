"""The standard errors of drift equal those of the jackknife."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metrics.blobs import blobs
from sfumato.metrics.drift import Appearance, appearance, drift

COUNT = 60


def without(of: Appearance, index: int) -> Appearance:
    """Appearance of the set without one image."""
    kept = torch.arange(len(of.means)) != index
    columns = {name: getattr(of, name)[kept] for name in ("means", "squares", "contrast", "powers")}
    return replace(of, saturation=None if of.saturation is None else of.saturation[kept], **columns)


def changes(samples: Appearance, data: Appearance) -> Tensor:
    """All changes."""
    return torch.tensor([each.change for each in drift(samples, data).changes], dtype=torch.float64)


def spread(left_out: list[Tensor]) -> Tensor:
    """Variance of a value from the values without each image. Efron (1979): (n - 1) / n times their squares."""
    values = torch.stack(left_out)
    return (len(values) - 1) / len(values) * (values - values.mean(0)).square().sum(0)


@pytest.mark.parametrize("contrast", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("counts", [(COUNT, COUNT), (COUNT, COUNT // 2)])
def test_errors_are_those_of_the_jackknife_for_any_ratio(contrast: float, counts: tuple[int, int]) -> None:
    """Halving the images doubles the variance; at a ratio of 0.3 the data contributes a tenth of it."""
    samples = appearance([contrast * blobs(counts[0], 0, side=16) + 0.1])
    data = appearance([blobs(counts[1], 1, side=16)])
    of_samples = spread([changes(without(samples, i), data) for i in range(counts[0])])
    of_data = spread([changes(samples, without(data, i)) for i in range(counts[1])])
    for change, expected in zip(drift(samples, data).changes, (of_samples + of_data).sqrt().tolist(), strict=True):
        assert change.error == pytest.approx(expected, rel=0.04), change.quantity
