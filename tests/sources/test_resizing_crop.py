"""Position of a crop: around the centre, with subpixel accuracy, on the longer side."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from images import noise
from sfumato.data.sources.resizing import Frame, resize_image

CASES = [
    ((5, 4), (4, 4), (0.5, 0, 4.5, 4)),
    ((4, 5), (4, 4), (0, 0.5, 4, 4.5)),
    ((7, 4), (4, 4), (1.5, 0, 5.5, 4)),
    ((21, 10), (10, 10), (5.5, 0, 15.5, 10)),
    ((10, 23), (10, 10), (0, 6.5, 10, 16.5)),
    ((25, 10), (5, 5), (7.5, 0, 17.5, 10)),
    ((10, 7), (3, 2), (0, 1 / 6, 10, 41 / 6)),
    ((9, 16), (3, 5), (0, 0.5, 9, 15.5)),
    ((3, 4), (6, 6), (0, 0.5, 3, 3.5)),
    ((6, 4), (4, 4), (1, 0, 5, 4)),
]
"""(width, height) of an image and of the frame, and the (left, upper, right, lower) of what is kept, by hand."""


@pytest.mark.parametrize(("size", "frame", "box"), CASES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_crop_equals_the_centred_box_of_pillow(
    size: tuple[int, int], frame: tuple[int, int], box: tuple[float, float, float, float], dtype: str
) -> None:
    image = noise(size[1], size[0], 1)[:, :, 0]
    plane = Image.fromarray(image if dtype == "uint8" else image.astype(np.float32))
    expected = np.asarray(plane.resize(frame, Image.Resampling.LANCZOS, box))
    if dtype != "uint8":
        expected = expected.clip(image.min(), image.max())  # the filter overshoots
    found = resize_image(image[:, :, None].astype(dtype), Frame(*frame), opacity=False)[:, :, 0]
    assert np.abs(found.astype(float) - expected).max() <= {"uint8": 0, "uint16": 0.5, "float32": 1e-3}[dtype]


@pytest.mark.parametrize(("size", "frame", "_"), CASES)
def test_a_crop_commutes_with_mirroring(size: tuple[int, int], frame: tuple[int, int], _: object) -> None:
    image = noise(size[1], size[0], 3, dtype="float32")
    for axis in (0, 1):
        there, back = (
            resize_image(np.flip(image, axis), Frame(*frame), opacity=False),
            np.flip(resize_image(image, Frame(*frame), opacity=False), axis),
        )
        assert np.allclose(there, back, atol=1e-4 * np.abs(image).max())
