"""Samples on disk are read back exactly by the data sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from images import noise
from sfumato.data import load_images
from sfumato.data.conditions import Category
from sfumato.data.sources.decode import open_image
from sfumato.sampling.output import write_samples
from sfumato.sampling.writers import save_image
from sfumato.utils.depth import EIGHT_BITS, SIXTEEN_BITS, Depth

FLOATS = Depth("float32", 0.0, 1.0)
SIGNED = Depth("float32", -1.0, 1.0)
CLASSES = [Category("label", ("cat", "dog"))]
DEPTHS = [EIGHT_BITS, SIXTEEN_BITS, FLOATS, SIGNED]


def samples(depth: Depth, *shape: int) -> torch.Tensor:
    """Random pixels of the depth, as floats in [-1, 1]."""
    return depth.to_float(torch.from_numpy(noise(*shape, dtype=depth.dtype)))


@pytest.mark.parametrize("depth", DEPTHS, ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("size", [(6, 9), (4, 4), (1, 8), (8, 1), (3, 3)])
def test_an_image_is_read_back_exactly(depth: Depth, channels: int, size: tuple[int, int], tmp_path: Path) -> None:
    image = samples(depth, channels, *size)
    file = save_image(image, depth, tmp_path / "folder" / "000000")
    content = file.read_bytes()
    picture = open_image(content)
    shape = picture.info
    assert (shape.height, shape.width, shape.channels, shape.dtype) == (*size, channels, depth.dtype)
    assert np.array_equal(picture.pixels(), depth.to_pixels(image).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("depth", DEPTHS, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_samples_in_a_folder_can_be_loaded_as_data(depth: Depth, channels: int, tmp_path: Path) -> None:
    images = samples(depth, 4, channels, 6, 7)
    names = torch.tensor([0, 1, 1, 0])
    batches = iter([(images[:3], names[:3]), (images[3:], names[3:])])
    write_samples(batches, tmp_path / "out", CLASSES, depth)
    assert torch.equal(load_images(tmp_path / "out" / "images").images, depth.to_pixels(images))


@pytest.mark.parametrize("depth", DEPTHS, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_samples_in_an_archive_can_be_loaded_as_data(depth: Depth, channels: int, tmp_path: Path) -> None:
    images = samples(depth, 4, channels, 6, 7)
    write_samples([(images, torch.tensor([0, 1, 1, 0]))], tmp_path / "out.npz", CLASSES, depth)
    read = load_images(tmp_path / "out.npz")
    assert torch.equal(read.images, depth.to_pixels(images))
    assert read.label_names == ("cat", "dog")
    assert read.labels is not None
    assert read.labels.tolist() == [0, 1, 1, 0]


def test_the_suffix_follows_from_depth_and_channels(tmp_path: Path) -> None:
    assert save_image(samples(EIGHT_BITS, 3, 4, 4), EIGHT_BITS, tmp_path / "a").name == "a.png"
    assert save_image(samples(EIGHT_BITS, 5, 4, 4), EIGHT_BITS, tmp_path / "a").name == "a.tif"
    assert save_image(samples(FLOATS, 1, 4, 4), FLOATS, tmp_path / "a").name == "a.tif"
