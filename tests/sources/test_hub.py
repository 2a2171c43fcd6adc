"""Data sets in the layout of the Hugging Face Hub on disk."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from images import PHOTOS, noise, photo_files, png, write
from sfumato.data import load_images
from sfumato.data.sources import hub, open_source
from sfumato.errors import DataError

from .containers import hub_table, listing, pixels, write_parquet

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Disables downloads, and uses a temporary cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def test_a_folder_of_images_has_pixels_and_classes(tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", photo_files())
    found = listing(f"hf:{folder}", tmp_path)
    assert all(map(np.array_equal, pixels(found.entries), PHOTOS.values()))
    assert found.columns == {"label": ["cat", "cat", "dog", "dog"]}


def test_parquet_files_have_pixels_and_classes(tmp_path: Path) -> None:
    write_parquet(hub_table(photo_files(), ["cat", "dog"]), tmp_path / "photos" / "data" / "train-0.parquet")
    found = listing(f"hf:{tmp_path / 'photos'}", tmp_path)
    assert all(map(np.array_equal, pixels(found.entries), PHOTOS.values()))
    assert found.columns == {"label": ["cat", "cat", "dog", "dog"]}


def test_other_processes_read_the_same_images(tmp_path: Path) -> None:
    entries = listing(f"hf:{write(tmp_path / 'photos', photo_files())}", tmp_path).entries
    copies = pickle.loads(pickle.dumps(entries))  # noqa: S301
    assert all(map(np.array_equal, pixels(copies), PHOTOS.values()))


def test_a_split_can_be_given(tmp_path: Path) -> None:
    files = photo_files()
    write(tmp_path / "photos", {f"train/{name}": content for name, content in files.items()})
    write(tmp_path / "photos", {f"test/{name}": content for name, content in list(files.items())[::2]})
    every = listing(f"hf:{tmp_path / 'photos'}", tmp_path)
    assert every.splits == ["train"] * 4 + ["test"] * 2
    assert every.columns == {"label": ["cat", "cat", "dog", "dog", "cat", "dog"]}
    found = listing(f"hf:{tmp_path / 'photos'}:test", tmp_path)
    assert all(map(np.array_equal, pixels(found.entries), list(PHOTOS.values())[::2]))
    assert not found.splits


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mnist", ("mnist", "")),
        ("user/mnist:test", ("user/mnist", "test")),
        (r"C:\data\mnist", (r"C:\data\mnist", "")),
        (r"c:\data\mnist:test[:10]", (r"c:\data\mnist", "test[:10]")),
        ("C:/data:train", ("C:/data", "train")),
        ("c:train", ("c", "train")),
    ],
)
def test_a_drive_letter_is_not_a_split(name: str, parts: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_loaded", lambda _, *given: {"": given})
    monkeypatch.setattr(hub, "_image_column", lambda *_: "image")
    assert hub.HubSource(name).parts == {"": parts}


def test_the_identity_is_the_path_of_the_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", photo_files())
    by_hub, plain = load_images(f"hf:{folder}", labels=False), load_images(folder, labels=False)
    assert by_hub.fingerprint() == plain.fingerprint()


def test_a_change_is_detected(tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", photo_files())
    before = open_source(f"hf:{folder}").signature()
    assert open_source(f"hf:{folder}").signature() == before
    (folder / "cat" / "0.png").write_bytes(png(noise(6, 5, 3, seed=9)))
    assert open_source(f"hf:{folder}").signature() != before
    assert np.array_equal(pixels(listing(f"hf:{folder}", tmp_path).entries)[0], noise(6, 5, 3, seed=9))


def test_a_missing_data_set_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the data set .*gone cannot be loaded: .*Check its name"):
        open_source(f"hf:{tmp_path / 'gone'}")


def test_a_missing_split_is_reported(tmp_path: Path) -> None:
    folder = write(tmp_path / "photos", photo_files())
    with pytest.raises(DataError, match=r"\(split nowhere\) cannot be loaded: .*nowhere.*hf:NAME:SPLIT"):
        open_source(f"hf:{folder}:nowhere")


def test_a_data_set_without_images_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "texts", {"train.csv": b"a,b\n1,2\n"})
    with pytest.raises(DataError, match=r"has no columns of images \(a, b\)"):
        open_source(f"hf:{tmp_path / 'texts'}")


def test_a_missing_library_suggests_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r'without the library datasets\. Install it: pip install "sfumato\[hub\]"'):
        open_source("hf:mnist")
