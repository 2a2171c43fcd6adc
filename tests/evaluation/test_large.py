"""Large images are compared at a smaller size, and copies among them are found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sfumato.data import ImageSet
from sfumato.evaluation.context import EvalContext
from sfumato.evaluation.memorization_metric import MOST_SIDE, MemorizationMetric, downscaled
from sfumato.evaluation.subject import Subject
from sfumato.metrics import features_for


def photos(count: int, seed: int) -> ImageSet:
    """Images of 150 x 100 pixels, smooth as photos are."""
    coarse = torch.rand(count, 3, 10, 15, generator=torch.Generator().manual_seed(seed))
    large = F.interpolate(coarse, (100, 150), mode="bicubic").clamp(0, 1)
    return ImageSet.of((255 * large).byte())


@pytest.mark.parametrize("side", [8, MOST_SIDE])
def test_small_images_are_not_downscaled(side: int) -> None:
    images = ImageSet.of(torch.randint(0, 256, (3, 1, side, side)).byte())
    assert torch.equal(downscaled(images), images.floats())


def test_large_images_are_averaged_over_squares() -> None:
    images = photos(2, 0)
    smaller = downscaled(images)
    assert smaller.shape == (2, 3, 34, 50)
    torch.testing.assert_close(smaller[0, 1, 5, 7], images.floats()[0, 1, 15:18, 21:24].mean())
    torch.testing.assert_close(smaller[1, 2, 33, 0], images.floats()[1, 2, 99:, :3].mean())


def test_copies_of_large_images_are_found(tmp_path: Path) -> None:
    train, fresh = photos(60, 0), photos(12, 1)
    copies = train.select(torch.arange(5)).floats().flip(-1)
    samples = torch.cat([copies, fresh.floats()])
    subject = Subject("photos", ImageSet.of((127.5 * (samples + 1)).byte()), train, photos(40, 2))
    context = EvalContext(subject, features_for("pixels"), torch.device("cpu"), tmp_path, tmp_path)
    found = MemorizationMetric().measure(context)
    assert [match["image"] for match in found.facts["pixels"]["samples"]] == [0, 1, 2, 3, 4]
    assert found.pictures == [tmp_path / "closest.png"]
    assert found.pictures[0].is_file()
