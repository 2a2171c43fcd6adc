"""Arrays of many images in NumPy files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from images import noise, npy
from sfumato.data.sources import numpy_files
from sfumato.errors import DataError

from .containers import listing, pixels

DTYPES = ["uint8", "uint16", "float16", "float32", "float64", "bool"]


def array(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return noise(*shape) > 99 if dtype == "bool" else noise(*shape, dtype=dtype)


def kept(values: np.ndarray) -> np.ndarray:
    """Values as stored: booleans as 0 and 255, floats as float32."""
    if values.dtype == bool:
        return np.where(values, 255, 0).astype(np.uint8)
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def saved(path: Path, **named: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez_compressed(path, **named)
    else:
        np.save(path, named["images"])
    return path


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("first", [False, True], ids=["NHWC", "NCHW"])
def test_every_layout_and_dtype_is_read_exactly(
    suffix: str, dtype: str, channels: int, first: bool, tmp_path: Path
) -> None:
    images = array((3, 6, 7, channels), dtype)
    stored = np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if first else images
    found = listing(saved(tmp_path / f"x.{suffix}", images=stored), tmp_path)
    assert [entry.name for entry in found.entries] == ["#0", "#1", "#2"]
    for read, image in zip(pixels(found.entries), kept(images), strict=True):
        assert read.dtype == image.dtype
        assert np.array_equal(read, image)


@pytest.mark.parametrize("dtype", DTYPES)
def test_grey_images_need_no_channel_axis(dtype: str, tmp_path: Path) -> None:
    images = array((3, 6, 7), dtype)
    found = listing(saved(tmp_path / "x.npy", images=images), tmp_path)
    assert np.array_equal(np.stack(pixels(found.entries))[..., 0], kept(images))


def test_channels_first_are_moved_once(tmp_path: Path) -> None:
    """With 5 channels and a height of 4, the result looks as if its height were the channels."""
    images = noise(2, 5, 4, 8)
    found = listing(saved(tmp_path / "x.npy", images=images), tmp_path)
    assert np.array_equal(np.stack(pixels(found.entries)), images.transpose(0, 2, 3, 1))


def test_square_images_of_up_to_four_pixels_have_channels_last(tmp_path: Path) -> None:
    images = noise(2, 4, 5, 4)
    assert np.array_equal(np.stack(pixels(listing(saved(tmp_path / "x.npy", images=images), tmp_path).entries)), images)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([2, 0, 2]), [2, 0, 2]),
        (np.array([2, 0, 2], np.uint8), [2, 0, 2]),
        (np.array(["b", "ä", "b"]), ["b", "ä", "b"]),
        (np.array([True, False, True]), [True, False, True]),
        (np.array([-1, 0, 1]), [None, 0, 1]),
        (np.array([[2], [0], [2]], np.uint8), [2, 0, 2]),
        (np.array([2.0, np.nan, -1.0], np.float32), [2, None, None]),
        (np.array([b"b", "ä".encode(), b"\xe4"]), ["b", "ä", "\ufffd"]),
        (np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), [2, 0, 1]),
        (np.array([[0, 1.0], [1, 0], [0, 1]]), [1, 0, 1]),
        (np.array([[False, True], [True, False], [False, True]]), [1, 0, 1]),
    ],
)
def test_labels_are_read(labels: np.ndarray, expected: list[object], tmp_path: Path) -> None:
    found = listing(saved(tmp_path / "x.npz", images=noise(3, 4, 5), labels=labels), tmp_path)
    assert found.columns == {"label": expected}
    assert list(map(type, found.columns["label"])) == list(map(type, expected))
    assert not found.notices


def test_several_labels_per_image_are_columns_of_0_and_1(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]], np.uint8)
    found = listing(saved(tmp_path / "x.npz", images=noise(3, 4, 5), labels=labels), tmp_path)
    assert found.columns == {"label_0": [0, 0, 1], "label_1": [1, 0, 0], "label_2": [1, 0, 0]}
    names = np.array(["mass", "edema", "hernia"])
    named = listing(saved(tmp_path / "y.npz", images=noise(3, 4, 5), labels=labels, label_names=names), tmp_path)
    assert named.columns == {"mass": [0, 0, 1], "edema": [1, 0, 0], "hernia": [1, 0, 0]}
    with pytest.raises(DataError, match="has 3 labels per image, but 2 label_names"):
        listing(saved(tmp_path / "z.npz", images=noise(3, 4, 5), labels=labels, label_names=names[:2]), tmp_path)


def test_labels_can_be_indices_of_names(tmp_path: Path) -> None:
    labels, names = np.array([1, -1, 0]), np.array(["cat", "dog"])
    path = saved(tmp_path / "x.npz", images=noise(3, 4, 5), labels=labels, label_names=names)
    assert listing(path, tmp_path).columns == {"label": ["dog", None, "cat"]}


@pytest.mark.parametrize("names", [np.array(["cat"]), np.array([3.5]), np.array([{}])])
def test_text_labels_ignore_names(names: np.ndarray, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npz", images=noise(2, 4, 5), labels=np.array(["dog", "cat"]), label_names=names)
    assert listing(path, tmp_path).columns == {"label": ["dog", "cat"]}
    unlabelled = saved(tmp_path / "y.npz", images=noise(2, 4, 5), label_names=names)
    assert listing(unlabelled, tmp_path).columns == {}


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, 2], ["cat", "dog"], "has the label 2, but 2 label_names"),
        ([0, -2, 1], ["cat", "dog"], "has the label -2, but 2 label_names"),
        ([0, 1, 1], ["cat", "cat"], "the label_names of .* have 'cat' more than once"),
        ([0, 1, 1], [3, 4], r"the label_names of .* are int64 \[2\]"),
        ([0, 1, 1], [["cat", "dog"]], r"the label_names of .* are <U3 \[1, 2\]"),
    ],
)
def test_invalid_names_are_rejected(labels: list[object], names: list[object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    saved(path, images=noise(3, 4, 5), labels=np.array(labels), label_names=np.array(names))
    with pytest.raises(DataError, match=message):
        listing(path, tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1, 2]), r"3 images, but its labels have the shape \(2,\)"),
        (np.zeros((3, 0)), r"its labels have the shape \(3, 0\)"),
        (np.zeros((3, 1, 1)), r"its labels have the shape \(3, 1, 1\)"),
        (np.array([[0, 2], [1, 0], [0, 1]]), r"have the shape \(3, 2\), but other values than 0 and 1"),
        (np.array([["a", "b"]] * 3), "other values than 0 and 1"),
        (np.array([0.5, 1, 2]), "labels of .* are float64"),
        (np.array([0, 1, np.inf]), "labels of .* are float64"),
        (np.array([0, 1, 2j]), "labels of .* are complex128"),
    ],
)
def test_invalid_labels_are_rejected(labels: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        listing(saved(tmp_path / "x.npz", images=noise(3, 4, 5), labels=labels), tmp_path)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (3, 5, 4, 5), (2, 2, 4, 4, 3), (3, 0, 4), (3, 4, 4, 0)], ids=str)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_other_shapes_are_rejected(shape: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    path = saved(tmp_path / f"x.{suffix}", images=np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=rf"x\.{suffix} has the shape .*\. Save images as \(N, H, W, C\)"):
        listing(path, tmp_path)


@pytest.mark.parametrize("shape", [(64, 64, 3), (32, 32, 3, 50), (32, 32, 1, 50)], ids=str)
def test_a_single_image_and_a_last_batch_axis_are_rejected(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", images=np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=r"whose third axis would be the width or the height .*image\[None\]"):
        listing(path, tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 4, 4), complex), "complex128, which are not pixel values"),
        (np.zeros((2, 4, 4), "U2"), "<U2, which are not pixel values"),
        (np.zeros((2, 4, 4), "S2"), "not pixel values"),
        (np.zeros((2, 4, 4), "datetime64[s]"), "not pixel values"),
        (np.zeros((2, 4, 4), [("red", "u1"), ("blue", "u1")]), "not pixel values"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_unsupported_dtypes_are_rejected(values: np.ndarray, message: str, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        listing(saved(tmp_path / f"x.{suffix}", images=values), tmp_path)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("name", ["images", "labels"])
def test_objects_are_never_unpickled(suffix: str, name: str, tmp_path: Path) -> None:
    planted = tmp_path / "planted"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(planted), "w")

    content = {"images": noise(2, 4, 4), "labels": np.arange(2), name: np.array([Trap(), Trap()], object)}
    if suffix == "npy" and name == "labels":
        pytest.skip("a .npy has no labels")
    with pytest.raises(DataError, match="Python objects, which are never unpickled"):
        listing(saved(tmp_path / f"x.{suffix}", **content), tmp_path)
    assert not planted.exists()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x09", b"text", npy(noise(2, 4, 4))[:100]])
def test_other_content_is_rejected(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npy cannot be read: it is not a NumPy array, or it is truncated"):
        listing(tmp_path / "x.npy", tmp_path)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_in_fortran_order_are_read_exactly(
    suffix: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_files, "COPIED_BYTES", 1000)
    images = array((40, 6, 7, 3), dtype)
    path = saved(tmp_path / f"x.{suffix}", images=np.asfortranarray(images))
    assert b"'fortran_order': True" in (
        path.read_bytes() if suffix == "npy" else zipfile.ZipFile(path).read("images.npy")
    )
    assert np.array_equal(np.stack(pixels(listing(path, tmp_path / "scratch").entries)), kept(images))


@pytest.mark.parametrize(
    "shape", ["(-1, 4, 4)", "(2, -4, -4)", "(1.5, 4, 4)", "(((((((((", "(2, 4, 10**9)", "(2, 4, 99999999999)"]
)
def test_an_invalid_header_is_rejected(shape: str, tmp_path: Path) -> None:
    content = npy(noise(2, 4, 4))
    start, end = content.index(b"(2, 4, 4)"), content.index(b"\n")
    lie = content[:start] + f"{shape}, }}".encode().ljust(end - start) + content[end:]
    (tmp_path / "x.npy").write_bytes(lie)
    with pytest.raises(DataError, match=r"x\.npy"):
        listing(tmp_path / "x.npy", tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_truncated_file_is_rejected(suffix: str, share: float, tmp_path: Path) -> None:
    path = saved(tmp_path / f"x.{suffix}", images=noise(9, 8, 8, 3))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"x\.{suffix} (.*again\.|cannot be read: .* it is truncated)"):
        listing(path, tmp_path)


def test_damage_within_an_npz_is_reported(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npz", images=noise(9, 8, 8, 3))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npz is damaged"):
        listing(path, tmp_path / "scratch")


def test_labels_larger_than_memory_are_rejected(tmp_path: Path) -> None:
    lie = npy(np.arange(2)).replace(b"(2,), }" + b" " * 16, b"(222222222222222,), }  ")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", npy(noise(2, 4, 4)))
        archive.writestr("labels.npy", lie)
    with pytest.raises(DataError, match=r"the array labels of .* cannot be read"):
        listing(tmp_path / "x.npz", tmp_path)


def test_only_one_row_is_read_for_an_image(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", images=noise(5, 4, 4))
    third = listing(path, tmp_path).entries[2]
    with path.open("r+b") as file:
        file.truncate(len(npy(noise(5, 4, 4))) - 2 * 16)
    assert np.array_equal(pixels([third])[0][..., 0], noise(5, 4, 4)[2])
