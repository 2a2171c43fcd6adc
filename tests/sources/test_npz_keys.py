"""Images, labels and splits in `.npz` files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from images import noise
from sfumato.data.sources import Listing
from sfumato.errors import DataError

from .containers import listing, pixels

COUNT = 3
X, X3, Y = noise(COUNT, 4, 5), noise(COUNT, 6, 7, 3), np.array([2, 0, 1])


def of(path: Path, *unnamed: np.ndarray, **named: np.ndarray) -> Listing:
    """Listing of an archive of these arrays."""
    np.savez(path / "x.npz", *unnamed, **named)
    return listing(path / "x.npz", path / "scratch")


def has(found: Listing, *images: np.ndarray) -> bool:
    """Whether the images are these arrays, one after another."""
    expected = [image.reshape(*image.shape[:2], -1) for array in images for image in array]
    read = pixels(found.entries)
    return len(read) == len(expected) and all(map(np.array_equal, read, expected))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        *[(name, None) for name in ("images", "arr_0", "x", "X", "data", "pictures", "samples")],
        *[("images", "labels"), ("arr_0", "arr_1"), ("x", "y"), ("X", "y"), ("data", "labels"), ("data", "target")],
        *[("image", "label"), ("X", "Y"), ("imgs", "classes"), ("pictures", "targets")],
    ],
)
def test_usual_names_of_images_and_labels_are_found(images: str, labels: str | None, tmp_path: Path) -> None:
    found = of(tmp_path, **{images: X3} | ({labels: Y} if labels else {}))
    assert has(found, X3)
    assert found.columns == ({"label": [2, 0, 1]} if labels else {})
    assert not found.splits
    said = [notice.text for notice in found.notices]
    with_labels = f"with the labels {labels}" if labels else "without labels"
    usual = images == "images" and labels in (None, "labels")
    taken = f"{tmp_path / 'x.npz'}: the images are {images} (3, 6, 7, 3) {with_labels}."
    assert said == ([] if usual else [taken])


def test_unnamed_arrays_are_images_and_labels(tmp_path: Path) -> None:
    found = of(tmp_path, X, Y)
    assert has(found, X)
    assert found.columns == {"label": [2, 0, 1]}


@pytest.mark.parametrize(
    "others",
    [
        {"arr_1": np.arange(5)},
        {"ids": np.arange(COUNT), "boxes": np.zeros((COUNT, 4)), "mean": np.array(0.5)},
        {"masks": np.zeros((COUNT, 6, 7, 1), object)},
        {"y": noise(COUNT, 6, 7)},
        {"masks": noise(COUNT, 6, 7)},
    ],
)
def test_unused_arrays_are_reported(others: dict[str, np.ndarray], tmp_path: Path) -> None:
    found = of(tmp_path, x=X3, **others)
    assert has(found, X3)
    assert not found.columns
    assert [(notice.topic, notice.matters) for notice in found.notices] == [("arrays", True), ("arrays", False)]
    assert all(name in found.notices[1].text for name in others)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("x_train y_train", "x_test y_test"),
        ("X_train Y_train", "X_test Y_test"),
        ("train_x train_y", "test_x test_y"),
        ("train_images train_labels", "test_images test_labels"),
        ("images_train labels_train", "images_test labels_test"),
        ("train-data train-labels", "test-data test-labels"),
        ("training_images training_labels", "testing_images testing_labels"),
        ("xtrain ytrain", "xtest ytest"),
        ("train train_labels", "test test_labels"),
    ],
)
def test_usual_names_of_splits_are_found(train: str, test: str, tmp_path: Path) -> None:
    arrays = dict(zip([*test.split(), *train.split()], [X[:1], Y[:1], X, Y], strict=True))
    found = of(tmp_path, **arrays)
    assert has(found, X, X[:1])
    assert found.columns == {"label": [2, 0, 1, 2]}
    assert found.splits == ["train"] * 3 + ["test"]
    assert len({entry.name for entry in found.entries}) == 4
    images, labels = train.split()
    assert f"the images are {images} (3, 4, 5) with the labels {labels} (train), " in found.notices[0].text


@pytest.mark.parametrize("kind", ["classes", "several", "without"])
def test_medmnist(kind: str, tmp_path: Path) -> None:
    """Arrays of MedMNIST: labels (N, 1), or (N, K) for several labels per image."""
    columns = {"classes": 1, "several": 3, "without": 0}[kind]
    counts = {"train": 4, "val": 2, "test": 3}
    images = {split: noise(count, 5, 5, 3) for split, count in counts.items()}
    labels = {split: np.arange(count * columns).reshape(count, columns) % 2 for split, count in counts.items()}
    with_labels = {f"{split}_labels": array.astype(np.uint8) for split, array in labels.items() if columns}
    found = of(tmp_path, **{f"{split}_images": array for split, array in images.items()}, **with_labels)
    assert has(found, *images.values())
    assert found.splits == ["train"] * 4 + ["validation"] * 2 + ["test"] * 3
    joined = np.concatenate(list(labels.values()))
    names = ["label"] if columns == 1 else [f"label_{index}" for index in range(columns)]
    assert found.columns == {name: joined[:, index].tolist() for index, name in enumerate(names)}


def test_a_split_without_labels_has_empty_cells(tmp_path: Path) -> None:
    assert of(tmp_path, x_train=X, y_train=Y, x_test=X[:1]).columns == {"label": [2, 0, 1, None]}


def test_label_names_apply_to_all_splits(tmp_path: Path) -> None:
    names = np.array(["a", "b", "c"])
    found = of(tmp_path, x_train=X, y_train=Y.reshape(-1, 1), x_test=X[:1], y_test=Y[1:2, None], label_names=names)
    assert found.columns == {"label": ["c", "a", "b", "a"]}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X, "b": X}, r"has several arrays that may be the images: a \(3, 4, 5\) or b \(3, 4, 5\)"),
        (
            {"arr_0": X, "arr_1": X},
            r"several arrays that may be the images: arr_0 .* or arr_1 .*\. Save the",
        ),
        (
            {"a": Y, "b": np.zeros((3, 4))},
            r"has no array images, only: a \(3,\), b \(3, 4\)\. Save the images as",
        ),
        ({"a": X.astype(object), "b": Y}, r"has no array images, only: a \(unreadable\), b \(3,\)"),
        ({"a": X.astype(complex), "b": Y}, "has no array images"),
        ({"x": X, "y": Y[:2]}, r"has 3 images, but its y have the shape \(2,\)"),
        ({"x_train": X, "y_train": Y[:2]}, r"has 3 images, but its y_train have the shape \(2,\)"),
        ({"x_train": Y, "y_train": Y}, r"has the shape \(3,\), which is not that of images"),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": np.eye(3)},
            r"the labels of .* have the shapes \(3,\), \(3, 3\)\. Give all splits labels of one kind",
        ),
        ({}, "has no array images, only: none"),
    ],
)
def test_ambiguous_arrays_are_rejected(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        of(tmp_path, **arrays)


def test_members_that_are_not_arrays_are_ignored(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=X)
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("README.txt", "about")
    assert has(listing(tmp_path / "x.npz", tmp_path / "scratch"), X)
