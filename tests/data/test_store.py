"""Cache entries: images are decoded once for each content and each set of options that changes it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from images import noise, npy, png, write
from sfumato.data import load_images
from sfumato.data.cache import build, open_store, store
from sfumato.data.sources import ReadOptions, open_source

from .cached_images import IMAGES, is_whole, replace_secretly, stores


def test_the_second_load_reads_no_image(
    folder: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_images(folder, cache=cache)
    assert is_whole(first)
    assert decoded == sorted(path.name for path in folder.iterdir())
    for part in ("read_headers", "convert_image"):
        monkeypatch.delattr(build, part)
    monkeypatch.delattr("sfumato.data.sources.folder.FolderSource.listing")
    second = load_images(folder, cache=cache)
    assert is_whole(second)
    assert second.fingerprint() == first.fingerprint()
    assert second.notices == first.notices


CHANGES: dict[str, Callable[[Path], object]] = {
    "other pixels": lambda folder: (folder / "07.png").write_bytes(png(noise(6, 7, 3, seed=9))),
    "an image more": lambda folder: (folder / "40.png").write_bytes(png(noise(6, 7, 3, seed=9))),
    "an image less": lambda folder: (folder / "07.png").unlink(),
    "another name": lambda folder: (folder / "07.png").rename(folder / "70.png"),
    "the same size and time": lambda folder: replace_secretly(folder / "07.png", folder / "08.png"),
    "metadata": lambda folder: (folder / "metadata.csv").write_text("file_name,a\n07.png,1\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_detected(change: str, folder: Path, cache: Path, decoded: list[str]) -> None:
    load_images(folder, cache=cache)
    decoded.clear()
    CHANGES[change](folder)
    changed = load_images(folder, cache=cache)
    assert decoded == sorted(path.name for path in folder.glob("*.png"))
    assert changed.fingerprint() == load_images(folder, cache=cache / "elsewhere").fingerprint()


def test_outdated_entries_are_removed(folder: Path, cache: Path) -> None:
    load_images(folder, cache=cache)
    (before,) = stores(cache)
    (folder / "07.png").unlink()
    load_images(folder, cache=cache)
    (after,) = stores(cache)
    assert before != after
    assert before.parent == after.parent
    assert [path.name for path in after.parent.glob("*.lock")] == [f"{after.name}.lock"]


def test_an_outdated_entry_in_use_is_kept(folder: Path, cache: Path) -> None:
    load_images(folder, cache=cache)
    (before,) = stores(cache)
    (folder / "07.png").unlink()
    with store._lock_of(before):
        load_images(folder, cache=cache)
    assert before in stores(cache)


def test_each_set_of_options_has_its_own_entry(folder: Path, cache: Path, decoded: list[str]) -> None:
    choices: list[dict[str, object]] = [
        {},
        {"size": 8},
        {"size": "8x4"},
        {"size": "4x8"},
        {"size": 8, "fit": "pad"},
        {"size": 8, "channels": "grey"},
    ]
    sets = [load_images(folder, cache=cache, **chosen).fingerprint() for chosen in choices]  # type: ignore[arg-type]
    assert len(stores(cache)) == len(set(sets)) == len(choices)
    decoded.clear()
    again = [load_images(folder, cache=cache, **chosen).fingerprint() for chosen in choices]  # type: ignore[arg-type]
    assert again == sets
    assert not decoded


def test_labels_do_not_need_their_own_entry(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    folder = write(tmp_path / "x", {f"{label}/{n}.png": png(IMAGES[n]) for label in "ab" for n in range(2)})
    assert load_images(folder, cache=cache).label_names == ("a", "b")
    decoded.clear()
    assert load_images(folder, cache=cache, labels=False).labels is None
    assert not decoded


def test_two_folders_with_one_name_have_separate_entries(folder: Path, cache: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other" / "photos")
    assert load_images(folder, cache=cache).fingerprint() == load_images(other, cache=cache).fingerprint()
    assert len(stores(cache)) == 2


def test_the_environment_variable_sets_the_cache(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(cache))
    load_images(folder)
    assert len(stores(cache)) == 1
    load_images(folder, cache=cache / "other")
    assert len(stores(cache / "other")) == 1


def test_the_default_cache_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SFUMATO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / "sfumato"


def test_all_cell_values_survive_the_cache(tmp_path: Path, cache: Path) -> None:
    cells = [1, 1.5, True, None, "ü", float("nan"), float("inf"), 10**30, "\ud800", "a\nb"]
    rows = [{"file_name": f"{n:02}.npy", "cell": cell} for n, cell in enumerate(cells)]
    folder = write(tmp_path / "x", {row["file_name"]: npy(image) for row, image in zip(rows, IMAGES, strict=False)})  # type: ignore[misc]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    load_images(folder, cache=cache)
    (place,) = stores(cache)
    index = store.read_index(place)
    assert index is not None
    cells[5] = None  # NaN is a missing value
    assert list(map(repr, index.columns["cell"])) == list(map(repr, [*cells[:-2], r"\ud800", r"a\nb"]))


def test_all_file_names_survive_the_cache(tmp_path: Path, cache: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.npy"), "a\nb.npy", "-x.npy", "[red].npy"]
    write(tmp_path / "x", {name: npy(image) for name, image in zip(names, IMAGES, strict=False)})
    load_images(tmp_path / "x", cache=cache)
    (place,) = stores(cache)
    index = store.read_index(place)
    assert index is not None
    assert sorted(index.names) == sorted([r"caf\udce9.npy", r"a\nb.npy", "-x.npy", "[red].npy"])


DIFFERENT = {
    "size": (5, 5),
    "fit": "pad",
    "channels": "grey",
    "pages": "first",
    "split": "none",
    "nodata": 3.0,
    "name_encoding": "cp932",
}
SAME: dict[str, object] = {"split": "test", "range": (0.0, 9.0)}


def test_every_option_is_tested() -> None:
    assert {field.name for field in fields(ReadOptions)} == DIFFERENT.keys() | SAME.keys()


def test_options_that_change_the_content_have_their_own_entries(tmp_path: Path) -> None:
    root = write(tmp_path / "x", {f"{n}.png": png(noise(6, 6, 3, seed=n)) for n in range(2)})

    def place(**changed: object) -> Path:
        options = replace(ReadOptions(), **changed)  # type: ignore[arg-type]
        return open_store(open_source(root, options), options, tmp_path / "cache").folder

    usual = place()
    assert len({usual, *(place(**{name: value}) for name, value in DIFFERENT.items())}) == 1 + len(DIFFERENT)
    assert {place(**{name: value}) for name, value in SAME.items()} == {usual}
