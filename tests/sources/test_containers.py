"""All containers give the same pixels and labels."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from images import PHOTOS, npy, photo_files, png, write
from sfumato.data import load_images
from sfumato.data.sources import open_source

from .containers import hub_table, listing, pixels, tarred, write_parquet, zipped

ARRAY = np.stack(list(PHOTOS.values()))
LABELS = np.array([0, 0, 1, 1])


def numpy_files() -> dict[str, bytes]:
    """A folder of `.npy` images."""
    return {name.replace(".png", ".npy"): npy(image) for name, image in PHOTOS.items()}


def folder_named(prefix: str) -> dict[str, bytes]:
    """The files in a folder of the archive."""
    return {prefix + name: content for name, content in photo_files().items()}


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def array_file(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


NAMED: dict[str, Callable[[Path], Path]] = {
    "folder": lambda at: write(at / "photos", photo_files()),
    "folder of arrays": lambda at: write(at / "photos", numpy_files()),
    "zip": lambda at: zipped(at / "photos.zip", photo_files()),
    "stored zip": lambda at: zipped(at / "photos.zip", photo_files(), zipfile.ZIP_STORED),
    "bzip2 zip": lambda at: zipped(at / "photos.zip", photo_files(), zipfile.ZIP_BZIP2),
    "xz zip": lambda at: zipped(at / "photos.zip", photo_files(), zipfile.ZIP_LZMA),
    "zip of arrays": lambda at: zipped(at / "photos.zip", numpy_files()),
    "zip of a folder": lambda at: zipped(at / "photos.zip", folder_named("photos/")),
    "zip by another name": lambda at: zipped(at / "photos", photo_files()),
    "tar": lambda at: tarred(at / "photos.tar", photo_files()),
    "tar of arrays": lambda at: tarred(at / "photos.tar", numpy_files()),
    "tar of a folder": lambda at: tarred(at / "photos.tar", folder_named("photos/")),
    "tar of .": lambda at: tarred(at / "photos.tar", folder_named("./")),
    "tar.gz": lambda at: tarred(at / "photos.tar.gz", photo_files(), "gz"),
    "tgz": lambda at: tarred(at / "photos.tgz", photo_files(), "gz"),
    "tar.xz": lambda at: tarred(at / "photos.tar.xz", photo_files(), "xz"),
    "tar.bz2": lambda at: tarred(at / "photos.tar.bz2", photo_files(), "bz2"),
    "tar by another name": lambda at: tarred(at / "photos", photo_files()),
}
"""Containers in which images have names, and folders are classes."""

NUMBERED: dict[str, Callable[[Path], Path]] = {
    "npy": lambda at: array_file(at / "photos.npy", ARRAY),
    "npy, channels first": lambda at: array_file(at / "photos.npy", ARRAY.transpose(0, 3, 1, 2)),
    "npz": lambda at: npz(at / "photos.npz", images=ARRAY, labels=LABELS),
    "npz by position": lambda at: npz(at / "photos.npz", anything=ARRAY),
    "parquet": lambda at: write_parquet(hub_table(photo_files(), ["cat", "dog"]), at / "photos.parquet", 4),
    "parquet of groups": lambda at: write_parquet(hub_table(photo_files(), ["cat", "dog"]), at / "photos.parquet", 3),
    "parquet folder": lambda at: parquet_folder(at / "photos"),
}
"""Containers of rows."""


def parquet_folder(at: Path) -> Path:
    table = hub_table(photo_files(), ["cat", "dog"])
    write_parquet(table[:1], at / "data" / "train-0.parquet")
    write_parquet(table[1:], at / "data" / "train-1.parquet")
    return at


@pytest.mark.parametrize("kind", NAMED)
def test_images_by_name(kind: str, tmp_path: Path) -> None:
    found = listing(NAMED[kind](tmp_path), tmp_path / "scratch")
    assert [entry.name.removesuffix(".npy").removesuffix(".png") for entry in found.entries] == [
        name.removesuffix(".png") for name in PHOTOS
    ]
    assert all(map(np.array_equal, pixels(found.entries), PHOTOS.values()))
    assert not [*found.unusable, *found.notices, *found.columns]


@pytest.mark.parametrize("kind", NUMBERED)
def test_images_by_number(kind: str, tmp_path: Path) -> None:
    found = listing(NUMBERED[kind](tmp_path), tmp_path / "scratch")
    assert len(found.entries) == len(PHOTOS)
    assert all(map(np.array_equal, pixels(found.entries), PHOTOS.values()))


@pytest.mark.parametrize("kind", NAMED)
def test_splits_with_named_images_are_combined(kind: str, tmp_path: Path) -> None:
    images = load_images(NAMED[kind](tmp_path))
    folder = load_images(write(tmp_path / "plain", photo_files()))
    assert images.fingerprint() == folder.fingerprint()
    assert images.label_names == ("cat", "dog")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 1, 1]
    assert images.notices == ()


@pytest.mark.parametrize("kind", NUMBERED)
def test_splits_with_numbered_images_are_combined(kind: str, tmp_path: Path) -> None:
    images = load_images(NUMBERED[kind](tmp_path), labels=False)
    folder = load_images(write(tmp_path / "plain", photo_files()), labels=False)
    assert images.fingerprint() == folder.fingerprint()


@pytest.mark.parametrize("kind", ["parquet", "parquet of groups", "parquet folder"])
def test_class_indices_become_class_names(kind: str, tmp_path: Path) -> None:
    found = listing(NUMBERED[kind](tmp_path), tmp_path)
    assert found.columns == {"label": ["cat", "cat", "dog", "dog"]}


@pytest.mark.parametrize("kind", [*NAMED, *NUMBERED])
def test_other_processes_read_the_same_images(kind: str, tmp_path: Path) -> None:
    entries = listing((NAMED | NUMBERED)[kind](tmp_path), tmp_path / "scratch").entries
    copies = pickle.loads(pickle.dumps(entries))  # noqa: S301
    assert all(map(np.array_equal, pixels(copies), PHOTOS.values()))


@pytest.mark.parametrize("kind", ["zip", "tar", "npy", "npz", "parquet"])
def test_a_change_is_detected_if_size_and_time_are_the_same(kind: str, tmp_path: Path) -> None:
    place = (NAMED | NUMBERED)[kind](tmp_path)
    before, facts = open_source(place).signature(), place.stat()
    with place.open("r+b") as file:
        file.seek(facts.st_size // 2)
        file.write(b"?")
    os.utime(place, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (place.stat().st_size, place.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert open_source(place).signature() != before


FLIPPED = {name: png(image[::-1]) for name, image in PHOTOS.items()}
REPLACED: dict[str, Callable[[Path], Path]] = {
    "zip": lambda place: zipped(place, FLIPPED),
    "tar": lambda place: tarred(place, FLIPPED),
    "tar.gz": lambda place: tarred(place, FLIPPED, "gz"),
    "npy": lambda place: array_file(place, np.ascontiguousarray(ARRAY[:, ::-1])),
    "npz": lambda place: npz(place, images=ARRAY[:, ::-1].copy()),
    "parquet": lambda place: write_parquet(hub_table(FLIPPED, ["cat", "dog"]), place, 4),
}


@pytest.mark.parametrize("kind", REPLACED)
def test_a_replaced_container_is_read_again(kind: str, tmp_path: Path) -> None:
    """The cached open file is not used for the new file."""
    place = (NAMED | NUMBERED)[kind](tmp_path)
    first = pixels(listing(place, tmp_path / "scratch").entries)
    place.unlink()
    second = pixels(listing(REPLACED[kind](place), tmp_path / "scratch").entries)
    assert all(np.array_equal(after, before[::-1]) for after, before in zip(second, first, strict=True))
