"""Images that are arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from images import noise, npy
from sfumato.data.sources.entry import BadImageError, read_array

from .decoding import decode_pixels, shape_is_true


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 6), (4, 6, 1)),
        ((4, 6, 3), (4, 6, 3)),
        ((3, 4, 6), (4, 6, 3)),
        ((5, 9, 9), (9, 9, 5)),
        ((4, 4, 4), (4, 4, 4)),
        ((1, 8, 8), (8, 8, 1)),
        ((8, 8, 1), (8, 8, 1)),
        ((70, 2, 80), (70, 2, 80)),
    ],
)
def test_the_shorter_end_is_the_channels(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    array = noise(*shape)
    pixels = shape_is_true(array)
    assert pixels.shape == expected
    is_first = shape != expected and len(shape) == 3
    assert np.array_equal(pixels, np.moveaxis(array, 0, 2) if is_first else array.reshape(expected))


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (np.array([[0, 255]], np.uint8), "uint8", [0, 255]),
        (np.array([[False, True]]), "uint8", [0, 255]),
        (np.array([[0, 65535]], np.uint16), "uint16", [0, 65535]),
        (np.array([[0, 65535]], ">u2"), "uint16", [0, 65535]),
        (np.array([[-1024, 3071]], np.int16), "float32", [-1024, 3071]),
        (np.array([[-128, 127]], np.int8), "float32", [-128, 127]),
        (np.array([[0, 255]], np.int64), "float32", [0, 255]),
        (np.array([[0, 1 << 20]], np.uint32), "float32", [0, 1 << 20]),
        (np.array([[0.5, -2]], np.float16), "float32", [0.5, -2]),
        (np.array([[0.5, 1e9]], np.float64), "float32", [0.5, 1e9]),
        (np.array([[0.5, 1.5]], ">f4"), "float32", [0.5, 1.5]),
        (np.array([[np.inf, -np.inf]]), "float32", [np.inf, -np.inf]),
    ],
)
def test_values_keep_their_bit_depth(values: np.ndarray, dtype: str, expected: list[float]) -> None:
    pixels = shape_is_true(values)
    assert pixels.dtype == dtype
    assert pixels.dtype.isnative
    assert pixels.ravel().tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1e300, 0]]), "too large for 32-bit floats"),
        (np.array([[1j, 0]]), "complex128, which are not pixel values"),
        (np.array([["a", "b"]]), "<U1, which are not pixel values"),
        (np.array([["2020-01-01"]], "datetime64[D]"), "not pixel values"),
        (np.zeros((2, 2), [("red", "u1")]), "not pixel values"),
        (np.zeros(3), r"the shape \(3,\)"),
        (np.zeros(()), r"the shape \(\)"),
        (np.zeros((2, 2, 2, 2)), r"the shape \(2, 2, 2, 2\)"),
        (np.zeros((0, 4)), r"the shape \(0, 4, 1\)"),
    ],
)
def test_other_arrays_are_rejected(values: np.ndarray, message: str) -> None:
    with pytest.raises(BadImageError, match=message):
        decode_pixels(values)


def test_arrays_in_fortran_order_keep_their_pixels(tmp_path: Path) -> None:
    pixels = noise(4, 6, 3)
    (tmp_path / "x.npy").write_bytes(npy(np.asfortranarray(pixels)))
    with (tmp_path / "x.npy").open("rb") as file:
        assert np.array_equal(decode_pixels(read_array(file)), pixels)
