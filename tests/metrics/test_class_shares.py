"""Class labels for samples have the class proportions of the images."""

from __future__ import annotations

import pytest
import torch

from sfumato.data import ImageSet
from sfumato.metrics.class_shares import classes_as_in

NAMES = ("rare", "some", "most")


def labelled(labels: list[int]) -> ImageSet:
    images = torch.arange(len(labels)).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).byte()
    return ImageSet.of(images, torch.tensor(labels), NAMES)


@pytest.mark.parametrize("count", [10, 30, 100, 997])
@pytest.mark.parametrize("pattern", [[2, 1, 2, 0, 2, 2, 1, 2, 1, 2], [0, 1]], ids=["1 : 3 : 6", "in turns"])
def test_labels_have_the_class_proportions_of_the_images(pattern: list[int], count: int) -> None:
    labels = pattern * (1000 // len(pattern))
    found = classes_as_in(labelled(labels), count)
    assert len(found) == count
    for index, name in enumerate(NAMES):
        assert abs(found.count(name) - labels.count(index) / len(labels) * count) < 3


def test_the_class_of_a_sample_does_not_depend_on_the_count() -> None:
    images = labelled([0, 1, 2, 2, 2])
    assert classes_as_in(images, 1000)[:17] == classes_as_in(images, 17)


def test_unlabelled_images_are_ignored() -> None:
    assert set(classes_as_in(labelled([-1, -1, 0, -1]), 20)) == {"rare"}
    assert classes_as_in(ImageSet.of(torch.zeros(3, 1, 2, 2).byte()), 20) == []
    assert classes_as_in(labelled([-1, -1]), 20) == []
