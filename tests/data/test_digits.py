"""The built-in data set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from sfumato.data import load_images
from sfumato.data.sources import ChannelChoice


def test_digits_equal_those_of_scikit_learn() -> None:
    digits = load_images("digits")
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.images.dtype == torch.uint8
    assert digits.label_names == tuple("0123456789")
    assert digits.labels is not None
    assert digits.labels.dtype == torch.int64
    theirs = load_digits()
    assert torch.equal(digits.images[:, 0], torch.from_numpy((theirs.images * (255 / 16)).round()).to(torch.uint8))
    assert torch.equal(digits.labels, torch.from_numpy(theirs.target))


def test_digits_without_labels() -> None:
    digits = load_images("digits", labels=False)
    assert digits.labels is None
    assert digits.label_names == ()


@pytest.mark.parametrize(
    ("size", "channels", "shape"), [(16, "auto", (1, 16, 16)), (None, "rgb", (3, 8, 8)), (4, "rgba", (4, 4, 4))]
)
def test_size_and_channels_are_applied(size: int | None, channels: ChannelChoice, shape: tuple[int, int, int]) -> None:
    images = load_images("digits", size=size, channels=channels)
    assert images.image_shape == shape
    assert images.depth.opacity == (channels == "rgba")


def test_a_folder_named_digits_is_opened_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    for name in "ab":
        Image.new("RGB", (8, 8)).save(f"digits/{name}.png")
    assert len(load_images("./digits")) == 2
    assert len(load_images(Path("digits"))) == 2
    assert len(load_images("digits")) == 1797
