"""Training, validation and test images are kept separate."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from images import noise, png, write
from sfumato.data import load_images, split
from sfumato.data.splits import select_split
from sfumato.errors import DataError

SPLITS = ["train", "test", "train", None, "validation", "extra", "train"]


@pytest.mark.parametrize(
    ("wanted", "learned", "others"),
    [
        ("auto", [0, 2, 6], {"validation": [4], "test": [1]}),
        ("all", [0, 1, 2, 3, 4, 5, 6], {}),
        ("none", [0, 1, 2, 3, 4, 5, 6], {}),
        ("test", [1], {}),
        ("extra", [5], {}),
        ("Val", [4], {}),
    ],
)
def test_each_split_is_selected(wanted: str, learned: list[int], others: dict[str, list[int]]) -> None:
    division = select_split("the folder x", SPLITS, wanted)
    assert (division.learned, division.others) == (learned, others)


def test_the_uses_are_reported() -> None:
    (notice,) = select_split("the folder x", SPLITS, "auto").notices
    assert notice.text == (
        "Splits: 3 in train are used for training; 1 in test are kept for sfumato eval; "
        "1 in validation are for validation; 1 in extra are not used; 1 without a split are not used."
    )
    assert notice.flag == "--split NAME|all|none"


def test_without_splits_all_images_are_used() -> None:
    assert select_split("the folder x", [None, None], "auto") == ([0, 1], {}, ())


@pytest.mark.parametrize(
    ("splits", "wanted", "message"),
    [
        (["test", "validation"], "auto", r"has the splits test \(1 images\), validation \(1 images\), but none for"),
        (["train", "test"], "dev", r"has no split 'validation'; its splits are: train"),
        ([None], "train", "has no split 'train'; its splits are: none"),
    ],
)
def test_a_missing_split_is_an_error(splits: list[str | None], wanted: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        select_split("the folder x", splits, wanted)


@pytest.mark.parametrize(
    ("name", "cells", "learned", "validation", "test"),
    [
        ("split", "train val test train", 2, 1, 1),
        ("Set", "Training Training Testing Testing", 2, 0, 2),
        ("data set", "train train valid test", 2, 1, 1),
        ("subset", "train train test -", 2, 0, 1),
        ("split", "train train train train", 4, 0, 0),
        ("split", "train bus test car", 4, 0, 0),
        ("label", "train train test test", 4, 0, 0),
    ],
)
def test_a_column_can_give_the_splits(
    name: str, cells: str, learned: int, validation: int, test: int, tmp_path: Path
) -> None:
    rows = "".join(f"{index}.png,{cell.strip('-')},{index}\n" for index, cell in enumerate(cells.split()))
    images = {f"{index}.png": png(noise(4, 4, 3)) for index in range(4)}
    path = write(tmp_path / "x", images | {"metadata.csv": f"file_name,{name},age\n{rows}".encode()})
    found = load_images(path, labels=False, cache=tmp_path / "cache")
    counts = {split: len(others) for split, others in found.others.items()}
    assert (len(found), counts.get("validation", 0), counts.get("test", 0)) == (learned, validation, test)
    assert len(load_images(path, split="all", labels=False, cache=tmp_path / "cache")) == 4
    assert len(load_images(path, split="none", condition=[name], cache=tmp_path / "cache")) == 4


@pytest.mark.parametrize(("first", "second", "learned", "test"), [("train", "test", 3, 1), ("a", "b", 4, 0)])
def test_tables_named_train_and_test_give_the_splits(
    first: str, second: str, learned: int, test: int, tmp_path: Path
) -> None:
    tables = {f"{first}.csv": b"image_id,label\nx0,cat\nx1,dog\nx2,cat\n", f"{second}.csv": b"image_id\nx3\n"}
    images = {f"images/x{index}.png": png(noise(4, 4, 3)) for index in range(4)}
    found = load_images(write(tmp_path / "x", images | tables), labels=False, cache=tmp_path / "cache")
    assert (len(found), len(found.others.get("test", ()))) == (learned, test)


def numbered(root: Path, *folders: str) -> Path:
    """Three images in each folder."""
    return write(root, {f"{folder}/{n}.png": png(noise(6, 6, seed=n)) for folder in folders for n in range(3)})


def test_validation_images_are_used_for_validation(tmp_path: Path) -> None:
    folder = numbered(tmp_path, *(f"{split}/{label}" for split in ("train", "val", "test") for label in ("cat", "dog")))
    images = load_images(folder)
    assert images.label_names == ("cat", "dog")
    assert len(images) == 6
    learned, held_out = split(images, 0.5, seed=0)
    assert torch.equal(learned.images, images.images)
    assert (len(held_out), held_out.label_names) == (6, ("cat", "dog"))
    assert held_out.labels is not None
    assert held_out.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(images.others["test"]) == 6
    assert images.notices[0].topic == "split"


def test_classes_without_training_images_are_unknown_elsewhere(tmp_path: Path) -> None:
    images = load_images(numbered(tmp_path, "train/cat", "train/dog", "test/cat", "test/emu"))
    test = images.others["test"].labels
    assert test is not None
    assert test.tolist() == [0, 0, 0, -1, -1, -1]


def test_columns_are_encoded_equally_in_every_split(tmp_path: Path) -> None:
    folder = numbered(tmp_path, "train", "val")
    rows = [f"{split}/{n}.png,{n + shift}.5" for split, shift in (("train", 0), ("val", 1)) for n in range(3)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,age", *rows]))
    images = load_images(folder, condition=["age"])
    (age,) = images.columns
    assert images.labels is not None
    held_out = images.others["validation"].labels
    assert held_out is not None
    assert [age.value(code) for code in images.labels[:, 0].tolist()] == [0.5, 1.5, 2.5]
    assert [age.value(code) for code in held_out[:, 0].tolist()] == [1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("wanted", "count", "names"),
    [("all", 12, ("cat", "dog")), ("none", 12, ("test", "train")), ("test", 6, ("cat", "dog"))],
)
def test_the_split_can_be_chosen(wanted: str, count: int, names: tuple[str, ...], tmp_path: Path) -> None:
    images = load_images(numbered(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog"), split=wanted)
    assert (len(images), images.label_names) == (count, names)
    assert not images.others


def test_validation_images_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = numbered(tmp_path, "train", "val", "test")
    before = load_images(folder).fingerprint()
    write(folder, {"test/9.png": png(noise(6, 6, seed=9))})
    assert load_images(folder).fingerprint() == before
    write(folder, {"val/9.png": png(noise(6, 6, seed=9))})
    assert load_images(folder).fingerprint() != before


def test_split_none_uses_names_of_splits_as_classes(tmp_path: Path) -> None:
    numbered(tmp_path / "x", "train", "test")
    loaded = [load_images(tmp_path / "x", split=split, cache=tmp_path) for split in ("auto", "none", "auto")]
    assert [images.label_names for images in loaded] == [(), ("test", "train"), ()]
