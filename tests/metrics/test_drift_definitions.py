"""Each quantity of drift by its definition in numpy, and the bound of significance."""

from statistics import NormalDist

import numpy as np
import pytest

from metrics.blobs import blobs
from sfumato.metrics.drift import SIGNIFICANCE, appearance, drift


def test_each_quantity_equals_its_definition() -> None:
    """For images of unequal brightness, contrast and colour; black is 0 and white is 1."""
    images = blobs(7, 0, side=20)
    found = {
        each.quantity: each.samples for each in drift(appearance([images]), appearance([blobs(5, 1, side=20)])).changes
    }
    pixels = (images.double().numpy() + 1) / 2
    grey = pixels.mean(1)
    expected = {f"brightness in {name}": pixels[:, c].mean() for c, name in enumerate(("red", "green", "blue"))}
    expected |= {f"spread in {name}": pixels[:, c].std() for c, name in enumerate(("red", "green", "blue"))}
    expected["contrast"] = np.mean([image.std() for image in grey])
    expected["saturation"] = np.mean(pixels.max(1) - pixels.min(1))
    waves = np.abs(np.fft.fft2(grey) / grey[0].size) ** 2
    cycles = np.sqrt(np.fft.fftfreq(20)[:, None] ** 2 + np.fft.fftfreq(20)[None] ** 2)
    bands = {
        "coarse structure": (0, 1 / 16),
        "structure": (1 / 16, 1 / 8),
        "detail": (1 / 8, 1 / 4),
        "fine detail": (1 / 4, 1),
    }
    for name, (low, high) in bands.items():
        of_band = (cycles > low) & (cycles <= high)
        expected[name] = np.sqrt(np.mean([power[of_band].sum() for power in waves]))
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_change_is_significant_above_the_bonferroni_bound() -> None:
    """Bonferroni: each of k quantities exceeds the bound, in either direction, with probability SIGNIFICANCE / k."""
    data, fresh = blobs(100, 0, side=8, channels=1), blobs(100, 1, side=8, channels=1)
    passed, not_passed = [], []
    for shift in np.linspace(-0.3, 0.3, 241):
        (change, *others) = drift(appearance([fresh + float(shift)]), appearance([data])).changes
        (passed if change.significant else not_passed).append(abs(change.change) / change.error)
    bound = NormalDist().inv_cdf(1 - SIGNIFICANCE / 2 / (1 + len(others)))
    assert bound - 0.1 < max(not_passed) < bound < min(passed) < bound + 0.1
