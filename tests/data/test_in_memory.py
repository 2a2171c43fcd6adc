"""Images in memory: layouts, dtypes, ranges, labels, and training as on the same images in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import sfumato as sf
from sfumato.data import SOURCES, ImageSet
from sfumato.data.in_memory import Collection, from_arrays
from sfumato.errors import ConfigError, DataError, RunError
from sfumato.training.loop import TrainingResult
from sfumato.training.measurements import read_metrics

COLOR = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
"""(N, H, W, C)."""
FIRST = np.moveaxis(COLOR, 3, 1)
"""(N, C, H, W)."""


def pixels(images: ImageSet) -> np.ndarray:
    """(N, C, H, W), as they are kept."""
    return torch.stack([images.select(torch.tensor([i])).floats()[0] for i in range(len(images))]).numpy()


def expected(images: np.ndarray) -> np.ndarray:
    """uint8 (N, C, H, W) as floats from -1 to 1."""
    return images.astype(np.float32) / 127.5 - 1


@pytest.mark.parametrize(
    ("images", "channels_first"),
    [
        (COLOR, FIRST),
        (FIRST, FIRST),
        (torch.from_numpy(FIRST), FIRST),
        (torch.from_numpy(COLOR), FIRST),
        (COLOR[..., 0], COLOR[:, None, :, :, 0]),
        (torch.from_numpy(COLOR[..., 1]), COLOR[:, None, :, :, 1]),
        (COLOR[..., :1], COLOR[:, None, :, :, 0]),
        (FIRST[:, :2], FIRST[:, :2]),
        (np.concatenate([COLOR, COLOR[..., :1]], axis=3), np.concatenate([FIRST, FIRST[:, :1]], axis=1)),
        (list(COLOR), FIRST),
        (tuple(torch.from_numpy(FIRST)), FIRST),
        ([image.tolist() for image in COLOR.astype(float) / 255], FIRST),
        (COLOR[::2, ::-1], FIRST[::2, :, ::-1]),
        (torch.from_numpy(FIRST).to(memory_format=torch.channels_last), FIRST),
    ],
    ids=str,
)
def test_every_layout_gives_the_same_images(images: Collection, channels_first: np.ndarray) -> None:
    found = from_arrays(images)
    assert found.image_shape == channels_first.shape[1:]
    assert len(found) == len(channels_first)
    np.testing.assert_allclose(pixels(found), expected(channels_first), atol=1e-6)
    (notice,) = found.notices
    channels, height, width = channels_first.shape[1:]
    assert str(notice).startswith(
        f"In memory: {len(found)} images of {width}x{height} pixels with {channels} channel(s)"
    )


def test_ambiguous_arrays_are_nhwc_and_tensors_nchw() -> None:
    small = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    assert from_arrays(small).image_shape == (3, 4, 5)
    assert from_arrays(torch.from_numpy(small)).image_shape == (4, 5, 3)


@pytest.mark.parametrize("convert", [np.float16, np.float32, np.float64, np.uint16])
def test_dtypes_keep_the_values(convert: type[np.generic]) -> None:
    is_whole = convert is np.uint16
    images = COLOR.astype(np.uint16) * 257 if is_whole else (COLOR / 255).astype(convert)
    found = from_arrays(images)
    assert found.depth.dtype == ("uint16" if is_whole else "float32")
    np.testing.assert_allclose(pixels(found), expected(FIRST), atol=2e-3 if convert is np.float16 else 1e-6)


@pytest.mark.parametrize(
    ("scale", "shift", "given", "low_high"),
    [
        (1 / 255, 0, None, (0, 1)),
        (2 / 255, -1, None, (-1, 1)),
        (1, 0, (0, 255), (0, 255)),
        (3, -100, (-100.0, 665.0), (-100, 665)),
        (1 / 255, 0, (-1.0, 1.0), (-1, 1)),
    ],
)
def test_floats_have_the_range_that_holds_them_or_the_given_one(
    scale: float, shift: float, given: tuple[float, float] | None, low_high: tuple[float, float]
) -> None:
    values = (COLOR.astype(np.float64) * scale + shift).astype(np.float32)
    found = from_arrays(values, range=given)
    low, high = low_high
    assert (found.depth.low, found.depth.high) == low_high
    np.testing.assert_allclose(pixels(found), (np.moveaxis(values, 3, 1) - low) / (high - low) * 2 - 1, atol=1e-5)
    assert (f"black {low} and white {high}" in str(found.notices[0])) == (low_high != (0, 1))


def test_whole_numbers_with_a_range_are_scaled_by_it() -> None:
    found = from_arrays(np.full((2, 4, 4), 300, np.uint16), range=(100, 500))
    assert pixels(found).tolist() == np.zeros((2, 1, 4, 4)).tolist()


NUMBERS = [0, 1, 2, 0, 1, 2]
WORDS = ["cat", "dog", "eel", "cat", "dog", "eel"]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (NUMBERS, ("0", "1", "2")),
        (np.array(NUMBERS), ("0", "1", "2")),
        (torch.tensor(NUMBERS), ("0", "1", "2")),
        (tuple(np.int64(number) * 5 + 5 for number in NUMBERS), ("5", "10", "15")),
        (WORDS, ("cat", "dog", "eel")),
        (np.array(WORDS), ("cat", "dog", "eel")),
        ({"label": WORDS}, ("cat", "dog", "eel")),
    ],
    ids=str,
)
def test_labels_can_be_numbers_or_strings(labels: object, names: tuple[str, ...]) -> None:
    found = from_arrays(COLOR, labels)  # type: ignore[arg-type]
    assert (found.label_names, found.columns) == (names, ())
    assert found.labels is not None
    assert found.labels.tolist() == NUMBERS


def test_a_missing_label_is_no_class() -> None:
    found = from_arrays(COLOR, ["cat", None, "dog", "cat", None, "dog"])
    assert found.label_names == ("cat", "dog")
    assert found.labels is not None
    assert found.labels.tolist() == [0, -1, 1, 0, -1, 1]


def pairs() -> list[tuple[np.ndarray, str]]:
    return list(zip(COLOR, WORDS, strict=True))


def dataset() -> TensorDataset:
    return TensorDataset(torch.from_numpy(FIRST), torch.tensor(NUMBERS))


@pytest.mark.parametrize("make", [pairs, dataset])
def test_pairs_have_labels_unless_others_are_given(make: Callable[[], Collection]) -> None:
    found = from_arrays(make())
    assert len(found.label_names) == 3
    assert found.labels is not None
    assert found.labels.tolist() == NUMBERS
    np.testing.assert_allclose(pixels(found), expected(FIRST), atol=1e-6)
    assert from_arrays(make(), ["a", "b"] * 3).label_names == ("a", "b")


def test_a_mapping_is_columns_of_numbers_and_classes() -> None:
    ages = [0.5, 1.5, 2.5, np.float32(3.5), torch.tensor(4.5), None]
    found = from_arrays(COLOR, {"age": ages, "kind": WORDS, "flag": [True, False] * 3})
    assert [(column.name, column.size) for column in found.columns] == [("age", 0), ("kind", 3), ("flag", 2)]
    assert found.label_names == ()
    assert found.labels is not None
    assert found.labels.shape == (6, 3)
    assert found.labels[:, 1].tolist() == NUMBERS
    assert found.labels[-1, 0].isnan()
    assert found.labels[:5, 0].diff().tolist() == pytest.approx([1 / 2**0.5] * 4), "deviation of 0.5, 1.5, ... 4.5"


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ([], None, r"there are no images\. Give at least 2"),
        (COLOR.astype(np.int64), None, r"images are int64\. Convert them to uint8"),
        (COLOR > 3, None, r"images are bool\. Convert them"),
        (
            COLOR * 1.0,
            None,
            r"floats from 0 to 255, and black and white are not known\. Give range=",
        ),
        (COLOR * np.nan, None, r"not finite\. Replace them"),
        (np.where(COLOR > 9, np.inf, 0.0), None, r"not finite\. Replace them"),
        (
            np.zeros((4, 8, 8, 5), np.uint8),
            None,
            r"\(4, 8, 8, 5\) are neither .*\. Give 1 to 4 channels",
        ),
        (np.zeros((4, 8), np.uint8), None, r"\(4, 8\) are neither"),
        ([COLOR[0], COLOR[1, 1:]], None, r"image 0 has the shape \(8, 10, 3\) and image 1 \(7, 10, 3\)\. Resize"),
        (COLOR, WORDS[1:], r"5 values of label were given for 6 images\. Give one value per image"),
        (COLOR, {"kind": WORDS, "age": [1.0]}, r"1 values of age were given for 6 images"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_invalid_images_and_labels_are_rejected(images: Collection, labels: list[str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays(images, labels)


SETTINGS = {
    "images": 32,
    "batch": 8,
    "width": 8,
    "multipliers": (1,),
    "blocks": (1,),
    "attention": (),
    "schedule": "linear:timesteps=50",
    "preview_count": 1,
    "preview_steps": 3,
    "validation_count": 10,
}


def train(data: object, out: Path, settings: dict[str, object] | None = None, **rest: object) -> TrainingResult:
    return sf.train(data, out, SETTINGS | (settings or {}), preset="tiny", device="cpu", **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_training_on_arrays_equals_training_on_a_file(dtype: str, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    images[0].flat[:2] = 0, 255
    arrays = images if dtype == "uint8" else images.astype(np.float32) / np.float32(255)
    labels = np.arange(24) % 2
    np.savez(tmp_path / "images.npz", images=arrays, labels=labels)
    results = {
        "file": train(tmp_path / "images.npz", tmp_path / "file"),
        "loaded": train(sf.load_images(tmp_path / "images.npz"), tmp_path / "loaded"),
        "arrays": train(arrays, tmp_path / "arrays", labels=labels),
        "tensors": train(torch.from_numpy(np.moveaxis(arrays, 3, 1).copy()), tmp_path / "tensors", labels=labels),
    }
    losses = {name: [line.get("loss") for line in read_metrics(tmp_path / name)] for name in results}
    assert losses["file"] == losses["loaded"] == losses["arrays"] == losses["tensors"]
    assert len(losses["file"]) > 1
    for result in results.values():
        assert result.model.label_names == ("0", "1")
        torch.testing.assert_close(result.model.state_dict(), results["file"].model.state_dict(), rtol=0, atol=0)


def test_a_run_on_arrays_resumes_with_the_same_images_only(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    train(images, tmp_path / "run", should_stop=lambda: True)
    assert train(images, tmp_path / "run").share == 1
    with pytest.raises(RunError, match="pixels of the images"):
        train(255 - images, tmp_path / "run")


@pytest.mark.parametrize(
    ("data", "settings", "labels", "message"),
    [
        (COLOR, {"size": 16}, None, r"size cannot be applied to images in memory\. Leave it out, or train on a source"),
        (COLOR, {"condition": ("age",), "fit": "pad"}, None, r"fit, condition cannot be applied to images in memory"),
        ("digits", {}, NUMBERS, r"labels can be given for images in memory only, not for a source\. Leave labels out"),
        (from_arrays(COLOR), {}, WORDS, r"labels or a range were given for an ImageSet, which contains both"),
        (from_arrays(COLOR), {"range": (0, 1)}, None, r"labels or a range were given for an ImageSet"),
    ],
)
def test_settings_that_do_not_apply_are_rejected(
    data: object, settings: dict[str, object], labels: list[object] | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(data, tmp_path / "run", settings, labels=labels)


def test_a_registered_source_is_found_by_its_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def source(name: str) -> ImageSet:
        asked.append(name)
        return from_arrays(np.random.default_rng(2).integers(0, 256, (24, 8, 8), dtype=np.uint8), ["a", "b"] * 12)

    monkeypatch.setitem(SOURCES, "mydb", source)
    assert sf.load_images("mydb:cats/and:dogs").label_names == ("a", "b")
    assert sf.load_images("mydb:", labels=False).label_names == ()
    assert asked == ["cats/and:dogs", ""]
    result = train("mydb:cats", tmp_path / "run")
    assert (result.model.label_names, result.config.source) == (("a", "b"), "mydb:cats")
    with pytest.raises(DataError):
        sf.load_images("otherdb:cats")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 16}, r"--size cannot be applied to the data source mydb:x, whose images are 8x8 pixels with 1 chan"),
        ({"channels": "rgb", "pages": "images"}, "--channels, --pages cannot be applied"),
        (
            {"split": "train", "range": (0, 1), "nodata": 3, "name_encoding": "gbk"},
            "--split, --range, --nodata, --name",
        ),
        ({"condition": ["age"]}, r"--condition cannot be applied to the data source mydb:x\. Leave it out"),
    ],
)
def test_options_that_a_registered_source_ignores_are_rejected(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "mydb", lambda _: from_arrays(COLOR[:, :, :8, 0]))
    with pytest.raises(ConfigError, match=message):
        sf.load_images("mydb:x", **options)
    assert len(sf.load_images("mydb:x", size=8, channels="grey", range=(0, 255), split="all")) == 6


def test_a_registered_source_must_return_an_image_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "mydb", lambda _: COLOR)
    with pytest.raises(DataError, match=r"'mydb' returned a ndarray instead of an ImageSet\. Return .*from_arrays"):
        sf.load_images("mydb:x")


def test_options_that_digits_do_not_satisfy_are_rejected() -> None:
    with pytest.raises(ConfigError, match="--pages, --nodata cannot be applied to the data source digits"):
        sf.load_images("digits", pages="first", nodata=0)
