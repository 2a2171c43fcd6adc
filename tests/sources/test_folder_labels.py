"""Classes and splits from the names of folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from images import noise, png, write
from sfumato.data.sources import Listing, ReadOptions, open_source

from .containers import hub_table, tarred, write_parquet, zipped

CONTENT = png(noise(4, 4, 3))

Expected = Mapping[str, tuple[str | None, str | None]]
"""The class and the split of each image."""

LAYOUTS: dict[str, Expected] = {
    "no folders": {"a.png": (None, None), "b.png": (None, None)},
    "classes": {"cat/1.png": ("cat", None), "dog/1.png": ("dog", None)},
    "one folder around all": {"photos/cat/1.png": ("cat", None), "photos/dog/1.png": ("dog", None)},
    "two folders around all": {"x/x/cat/1.png": ("cat", None), "x/x/dog/1.png": ("dog", None)},
    "only one class": {"photos/cat/1.png": (None, None), "photos/cat/2.png": (None, None)},
    "only one split": {"train/cat/1.png": ("cat", None), "train/dog/1.png": ("dog", None)},
    "splits": {"train/1.png": (None, "train"), "val/1.png": (None, "validation"), "test/1.png": (None, "test")},
    "splits of classes": {
        "train/cat/1.png": ("cat", "train"),
        "train/dog/1.png": ("dog", "train"),
        "test/cat/1.png": ("cat", "test"),
    },
    "splits below one folder": {"set/Training/a/1.png": ("a", "train"), "set/Testing/b/1.png": ("b", "test")}
    | {"set/Training/b/1.png": ("b", "train")},
    "capitals": {"TRAIN/1.png": (None, "train"), "Valid/1.png": (None, "validation")},
    "additions": {"train_images/1.png": (None, "train"), "test1/1.png": (None, "test")},
    "additions without a gap": {"trainset/1.png": (None, "train"), "TestSet/1.png": (None, "test")},
    "hyphens": {"train-data/1.png": (None, "train"), "dev-data/1.png": (None, "validation")},
    "years": {"train2017/1.png": (None, "train"), "val2017/1.png": (None, "validation")},
    "a common prefix, and a folder beside": {
        "seg_train/seg_train/sea/1.png": ("sea", "train"),
        "seg_train/seg_train/wood/1.png": ("wood", "train"),
        "seg_test/seg_test/sea/1.png": ("sea", "test"),
        "seg_test/seg_test/wood/1.png": ("wood", "test"),
        "seg_pred/seg_pred/1.png": ("seg_pred", "seg_pred"),
    },
    "images within each split": {"train/images/1.png": (None, "train"), "valid/images/2.png": (None, "validation")},
    "folders of classes within one split only": {
        "train/n01/images/1.png": ("n01", "train"),
        "train/n02/images/1.png": ("n02", "train"),
        "val/images/1.png": (None, "validation"),
    },
    "validation and test alone": {"validation/1.png": (None, "validation"), "test/1.png": (None, "test")},
    "validation and test alone within each class": {
        "cat/val/1.png": ("cat", "validation"),
        "cat/test/1.png": ("cat", "test"),
        "dog/val/1.png": ("dog", "validation"),
        "dog/test/1.png": ("dog", "test"),
    },
    "validation and test beside classes": {
        "valid/1.png": ("valid", None),
        "test/1.png": ("test", None),
        "cat/1.png": ("cat", None),
    },
    "a class named train": {
        "train/1.png": ("train", None),
        "plane/1.png": ("plane", None),
        "car/1.png": ("car", None),
    },
    "a class that begins like a split": {"test_tube/1.png": ("test_tube", None), "train/1.png": ("train", None)},
    "other folders beside splits": {
        "train/1.png": (None, "train"),
        "test/1.png": (None, "test"),
        "unlabelled/1.png": (None, "unlabelled"),
        "cover.png": (None, None),
    },
    "splits with and without a prefix": {
        "train/1.png": (None, "train"),
        "test/1.png": (None, "test"),
        "seg_train/1.png": (None, "seg_train"),
        "seg_test/1.png": (None, "seg_test"),
    },
    "classes first": {
        "cat/train/1.png": ("cat", "train"),
        "cat/test/2.png": ("cat", "test"),
        "dog/train/1.png": ("dog", "train"),
        "dog/test/2.png": ("dog", "test"),
    },
    "classes first, with a folder beside the splits": {
        "bolt/train/good/1.png": ("bolt", "train"),
        "bolt/test/bent/1.png": ("bolt", "test"),
        "bolt/ground_truth/bent/1.png": ("bolt", "ground_truth"),
        "nut/train/good/1.png": ("nut", "train"),
        "nut/test/bent/1.png": ("nut", "test"),
    },
    "one class of several without splits": {
        "cat/train/1.png": ("cat", None),
        "cat/test/2.png": ("cat", None),
        "dog/small/1.png": ("dog", None),
    },
    "classes in the names of splits": {
        "trainA/1.png": ("A", "train"),
        "trainB/1.png": ("B", "train"),
        "testA/1.png": ("A", "test"),
        "testB/1.png": ("B", "test"),
    },
}


def containers(at: Path, files: Mapping[str, bytes]) -> list[Path]:
    return [write(at / "folder", files), zipped(at / "x.zip", files), tarred(at / "x.tar.gz", files, "gz")]


def by_image(names: Sequence[str], found: Listing) -> Expected:
    splits = found.splits or [None] * len(names)
    return dict(zip(sorted(names), zip(found.classes, splits, strict=True), strict=True))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_folders_are_common_parents_splits_or_classes(kind: str, tmp_path: Path) -> None:
    expected = LAYOUTS[kind]
    for place in containers(tmp_path, dict.fromkeys(expected, CONTENT)):
        found = open_source(place).listing(tmp_path / "scratch")
        assert by_image(list(expected), found) == expected, place
        assert bool(found.splits) == any(split for _, split in expected.values())


def test_split_none_uses_names_of_splits_as_classes(tmp_path: Path) -> None:
    names = ["x/train/1.png", "x/test/1.png"]
    for place in containers(tmp_path, dict.fromkeys(names, CONTENT)):
        found = open_source(place, ReadOptions(split="none")).listing(tmp_path / "scratch")
        assert (list(found.classes), list(found.splits), list(found.notices)) == (["test", "train"], [], [])


def test_tables_within_splits_describe_their_images(tmp_path: Path) -> None:
    tables = {
        "set/train/metadata.csv": b"file_name,colour\n1.png,red\n",
        "set/test/metadata.csv": b"file_name,colour\n1.png,blue\n",
    }
    for place in containers(tmp_path, {"set/train/1.png": CONTENT, "set/test/1.png": CONTENT} | tables):
        found = open_source(place).listing(tmp_path / "scratch")
        assert (found.columns, found.splits) == ({"colour": ["blue", "red"]}, ["test", "train"])


def test_a_table_above_the_common_folder_describes_the_images(tmp_path: Path) -> None:
    files = {"images/1.png": CONTENT, "images/2.png": CONTENT}
    table = {"metadata.csv": b"file_name,colour\nimages/1.png,red\nimages/2.png,blue\n"}
    for place in containers(tmp_path, files | table):
        assert open_source(place).listing(tmp_path / "scratch").columns == {"colour": ["red", "blue"]}


PARQUET: dict[str, dict[str, str | None]] = {
    "shards": {"data/test-00000-of-00001": "test", "data/train-00000-of-00002": "train"}
    | {"data/train-00001-of-00002": "train"},
    "folders of splits": {"default/test/0000": "test", "default/train/0000": "train", "default/train/0001": "train"},
    "one split": {"data/train-00000-of-00002": None, "data/train-00001-of-00002": None},
    "other names": {"part-0": None, "part-1": None},
    "a prefix": {"mnist-train": "train", "mnist-validation": "validation"},
}


@pytest.mark.parametrize("kind", PARQUET)
def test_names_of_parquet_files_give_the_splits(kind: str, tmp_path: Path) -> None:
    expected = PARQUET[kind]
    for name in expected:
        write_parquet(hub_table({"cat/1.png": CONTENT}, ["cat"]), tmp_path / "x" / f"{name}.parquet")
    found = open_source(tmp_path / "x").listing(tmp_path)
    assert list(found.splits) == ([] if None in expected.values() else list(expected.values()))
    assert found.columns == {"label": ["cat"] * len(expected)}
    assert not open_source(tmp_path / "x", ReadOptions(split="none")).listing(tmp_path).splits


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_common_folders_of_archives_are_removed(pack: Callable[[Path, dict[str, bytes]], Path], tmp_path: Path) -> None:
    place = pack(tmp_path / "x", {"a/b/cat/1.png": CONTENT, "a/b/dog/1.png": CONTENT})
    assert [entry.name for entry in open_source(place).listing(tmp_path).entries] == ["cat/1.png", "dog/1.png"]
