"""The kernel distance against its definition, its expected value, and torch-fidelity."""

import numpy as np
import pytest
import torch

from metrics.fidelity import fidelity
from metrics.gaussians import draws
from sfumato.errors import DataError
from sfumato.metrics import kid
from sfumato.metrics.kid import discrepancy, kernel_distance


def cubed(x: float, y: float) -> float:
    """Kernel of single features."""
    return (x * y + 1) ** 3


def test_the_estimate_is_the_mean_over_pairs_of_different_images() -> None:
    x, y = [0.5, -1.0, 2.0], [1.0, 3.0]
    within_x = np.mean([cubed(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    within_y = cubed(1.0, 3.0)
    between = np.mean([cubed(a, b) for a in x for b in y])
    columns = [torch.tensor(each, dtype=torch.float64)[:, None] for each in (x, y)]
    assert discrepancy(*columns) == pytest.approx(within_x + within_y - 2 * between)


def test_the_kernel_uses_the_mean_product_of_features() -> None:
    """For two equal images x and two equal images y: k(x, x) + k(y, y) - 2 k(x, y), with k = (x.y / d + 1)^3."""
    x, y = torch.ones(2, 3, dtype=torch.float64), 2 * torch.ones(2, 3, dtype=torch.float64)
    assert discrepancy(x, y) == pytest.approx((3 / 3 + 1) ** 3 + (12 / 3 + 1) ** 3 - 2 * (6 / 3 + 1) ** 3)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_estimate_has_no_bias(shift: float) -> None:
    """E (xy + 1)^3 of independent normal x and y with means a and b: by the moments of each, k = 0 ... 3.

    Their raw moments are 1, a, a^2 + 1, a^3 + 3a; the expectation is the sum of binomial(3, k) E x^k E y^k.
    """

    def expectation(a: float, b: float) -> float:
        moments = [np.array([1, m, m**2 + 1, m**3 + 3 * m]) for m in (a, b)]
        return float(np.array([1, 3, 3, 1]) @ (moments[0] * moments[1]))

    truth = expectation(0, 0) + expectation(shift, shift) - 2 * expectation(0, shift)
    estimates = [
        kernel_distance(draws(200, 1, 2 * seed), draws(200, 1, 2 * seed + 1) + shift).distance for seed in range(400)
    ]
    assert np.mean(estimates) == pytest.approx(truth, abs=3 * np.std(estimates) / 20)
    assert 3 * np.std(estimates) / 20 < 1  # so that a V-statistic, which is larger by 2.4 and more, would be seen


def test_the_error_is_the_standard_deviation_over_other_images() -> None:
    found = [kernel_distance(draws(500, 4, 2 * seed), draws(500, 4, 2 * seed + 1) + 0.5) for seed in range(200)]
    assert np.sqrt(np.mean([each.error**2 for each in found])) == pytest.approx(
        np.std([each.distance for each in found]), rel=0.15
    )


def test_the_number_of_blocks_follows_from_the_number_of_images() -> None:
    assert kernel_distance(draws(104, 2, 0), draws(999, 2, 1))[2:] == (10, 10)
    assert kernel_distance(draws(12_000, 2, 0), draws(11_000, 2, 1))[2:] == (11, 1000)


def test_an_image_is_in_at_most_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr(kid, "discrepancy", lambda x, y: seen.extend([*x[:, 0].tolist(), *y[:, 0].tolist()]) or 0.0)
    numbers = torch.arange(250.0)[:, None]
    counts: list[int] = []
    kernel_distance(numbers[:100], numbers[100:], on_blocks=counts.append)
    assert len(seen) == len(set(seen)) == 200
    assert counts == [1] * 10


def test_the_distance_agrees_with_torch_fidelity() -> None:
    kid = fidelity("metric_kid")
    x, y = draws(100, 30, 0).double(), draws(100, 30, 1).double() + 0.3
    expected = kid.kernel_mmd(x.numpy(), y.numpy())
    assert discrepancy(x, y) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.usefixtures("unchecked")
def test_features_that_cannot_be_compared_are_rejected() -> None:
    with pytest.raises(DataError, match=r"99 images are too few"):
        kernel_distance(draws(99, 2, 0), draws(500, 2, 1))
    with pytest.raises(DataError, match=r"Features of width 2 are compared with features of width 3"):
        kernel_distance(draws(500, 2, 0), draws(500, 3, 1))
