"""What is judged beside what: the classes of samples are those of the data, if it knows their names."""

from __future__ import annotations

import pytest
import torch

from sfumato.data import ImageSet
from sfumato.evaluation.subject import subject_of_images

ANIMALS = ("cat", "dog", "emu")


def images(labels: list[int] | None, names: tuple[str, ...]) -> ImageSet:
    """As many images as labels, or four."""
    count = 4 if labels is None else len(labels)
    pixels = torch.arange(count).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).byte()
    return ImageSet.of(pixels, None if labels is None else torch.tensor(labels), names)


DATA = images([0, 1, 2] * 10, ANIMALS)


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [(ANIMALS, [2, 0, 1], [2, 0, 1]), (("emu", "cat"), [0, 1, -1], [2, 0, -1]), (("dog",), [0, -1], [1, -1])],
)
def test_classes_are_those_of_the_data_by_their_names(
    names: tuple[str, ...], labels: list[int], expected: list[int]
) -> None:
    subject = subject_of_images("drawn.npz", images(labels, names), DATA, ())
    assert subject.samples.label_names == ANIMALS
    assert subject.samples.labels is not None
    assert subject.samples.labels.tolist() == expected
    assert subject.notices == ()


@pytest.mark.parametrize(
    ("names", "said"), [(tuple("012345"), "0, 1, 2, 3, 4 ..."), (("cat", "dog", "gnu"), "gnu"), (("a", "cat"), "a")]
)
def test_classes_that_the_data_does_not_know_are_told_and_not_compared(names: tuple[str, ...], said: str) -> None:
    subject = subject_of_images("drawn.npz", images([0, 1, 0], names), DATA, ("first",))
    assert subject.samples.label_names == names
    assert subject.notices == (
        "first",
        f"The data knows no {said}, which are classes of drawn.npz: so coverage is not told by class, and a "
        "classifier's classes are taken in their order. Name them as the data does (label_names in the .npz, or "
        "folders).",
    )


@pytest.mark.parametrize("data", [DATA, images(None, ())], ids=["classes", "none"])
def test_of_samples_without_classes_nothing_is_said(data: ImageSet) -> None:
    subject = subject_of_images("drawn.npz", images(None, ()), data, ())
    assert subject.samples.labels is None
    assert subject.notices == ()


def test_of_data_without_classes_nothing_is_said() -> None:
    assert subject_of_images("drawn.npz", images([0, 1, 2], ANIMALS), images(None, ()), ()).notices == ()
