"""Arrays of images in memory and in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from images import noise
from sfumato.data.cache.image_arrays import MappedPixels, Pixels


@pytest.fixture(params=["memory", "file"])
def pixels(request: pytest.FixtureRequest, tmp_path: Path) -> Pixels:
    """Seven 16-bit images."""
    array = noise(7, 2, 3, 5, dtype="uint16")
    if request.param == "memory":
        return Pixels(array)
    array.tofile(tmp_path / "pixels")
    return MappedPixels(tmp_path / "pixels", (7, 2, 3, 5), "uint16")


def test_rows_are_returned_in_the_requested_order(pixels: Pixels) -> None:
    assert (pixels.shape, pixels.dtype, pixels.bytes_an_image) == ((7, 2, 3, 5), np.uint16, 60)
    rows = np.array([6, 0, 3, 3])
    for _ in range(2):
        assert np.array_equal(pixels.take(rows), noise(7, 2, 3, 5, dtype="uint16")[rows])


def test_take_returns_a_copy(pixels: Pixels) -> None:
    pixels.take(np.arange(7))[:] = 0
    assert pixels.take(np.arange(7)).any()
