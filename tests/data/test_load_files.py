"""Files for a model are read with the options of its training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from images import noise, png, tiff
from sfumato.data import load_files, load_images
from sfumato.data.sources.options import ReadOptions
from sfumato.errors import DataError
from sfumato.utils.depth import Depth

BANDS = noise(6, 5, 4)
TWELVE_BITS = Depth("uint16", 0.0, 4095.0)


@pytest.mark.parametrize(
    ("content", "shape", "depth", "options", "expected"),
    [
        (png(BANDS), (4, 6, 5), Depth(), ReadOptions(channels="bands"), BANDS / 127.5 - 1),
        (png(BANDS), (4, 6, 5), Depth(), ReadOptions(), BANDS / 127.5 - 1),
        (
            tiff(noise(3, 6, 5), photometric="minisblack", metadata=None),
            (3, 6, 5),
            Depth(),
            ReadOptions(pages="channels"),
            np.moveaxis(noise(3, 6, 5), 0, 2) / 127.5 - 1,
        ),
        (
            tiff(np.array([[10, 99], [30, 50]], np.uint8)),
            (1, 2, 2),
            Depth(),
            ReadOptions(nodata=99),
            np.array([[[10], [30]], [[30], [50]]]) / 127.5 - 1,
        ),
        (
            tiff(np.array([[0, 255], [51, 0]], np.uint8)),
            (1, 2, 2),
            TWELVE_BITS,
            ReadOptions(),
            np.array([[[-1.0], [1]], [[-0.6], [-1]]]),
        ),
        (
            tiff(np.array([[0, 4095], [819, 9999]], np.uint16)),
            (1, 2, 2),
            TWELVE_BITS,
            ReadOptions(),
            np.array([[[-1.0], [1]], [[-0.6], [1]]]),
        ),
        (
            tiff(np.array([[0, 1], [0.2, 0]], np.float32)),
            (1, 2, 2),
            TWELVE_BITS,
            ReadOptions(),
            np.array([[[-1.0], [1]], [[-0.6], [-1]]]),
        ),
    ],
    ids=["bands", "bands-without-run", "pages", "nodata", "8-bits-in-12", "12-bits", "floats-in-12"],
)
def test_a_file_is_read_like_the_training_images(
    content: bytes,
    shape: tuple[int, int, int],
    depth: Depth,
    options: ReadOptions,
    expected: np.ndarray,
    tmp_path: Path,
) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    (image,) = load_files([path], shape, depth, options)
    assert image.permute(1, 2, 0).numpy() == pytest.approx(expected, abs=2e-5)


def test_floats_outside_0_to_1_cannot_become_integers(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(tiff(np.full((2, 2), 300, np.float32)))
    with pytest.raises(DataError, match=r"x\.tif cannot be read: it holds numbers outside 0\.\.1"):
        load_files([tmp_path / "x.tif"], (1, 2, 2), TWELVE_BITS)


@pytest.mark.parametrize("nodata", [float("nan"), float("inf"), 0.5, 300.0])
def test_a_nodata_value_outside_the_dtype_has_no_effect(nodata: float, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", noise(3, 6, 5))
    loaded = load_images(tmp_path / "x.npy", nodata=nodata, cache=tmp_path)
    assert torch.equal(loaded.images[:, 0], torch.from_numpy(noise(3, 6, 5)))
