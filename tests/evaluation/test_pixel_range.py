"""Samples are read in the pixel range of the data that they are compared with."""

from __future__ import annotations

import pytest
import torch

from sfumato.data import ImageSet
from sfumato.errors import DataError
from sfumato.evaluation.pixel_range import in_range_of
from sfumato.utils.depth import Depth

BYTES, DEEP, TWELVE, UNIT, SIGNED = (
    Depth(),
    Depth("uint16", 0, 65535),
    Depth("uint16", 0, 4088),
    Depth("float32", 0, 1),
    Depth("float32", -1, 1),
)
LARGE = Depth("float32", 0, 255)
KELVIN = Depth("float32", 200, 300)


def images(depth: Depth, *values: float) -> ImageSet:
    """Images of one pixel each."""
    pixels = torch.tensor(values, dtype=torch.float64).to(getattr(torch, depth.dtype)).reshape(-1, 1, 1, 1)
    return ImageSet.of(pixels, depth=depth)


@pytest.mark.parametrize(
    ("reference", "own", "values", "expected"),
    [
        (LARGE, Depth("float32", 0, 25.5), [0, 25.5], [-1, -0.8]),
        (LARGE, Depth("float32", 64, 191.25), [63.75, 191.25], [-0.5, 0.5]),
        (SIGNED, UNIT, [0, 0.5, 1], [0, 0.5, 1]),
        (UNIT, SIGNED, [0, 1], [-1, 1]),
        (KELVIN, Depth("float32", 220, 280), [225, 275], [-0.5, 0.5]),
        (TWELVE, Depth("uint16", 0, 2044), [0, 2044], [-1, 0]),
        (BYTES, UNIT, [0, 0.5], [-1, 0]),
        (BYTES, Depth("float32", 0, 0.1), [0, 0.1], [-1, -0.8]),
        (BYTES, SIGNED, [-1, 0.5], [-1, 0.5]),
        (BYTES, LARGE, [0, 255], [-1, 1]),
        (BYTES, DEEP, [0, 65535], [-1, 1]),
        (DEEP, BYTES, [0, 255], [-1, 1]),
        (UNIT, BYTES, [0, 255], [-1, 1]),
        (SIGNED, BYTES, [0, 255], [-1, 1]),
        (TWELVE, Depth("float32", 0, 4088), [0, 4088], [-1, 1]),
    ],
)
def test_equal_values_have_equal_brightness(
    reference: Depth, own: Depth, values: list[float], expected: list[float]
) -> None:
    read, notices = in_range_of(reference, images(own, *values), "drawn")
    assert read.floats().ravel().numpy() == pytest.approx(expected, abs=1e-6)
    assert notices == ()


def test_values_outside_the_range_are_clipped_and_counted() -> None:
    read, notices = in_range_of(SIGNED, images(SIGNED, -4, 3, 0, 1), "drawn")
    assert read.floats().ravel().tolist() == [-1, 1, 0, 1]
    assert notices == (
        "Black is -1 and white is 1, as in the data. 2 of the 4 images of drawn have values outside this range, from "
        "-4 to 3, which are clipped.",
    )


@pytest.mark.parametrize(("reference", "own"), [(KELVIN, BYTES), (TWELVE, BYTES), (BYTES, KELVIN), (KELVIN, DEEP)])
def test_images_of_different_black_and_white_are_not_compared(reference: Depth, own: Depth) -> None:
    with pytest.raises(DataError, match=r"drawn has .*, but the data has .*: their black and white differ"):
        in_range_of(reference, images(own, own.low, own.high), "drawn")
