"""Labels from tables and arrays are encoded equally in every split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from images import noise, png, write
from sfumato.data import ImageSet, load_images
from sfumato.data.conditions import Number
from sfumato.data.sources import Listing
from sfumato.data.sources.folder import FolderSource

ROWS = {"train/a": ("1,0", "NA"), "train/b": ("2,0", "cat"), "train/c": ("3,0", "dog"), "test/a": ("2,0", "dog")}


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses the first folder of an image as its split."""
    listing = FolderSource.listing

    def with_splits(source: FolderSource, scratch: Path) -> Listing:
        found = listing(source, scratch)
        return replace(found, splits=[entry.name.partition("/")[0] for entry in found.entries])

    monkeypatch.setattr(FolderSource, "listing", with_splits)


def load(path: Path, *condition: str) -> ImageSet:
    """Loads a folder with splits and a table."""
    table = "id;age;species\n" + "".join(f"{name};{age};{species}\n" for name, (age, species) in ROWS.items())
    images = {f"{name}.png": png(noise(4 + index, 4, 3)) for index, name in enumerate(ROWS)}
    write(path / "x", images | {"labels.csv": table.encode()})
    return load_images(path / "x", size=4, condition=condition, cache=path / "cache")


@pytest.mark.parametrize(
    ("requested", "names", "learned", "test"),
    [
        ("age:class", ("1", "2", "3"), [0, 1, 2], [1]),
        ("species", ("cat", "dog"), [-1, 0, 1], [1]),
        ("species:class", ("cat", "dog", "NA"), [2, 0, 1], [1]),
    ],
)
def test_classes_are_the_same_in_every_split(
    requested: str, names: tuple[str, ...], learned: list[int], test: list[int], tmp_path: Path, divided: None
) -> None:
    del divided
    images = load(tmp_path, requested)
    assert images.labels is not None
    assert images.others["test"].labels is not None
    assert (images.label_names, images.labels.tolist(), images.others["test"].labels.tolist()) == (names, learned, test)


def test_numbers_are_the_same_in_every_split(tmp_path: Path, divided: None) -> None:
    del divided
    images = load(tmp_path, "age")
    assert images.columns == (Number("age", 2.0, (2 / 3) ** 0.5, 1.0, 3.0),)
    assert images.others["test"].labels is not None
    assert images.others["test"].labels.tolist() == [[0.0]]
    (notice,) = [notice for notice in images.notices if notice.text.startswith("age: ")]
    assert (notice.text, notice.flag, notice.matters) == (
        "age: numbers 1 to 3 (decimal comma).",
        "--condition age:class",
        True,
    )


def test_the_arrays_of_an_npz_are_splits(tmp_path: Path) -> None:
    counts = {"train": 6, "val": 2, "test": 3}
    arrays = {f"{split}_images": noise(count, 8, 8, 3) for split, count in counts.items()}
    labels = {f"{split}_labels": np.arange(count, dtype=np.uint8)[:, None] % 2 for split, count in counts.items()}
    np.savez(tmp_path / "x.npz", **arrays, **labels)
    images = load_images(tmp_path / "x.npz", cache=tmp_path / "cache")
    assert (images.label_names, len(images)) == (("0", "1"), 6)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert np.array_equal(images.images.permute(0, 2, 3, 1).numpy(), arrays["train_images"])
    for name, split in (("validation", "val"), ("test", "test")):
        other = images.others[name]
        assert np.array_equal(other.images.permute(0, 2, 3, 1).numpy(), arrays[f"{split}_images"])
        assert other.labels is not None
        assert other.labels.tolist() == labels[f"{split}_labels"][:, 0].tolist()
