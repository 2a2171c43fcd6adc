"""`sfumato inspect`: facts on a data set before training, as a table and as JSON."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.conftest import TINY, Command
from sfumato.data import BUILT_IN
from sfumato.data.cache import store as store_folder
from sfumato.reports.findings import sentences


def facts(sfumato: Command, *arguments: object) -> dict[str, object]:
    outcome = sfumato("inspect", *arguments, "--json")
    assert outcome.code == 0, outcome.error
    found: dict[str, object] = json.loads(outcome.out)
    return found


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Six images of two sizes, three modes and two depths, with one duplicate, and two invalid files; two classes."""
    folder = tmp_path / "mixed"
    random = np.random.default_rng(0)
    for name, shape in {"cat/a": (30, 40, 3), "cat/b": (30, 40, 3), "cat/c": (50, 40, 3), "dog/a": (30, 40, 4)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(256, size=shape, dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "cat" / "again.png").write_bytes((folder / "cat" / "a.png").read_bytes())
    Image.fromarray(random.integers(65536, size=(30, 40), dtype=np.uint16)).save(folder / "dog" / "deep.png")
    (folder / "dog" / "broken.png").write_text("no image")
    whole = (folder / "cat" / "b.png").read_bytes()
    (folder / "dog" / "half.png").write_bytes(whole[: len(whole) // 2])
    return folder


def test_sizes_modes_classes_and_duplicates_are_counted(sfumato: Command, mixed: Path, tmp_path: Path) -> None:
    found = facts(sfumato, mixed, "--out", tmp_path / "out")
    assert found["images"] == 6
    assert found["sizes"] == {"40x30": 5, "40x50": 1}
    assert found["modes"] == {"RGB": 4, "RGBA": 1, "grey": 1}
    assert found["depths"] == {"8 bits": 5, "16 bits": 1}
    assert found["classes"] == {"cat": 4, "dog": 2}
    assert found["duplicates"] == {"groups": 1, "images": 2}
    assert found["near_duplicates"] == {"groups": 1, "images": 2}
    assert found["learned_as"] == {"width": 16, "height": 16, "channels": 3, "mode": "RGB", "depth": "8 bits"}
    reasons = {file["name"]: file["reason"] for file in found["unreadable"]}  # type: ignore[attr-defined]
    assert reasons["dog/broken.png"] == "it is not an image that can be read"
    assert reasons.keys() == {"dog/broken.png", "dog/half.png"}


def test_the_facts_are_printed_in_words(sfumato: Command, mixed: Path, tmp_path: Path) -> None:
    text = sfumato("inspect", mixed, "--out", tmp_path / "out").out
    for words in (
        "5 of 40x30, 1 of 40x50",
        "2: cat (4), dog (2)",
        "2, skipped in training",
        "1: it is not an image that can be read (dog/broken.png)",
        "2 images have the same pixels",
        "16x16 pixels, RGB, 8 bits",
        f"sfumato train {mixed} --size 16",
    ):
        assert words in text


def test_the_pictures_are_a_contact_sheet_and_the_duplicates(sfumato: Command, mixed: Path, tmp_path: Path) -> None:
    found = facts(sfumato, mixed, "--out", tmp_path / "out")
    assert found["pictures"] == [str(tmp_path / "out" / name) for name in ("sheet.png", "duplicates.png")]
    for name in ("sheet.png", "duplicates.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            picture.load()


def test_there_is_no_picture_without_duplicates(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    found = facts(sfumato, photos, "--out", tmp_path / "out")
    assert found["duplicates"] == {"groups": 0, "images": 0}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sheet.png"]


def test_the_search_for_near_duplicates_can_be_disabled(sfumato: Command, mixed: Path, tmp_path: Path) -> None:
    found = facts(sfumato, mixed, "--out", tmp_path / "out", "--no-near-duplicates")
    assert found["near_duplicates"] is None
    assert found["duplicates"] == {"groups": 1, "images": 2}


def test_the_recommended_command_uses_the_decoded_images(
    sfumato: Command, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = shlex.split(str(facts(sfumato, mixed, "--out", tmp_path / "out")["command"]))
    monkeypatch.delattr(store_folder, "build")
    outcome = sfumato(*command[1:], *TINY, "--images", 4, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.error


def test_images_of_one_small_size_are_not_resized(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    found = facts(sfumato, photos, "--out", tmp_path / "out")
    assert "--size" not in str(found["command"])
    assert "--preset tiny" in str(found["command"])


@pytest.mark.slow
def test_options_are_part_of_the_recommended_command(sfumato: Command, mixed: Path, tmp_path: Path) -> None:
    flags = ("--size", "24x32", "--fit", "pad", "--channels", "grey")
    found = facts(sfumato, mixed, "--out", tmp_path / "out", *flags)
    assert found["learned_as"] == {"width": 24, "height": 32, "channels": 1, "mode": "grey", "depth": "8 bits"}
    assert "--size 24x32 --fit pad --channels grey" in str(found["command"])


def test_imbalanced_classes_are_reported(sfumato: Command, tmp_path: Path) -> None:
    for label, count in (("many", 20), ("few", 2)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(count):
            Image.new("L", (8, 8), number).save(tmp_path / "data" / label / f"{number}.png")
    text = sfumato("inspect", tmp_path / "data", "--out", tmp_path / "out").out
    assert "many has 10 times as many images as few" in text


def test_the_digits(sfumato: Command, tmp_path: Path) -> None:
    found = facts(sfumato, "digits", "--out", tmp_path / "out", "--no-near-duplicates")
    assert found["images"] == 1797
    assert found["sizes"] == {"8x8": 1797}
    assert found["command"] == "sfumato train digits"
    assert (tmp_path / "out" / "sheet.png").is_file()


def test_the_shapes(sfumato: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, load = [], BUILT_IN["shapes"]
    monkeypatch.setitem(BUILT_IN, "shapes", lambda options: (drawn.append(options), load(options))[1])
    found = facts(sfumato, "shapes", "--out", tmp_path / "out")
    assert len(drawn) == 1
    assert found["images"] == 4096
    assert (found["sizes"], found["modes"]) == ({"32x32": 4096}, {"RGB": 4096})
    assert (found["classes"], found["columns"]) == ({}, ["shape", "colour", "size", "angle"])
    assert found["near_duplicates"] is None
    assert found["command"] == "sfumato train shapes"
    rows = dict(sentences(found))
    assert rows["columns"] == "shape, colour, size, angle"
    assert "classes" not in rows


def test_an_empty_folder_is_reported(sfumato: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = sfumato("inspect", tmp_path / "empty")
    assert outcome.code == 2
    assert "holds no images" in outcome.error


def test_the_columns_of_metadata_are_described(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "described"
    shutil.copytree(photos, folder)
    rows = [f"cat/{n}.png,{n}.5,{'red' if n % 2 else 'blue'},x{n}" for n in range(6)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,weight,colour,nothing", *rows]).replace(",x", ","))
    found = facts(sfumato, folder, "--out", tmp_path / "out")
    texts = [notice["text"] for notice in found["notices"] if notice["topic"] == "columns"]  # type: ignore[attr-defined]
    assert texts == [
        "weight: numbers 0.5 to 5.5.",
        "colour: 2 classes blue, red.",
        "nothing: 6 classes 0, 1, 2, 3, 4, 5.",
    ]
    assert "--condition weight:class" in sfumato("inspect", folder, "--out", tmp_path / "out").out


@pytest.mark.parametrize("size", [[], ["--size", 8]])
def test_an_invalid_cache_is_reported(sfumato: Command, photos: Path, tmp_path: Path, size: list[object]) -> None:
    (tmp_path / "file").write_text("no folder")
    outcome = sfumato("inspect", photos, *size, "--cache", tmp_path / "file" / "cache", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "--cache" in outcome.error


def test_images_without_a_class_are_supported(sfumato: Command, photos: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photos, tmp_path / "photos")
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in sorted(folder.rglob("*.png"))]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label", *rows[:-2]]))
    assert facts(sfumato, folder, "--out", tmp_path / "out")["classes"] == {"cat": 6, "dog": 4}
