"""The classes of samples are matched to those of the data by their names."""

from __future__ import annotations

import pytest
import torch

from sfumato.data import ImageSet
from sfumato.evaluation.from_files import subject_of_images

ANIMALS = ("cat", "dog", "emu")


def images(labels: list[int] | None, names: tuple[str, ...]) -> ImageSet:
    """One image per label, or four images without labels."""
    count = 4 if labels is None else len(labels)
    pixels = torch.arange(count).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).byte()
    return ImageSet.of(pixels, None if labels is None else torch.tensor(labels), names)


DATA = images([0, 1, 2] * 10, ANIMALS)


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [(ANIMALS, [2, 0, 1], [2, 0, 1]), (("emu", "cat"), [0, 1, -1], [2, 0, -1]), (("dog",), [0, -1], [1, -1])],
)
def test_classes_are_matched_by_their_names(names: tuple[str, ...], labels: list[int], expected: list[int]) -> None:
    subject = subject_of_images("drawn.npz", images(labels, names), DATA, ())
    assert subject.samples.label_names == ANIMALS
    assert subject.samples.labels is not None
    assert subject.samples.labels.tolist() == expected
    assert subject.notices == ()


@pytest.mark.parametrize(
    ("names", "unknown"), [(tuple("012345"), "0, 1, 2, 3, 4 ..."), (("cat", "dog", "gnu"), "gnu"), (("a", "cat"), "a")]
)
def test_unknown_classes_give_a_notice_and_are_not_matched(names: tuple[str, ...], unknown: str) -> None:
    subject = subject_of_images("drawn.npz", images([0, 1, 0], names), DATA, ("first",))
    assert subject.samples.label_names == names
    assert subject.notices == (
        "first",
        f"The data has no classes named {unknown}, which are classes of drawn.npz. So coverage is not measured per "
        "class, and the classes of a classifier are matched by their order. Use the class names of the data "
        "(label_names in the .npz, or folders).",
    )


@pytest.mark.parametrize("data", [DATA, images(None, ())], ids=["classes", "none"])
def test_samples_without_classes_give_no_notice(data: ImageSet) -> None:
    subject = subject_of_images("drawn.npz", images(None, ()), data, ())
    assert subject.samples.labels is None
    assert subject.notices == ()


def test_data_without_classes_gives_no_notice() -> None:
    assert subject_of_images("drawn.npz", images([0, 1, 2], ANIMALS), images(None, ()), ()).notices == ()
