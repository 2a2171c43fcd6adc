"""Data sets in the files of their authors: CIFAR, MNIST and WebDataset."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from images import PHOTOS, noise, photo_files, png, write
from sfumato.data import load_images
from sfumato.data.sources import ReadOptions, open_source
from sfumato.errors import DataError

from .containers import listing, pixels, tarred, zipped

CIFAR = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), np.uint8)
DIGITS = np.random.default_rng(1).integers(0, 256, (6, 28, 20), np.uint8)


def cifar_10() -> dict[str, bytes]:
    """Two training batches and the test batch with two images each: a class byte, then red, green, blue."""
    record = [bytes([number % 3]) + image.tobytes() for number, image in enumerate(CIFAR)]
    return {
        "cifar-10-batches-bin/data_batch_1.bin": b"".join(record[:2]),
        "cifar-10-batches-bin/data_batch_2.bin": b"".join(record[2:4]),
        "cifar-10-batches-bin/test_batch.bin": b"".join(record[4:]),
        "cifar-10-batches-bin/batches.meta.txt": b"airplane\nautomobile\nbird\n\n",
        "cifar-10-batches-bin/readme.html": b"<html>",
    }


def cifar_100() -> dict[str, bytes]:
    record = [bytes([number % 2, number % 3]) + image.tobytes() for number, image in enumerate(CIFAR)]
    return {
        "cifar-100-binary/train.bin": b"".join(record[:4]),
        "cifar-100-binary/test.bin": b"".join(record[4:]),
        "cifar-100-binary/coarse_label_names.txt": b"aquatic_mammals\nfish\n",
        "cifar-100-binary/fine_label_names.txt": b"apple\naquarium_fish\nbaby\n",
    }


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist() -> dict[str, bytes]:
    labels = np.array([5, 0, 4, 1, 7, 2], np.uint8)
    return {
        "train-images-idx3-ubyte": idx(DIGITS[:4]),
        "train-labels-idx1-ubyte": idx(labels[:4]),
        "t10k-images-idx3-ubyte": idx(DIGITS[4:]),
        "t10k-labels-idx1-ubyte": idx(labels[4:]),
    }


def compressed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}


def folder(at: Path, files: dict[str, bytes]) -> Path:
    return write(at / "data", files)


PACKED: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "tar.gz": lambda at, files: tarred(at / "x.tar.gz", files, "gz"),
    "tar": lambda at, files: tarred(at / "x.tar", files),
    "zip": lambda at, files: zipped(at / "x.zip", files),
    "folder": folder,
}


@pytest.mark.parametrize("kind", PACKED)
def test_cifar_10(kind: str, tmp_path: Path) -> None:
    found = listing(PACKED[kind](tmp_path, cifar_10()), tmp_path / "scratch")
    assert all(map(np.array_equal, pixels(found.entries), CIFAR.transpose(0, 2, 3, 1)))
    assert found.columns == {"label": ["airplane", "automobile", "bird"] * 2}
    assert found.splits == ["train"] * 4 + ["test"] * 2
    assert not found.notices


@pytest.mark.parametrize("kind", PACKED)
def test_cifar_100(kind: str, tmp_path: Path) -> None:
    found = listing(PACKED[kind](tmp_path, cifar_100()), tmp_path / "scratch")
    by_split = sorted(zip(found.splits, map(np.ndarray.tobytes, pixels(found.entries)), strict=True))
    images = [image.transpose(1, 2, 0).tobytes() for image in CIFAR]
    assert by_split == sorted(zip(["train"] * 4 + ["test"] * 2, images, strict=True))
    first_test = list(found.splits).index("test")
    assert found.columns["label"][first_test] == "aquarium_fish"
    assert found.columns["coarse_label"][first_test] == "aquatic_mammals"


def test_a_folder_of_one_cifar_batch_has_no_splits(tmp_path: Path) -> None:
    files = {name: content for name, content in cifar_10().items() if "data_batch" not in name}
    found = listing(folder(tmp_path, files), tmp_path / "scratch")
    assert (len(found.entries), list(found.splits), list(found.notices)) == (2, [], [])


@pytest.mark.parametrize("kind", PACKED)
def test_pickles_of_cifar_are_rejected(kind: str, tmp_path: Path) -> None:
    files = {f"cifar-10-batches-py/data_batch_{n}": pickle.dumps({b"data": [n]}) for n in (1, 2)}
    with pytest.raises(DataError, match=r"\(cifar-10-batches-py\), which is a pickle .* cifar-10-binary\.tar\.gz"):
        listing(PACKED[kind](tmp_path, files), tmp_path / "scratch")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"data_batch_1.bin": bytes(3073 + 5)}, "has 3078 bytes, not a multiple of the 3073 of an image"),
        ({"data_batch_1.bin": bytes([7]) + bytes(3072)}, "has the label 7, but 3 names"),
    ],
)
def test_a_truncated_cifar_file_is_rejected(damage: dict[str, bytes], message: str, tmp_path: Path) -> None:
    files = cifar_10() | {f"cifar-10-batches-bin/{name}": content for name, content in damage.items()}
    with pytest.raises(DataError, match=message):
        listing(folder(tmp_path, files), tmp_path / "scratch")


@pytest.mark.parametrize("change", [dict, compressed, lambda files: files | compressed(files)])
@pytest.mark.parametrize("kind", PACKED)
def test_mnist(kind: str, change: Callable[[dict[str, bytes]], dict[str, bytes]], tmp_path: Path) -> None:
    found = listing(PACKED[kind](tmp_path, change(mnist())), tmp_path / "scratch")
    order = [4, 5, 0, 1, 2, 3]  # t10k is sorted before train
    assert all(map(np.array_equal, pixels(found.entries), DIGITS[order, :, :, None]))
    assert found.columns == {"label": [7, 2, 5, 0, 4, 1]}
    assert found.splits == ["test"] * 2 + ["train"] * 4


def test_one_file_of_mnist_has_its_labels(tmp_path: Path) -> None:
    at = folder(tmp_path, compressed(mnist()))
    found = listing(at / "train-images-idx3-ubyte.gz", tmp_path / "scratch")
    assert all(map(np.array_equal, pixels(found.entries), DIGITS[:4, :, :, None]))
    assert (found.columns, list(found.splits)) == ({"label": [5, 0, 4, 1]}, [])


def test_idx_files_with_the_alternative_name(tmp_path: Path) -> None:
    files = {name.replace("-idx", ".idx"): content for name, content in mnist().items()}
    assert listing(folder(tmp_path, files), tmp_path / "scratch").columns == {"label": [7, 2, 5, 0, 4, 1]}


def test_emnist_is_transposed(tmp_path: Path) -> None:
    files = {"emnist-letters-train-images-idx3-ubyte": idx(DIGITS.transpose(0, 2, 1))}
    found = listing(folder(tmp_path, files), tmp_path / "scratch")
    assert all(map(np.array_equal, pixels(found.entries), DIGITS[..., None]))
    assert [notice.topic for notice in found.notices] == ["orientation"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train-images-idx3-ubyte": idx(DIGITS)[:-1]}, "ends before its array does"),
        ({"train-images-idx3-ubyte": b"\0\0\x0d\3" + idx(DIGITS)[4:]}, "not an idx file of 8-bit numbers"),
        ({"train-images-idx3-ubyte": b""}, "not an idx file"),
        ({"train-images-idx3-ubyte.gz": b"\x1f\x8b\x08"}, "damaged or truncated"),
        ({"train-labels-idx1-ubyte": idx(np.zeros(3, np.uint8))}, r"shape \(3,\), but .* has 4 images"),
        ({"emnist-train-images-idx3-ubyte": idx(DIGITS)}, "more than one data set of idx files"),
    ],
)
def test_broken_idx_files_are_rejected(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    present = {} if len(files) == 1 and "train-images-idx3-ubyte.gz" in files else mnist()
    with pytest.raises(DataError, match=message):
        listing(folder(tmp_path, present | files), tmp_path / "scratch")


def test_a_label_file_is_not_a_file_of_images(tmp_path: Path) -> None:
    at = folder(tmp_path, mnist())
    with pytest.raises(DataError, match="Give the file of the images"):
        listing(at / "train-labels-idx1-ubyte", tmp_path / "scratch")


def test_split_none_ignores_the_splits(tmp_path: Path) -> None:
    at = folder(tmp_path, mnist())
    assert not open_source(at, ReadOptions(split="none")).listing(tmp_path / "scratch").splits


def test_known_sets_are_loaded(tmp_path: Path) -> None:
    images = load_images(tarred(tmp_path / "cifar-10-binary.tar.gz", cifar_10(), "gz"), cache=tmp_path / "cache")
    assert images.label_names == ("airplane", "automobile", "bird")


SAMPLES = {
    "000.png": png(noise(4, 4, 3)),
    "000.cls": b"3",
    "000.txt": b"a red cat",
    "001.png": png(noise(4, 4, 3, seed=1)),
    "001.cls": b"0\n",
    "001.txt": b"a dog",
}


def test_a_webdataset_tar_has_classes_and_counts_other_files(tmp_path: Path) -> None:
    found = listing(tarred(tmp_path / "x.tar", SAMPLES), tmp_path)
    assert found.columns == {"label": [3, 0]}
    assert found.others == {"cls": 2, "txt": 2}


def test_json_files_give_columns(tmp_path: Path) -> None:
    files = {
        "a/000.seg.png": SAMPLES["000.png"],
        "a/000.json": json.dumps({"age": 1.5, "name": "x", "box": [1], "label": "cat"}).encode(),
        "b/1.2.png": SAMPLES["001.png"],
        "b/1.2.json": b'{"age": 2, "label": "dog"}',
        "b/1.3.png": SAMPLES["001.png"],
        "b/1.3.json": b"[1, 2]",
    }
    found = listing(tarred(tmp_path / "x.tar", files), tmp_path)
    assert found.columns == {"age": [1.5, 2, None], "name": ["x", None, None], "label": ["cat", "dog", None]}


def test_a_folder_of_tars_is_one_data_set_with_splits(tmp_path: Path) -> None:
    for name, seed in (("train-000", 0), ("train-001", 1), ("val-000", 2)):
        image = png(noise(4, 4, 3, seed=seed))
        tarred(write(tmp_path / "x", {"info.json": b"{}"}) / f"{name}.tar", {"000.png": image, "000.cls": b"%d" % seed})
    found = listing(tmp_path / "x", tmp_path / "scratch")
    assert [image.tobytes() for image in pixels(found.entries)] == [noise(4, 4, 3, seed=s).tobytes() for s in range(3)]
    assert found.columns == {"label": [0, 1, 2]}
    assert found.splits == ["train", "train", "validation"]
    assert not [label for label in found.classes if label]


def test_folders_within_tars_give_classes(tmp_path: Path) -> None:
    for name, files in (("0", list(photo_files().items())[::2]), ("1", list(photo_files().items())[1::2])):
        tarred(write(tmp_path / "x", {}) / f"{name}.tar", dict(files))
    found = listing(tmp_path / "x", tmp_path / "scratch")
    assert list(found.classes) == ["cat", "dog", "cat", "dog"]
    assert not found.splits
    assert all(map(np.array_equal, pixels(found.entries), [list(PHOTOS.values())[n] for n in (0, 2, 1, 3)]))
