"""Labels from folders."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from sfumato.data.labels import Labelling, label_by_folder, label_by_table
from sfumato.errors import DataError


def label(*names: str, unreadable: tuple[str, ...] = ()) -> Labelling:
    """The labels of images of these names in the folder root."""
    parts = [PurePosixPath(name).parts for name in names]
    return label_by_folder("the folder root", [part[0] if len(part) > 1 else None for part in parts], unreadable)


def test_the_first_level_of_folders_gives_the_labels() -> None:
    labelling = label("a/1.png", "a/b/2.png", "b/a/1.png", "b/2.png")
    assert labelling.names == ("a", "b")
    assert labelling.labels is not None
    assert labelling.labels.tolist() == [0, 0, 1, 1]
    assert labelling.notices == ()


def test_class_names_are_in_natural_order() -> None:
    labelling = label("10/a", "10/b", "9/a", "9/b", "x2/a", "x2/b", "x10/a", "x10/b")
    assert labelling.names == ("9", "10", "x2", "x10")
    assert labelling.labels is not None
    assert labelling.labels.tolist() == [1, 1, 0, 0, 2, 2, 3, 3]


def test_a_flat_folder_is_unlabelled_without_a_word() -> None:
    labelling = label("1.png", "2.png")
    assert labelling.labels is None
    assert labelling.notices == ()


def test_an_image_beside_the_folders_means_no_labels() -> None:
    labelling = label("1.png", "a/1.png", "a/2.png")
    assert labelling.labels is None
    assert labelling.names == ()
    assert "1 of the images lie in the folder root itself" in labelling.notices[0].text


def test_one_class_is_no_label() -> None:
    labelling = label("cats/1.png", "cats/2.png")
    assert labelling.labels is None
    assert labelling.names == ()
    assert "one class (cats)" in labelling.notices[0].text


def test_a_class_without_readable_images_is_dropped() -> None:
    labelling = label("a/1", "a/2", "c/1", "c/2", unreadable=("b10", "b9", "a"))
    assert labelling.names == ("a", "c")
    assert tuple(map(str, labelling.notices)) == ("Classes without any readable image were dropped: b9, b10.",)


def test_classes_of_a_single_image_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"only 1 in: b, c\. .*--no-labels"):
        label("a/1", "a/2", "b/1", "c/1", unreadable=("b",))


def test_labels_that_are_all_the_same_are_told_and_not_used() -> None:
    found = label_by_table({"label": ["cat", None, "cat"]})
    assert found.labels is None
    assert tuple(map(str, found.notices)) == ("All labels are the same (cat), so they are not used.",)
