"""Samples have the pixel format of the data: 16-bit grey and colour, floats, many channels, non-square."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cli.conftest import TINY, Command
from sfumato.data import load_images

RANDOM = np.random.default_rng(0)


def sixteen_bit_grey(folder: Path) -> None:
    for number, pixels in enumerate(RANDOM.integers(65536, size=(8, 12, 9), dtype=np.uint16)):
        Image.fromarray(pixels).save(folder / f"{number}.png")


def sixteen_bit_colour(folder: Path) -> None:
    for number, pixels in enumerate(RANDOM.integers(65536, size=(8, 12, 9, 3), dtype=np.uint16)):
        tifffile.imwrite(folder / f"{number}.tif", pixels, photometric="rgb")


def floats(folder: Path) -> None:
    for number, pixels in enumerate(RANDOM.uniform(-40, 900, size=(8, 12, 9)).astype(np.float32)):
        tifffile.imwrite(folder / f"{number}.tif", pixels)


def five_channels(folder: Path) -> None:
    for number, pixels in enumerate(RANDOM.integers(256, size=(8, 12, 9, 5), dtype=np.uint8)):
        np.save(folder / f"{number}.npy", pixels)


def opacity(folder: Path) -> None:
    for number, pixels in enumerate(RANDOM.integers(256, size=(8, 12, 9, 4), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.mark.parametrize(
    ("write", "shape", "dtype", "suffix"),
    [
        (sixteen_bit_grey, (1, 12, 9), np.uint16, ".png"),
        (sixteen_bit_colour, (3, 12, 9), np.uint16, ".png"),
        (floats, (1, 12, 9), np.float32, ".tif"),
        (five_channels, (5, 12, 9), np.uint8, ".tif"),
        (opacity, (4, 12, 9), np.uint8, ".png"),
    ],
)
@pytest.mark.slow
def test_samples_have_the_depth_and_the_channels_of_the_data(
    write: object, shape: tuple[int, int, int], dtype: type, suffix: str, sfumato: Command, tmp_path: Path
) -> None:
    data, run, drawn = tmp_path / "data", tmp_path / "run", tmp_path / "drawn"
    data.mkdir()
    write(data)  # type: ignore[operator]
    assert sfumato("train", data, "--out", run, "--images", 8, *TINY).code == 0
    outcome = sfumato("sample", run, "--count", 3, "--steps", 5, "--out", drawn, "--device", "cpu")
    assert outcome.code == 0, outcome.error
    files = sorted((drawn / "images").iterdir())
    assert [file.name for file in files] == [f"{number:06d}{suffix}" for number in range(3)]
    samples = load_images(drawn / "images")
    assert samples.image_shape == shape
    assert samples.images.numpy().dtype == dtype
    if dtype == np.uint16:
        assert (samples.images.numpy() % 257).any(), "more than 8 bits are used"
    if dtype == np.float32:
        learned = load_images(data).images
        assert learned.min() <= samples.images.min() < 0 < 255 < samples.images.max() <= learned.max()
    assert (drawn / "grid.png").is_file()


def test_an_archive_keeps_the_depth(sfumato: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    sixteen_bit_grey(tmp_path / "data")
    assert sfumato("train", tmp_path / "data", "--out", tmp_path / "run", "--images", 8, *TINY).code == 0
    arguments = ("sample", tmp_path / "run", "--count", 2, "--steps", 5, "--out", tmp_path / "drawn.npz")
    assert sfumato(*arguments, "--device", "cpu").code == 0
    with np.load(tmp_path / "drawn.npz") as archive:
        assert archive["images"].dtype == np.uint16
        assert archive["images"].shape == (2, 12, 9, 1)
