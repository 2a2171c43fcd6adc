"""The classes that samples are asked to be of: in the proportions of the images, whatever the count."""

from __future__ import annotations

import pytest
import torch

from sfumato.data import ImageSet
from sfumato.evaluation.labels import classes_as_in

NAMES = ("rare", "some", "most")


def labelled(labels: list[int]) -> ImageSet:
    images = torch.arange(len(labels)).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).byte()
    return ImageSet.of(images, torch.tensor(labels), NAMES)


@pytest.mark.parametrize("count", [10, 100, 997])
def test_samples_have_classes_as_often_as_the_images_have(count: int) -> None:
    shuffled = ([2, 1, 2, 0, 2, 2, 1, 2, 1, 2] * 5)[:50]  # 1 : 3 : 6
    found = classes_as_in(labelled(shuffled), count)
    assert len(found) == count
    for name, share in zip(NAMES, (0.1, 0.3, 0.6), strict=True):
        assert abs(found.count(name) - share * count) < 3


def test_the_class_of_a_sample_is_the_same_in_any_count() -> None:
    images = labelled([0, 1, 2, 2, 2])
    assert classes_as_in(images, 1000)[:17] == classes_as_in(images, 17)


def test_images_of_no_class_are_left_out_and_without_classes_none_is_asked() -> None:
    assert set(classes_as_in(labelled([-1, -1, 0, -1]), 20)) == {"rare"}
    assert classes_as_in(ImageSet.of(torch.zeros(3, 1, 2, 2).byte()), 20) == []
    assert classes_as_in(labelled([-1, -1]), 20) == []
