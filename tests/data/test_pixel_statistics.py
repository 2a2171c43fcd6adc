"""Pixel statistics: value ranges, missing data and label masks."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from images import noise, png
from sfumato.data import RangeChoice, load_images
from sfumato.data.cache.convert import convert_dtype, fill_nodata
from sfumato.data.cache.pixel_statistics import Range, choose_range, dataset_statistics, image_statistics, mask_labels
from sfumato.data.sources import BadImageError
from sfumato.data.sources.pixel_arrays import Dtype
from sfumato.errors import ConfigError


def ramps(count: int, low: float, high: float, dtype: str = "float32") -> np.ndarray:
    """Images (count, 40, 40, 1) with evenly spaced values from low to high."""
    return np.linspace(low, high, 1600).reshape(1, 40, 40, 1).repeat(count, axis=0).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "expected"),
    [
        ("uint8", 0, 255, (0, 255)),
        ("uint8", 30, 90, (0, 255)),
        ("uint16", 0, 65535, (0, 65535)),
        ("uint16", 0, 40000, (0, 65535)),
        ("uint16", 0, 4088, (0, 4088)),
        ("uint16", 200, 3000, (200, 3000)),
        ("float32", 0, 1, (0, 1)),
        ("float32", 0.1, 0.7, (0, 1)),
        ("float32", -1, 1, (-1, 1)),
        ("float32", -0.25, 0.75, (-1, 1)),
        ("float32", -0.02, 0.99, (-0.02, 0.99)),
        ("float32", -0.02, 1.03, (-0.02, 1.03)),
        ("float32", 0, 255, (0, 255)),
        ("float32", 0, 100, (0, 100)),
        ("float32", -1000, 3000, (-1000, 3000)),
        ("float32", 0, 0, (0, 1)),
        ("float32", 300, 300, (300, 301)),
    ],
)
def test_the_range_follows_from_the_values(dtype: Dtype, low: float, high: float, expected: Range) -> None:
    assert choose_range(dtype, [image_statistics(image) for image in ramps(5, low, high, dtype)]) == pytest.approx(
        expected
    )


@pytest.mark.parametrize(
    ("dtype", "value", "flag"),
    [
        ("uint16", 65535, "--nodata 65535"),
        ("float32", 65535, "--nodata 65535"),
        ("float32", -3.4028235e38, "--nodata -3.4028235e+38"),
        ("float32", -3.4e38, "--nodata -3.4e+38"),
        ("float32", 1e20, "--nodata 1e+20"),
        ("float32", -9999.9, "--nodata -9999.9"),
        ("float32", -9999, "--nodata -9999"),
        ("int16", -32768, "--nodata -32768"),
        ("float32", 5000, None),
        ("uint16", 0, None),
    ],
)
def test_an_isolated_extreme_value_is_reported_and_can_be_filled(
    dtype: str, value: float, flag: str | None, tmp_path: Path
) -> None:
    pixels = ramps(4, 200, 3000, dtype)
    pixels[1:, :4] = value
    path = saved(tmp_path, pixels)
    said = [notice for notice in load_images(path, cache=tmp_path).notices if notice.topic == "nodata"]
    assert [notice.flag for notice in said] == ([flag] if flag else [])
    if flag:
        nodata = float(flag.removeprefix("--nodata "))
        images = load_images(path, nodata=nodata, cache=tmp_path)
        assert images.depth.range == (200, 3000)
        rest = pixels[1, 4:].mean(dtype=np.float64)
        assert images.images[1:, :, :4].numpy() == pytest.approx(rest, abs=0.5)


def test_clipped_hot_pixels_are_not_missing_data(tmp_path: Path) -> None:
    pixels = ramps(20, 200, 3000, "uint16")
    pixels[3, 5, 5] = 65535
    images = load_images(saved(tmp_path, pixels), cache=tmp_path)
    assert images.depth.range == (200, 3000)
    assert not [notice for notice in images.notices if notice.topic == "nodata"]


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("uint16", 65535, (0, 4000)),
        ("float32", 1e6, (0, 4000)),
        ("float32", -1e6, (0, 4000)),
        ("float32", 5000, (0, 5000)),
    ],
)
def test_hot_pixels_do_not_affect_the_range(dtype: Dtype, value: float, expected: Range) -> None:
    images = ramps(20, 0, 4000, dtype)
    images[3, 5, 5] = images[7, 2, 2] = value
    found = choose_range(dtype, [image_statistics(image) for image in images])
    assert found == expected


def test_a_single_unusual_image_does_not_affect_the_range() -> None:
    images = ramps(40, 0, 4000)
    images[11] *= 1000
    assert choose_range("float32", [image_statistics(image) for image in images]) == (0, 4000)


def test_many_bright_images_affect_the_range() -> None:
    images = ramps(40, 0, 100)
    images[::4] *= 1000
    assert choose_range("float32", [image_statistics(image) for image in images]) == (0, 100_000)


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([[np.nan, 2.0], [4.0, 6.0]], [[4.0, 2.0], [4.0, 6.0]]),
        ([[-9999.0, 2.0], [4.0, np.inf]], [[3.0, 2.0], [4.0, 3.0]]),
        ([[1.0, 2.0], [4.0, 6.0]], [[1.0, 2.0], [4.0, 6.0]]),
    ],
)
def test_missing_pixels_become_the_mean_of_the_others(gaps: list[list[float]], expected: list[list[float]]) -> None:
    image = np.array(gaps, np.float32)[:, :, None]
    whole, share = fill_nodata(np.concatenate([image, np.ones_like(image)], axis=2), -9999)
    assert whole[:, :, 0].tolist() == expected
    assert whole.dtype == np.float32
    assert share == (~np.isfinite(image) | (image == -9999)).sum() / 8


def test_missing_integers_become_the_rounded_channel_mean() -> None:
    image = np.array([[[0, 9], [7, 9]], [[8, 9], [8, 0]]], np.uint16)
    assert fill_nodata(image, 0)[0].tolist() == [[[8, 9], [7, 9]], [[8, 9], [8, 9]]]
    assert fill_nodata(image, 0.5)[0] is image
    assert fill_nodata(image, -1)[0] is image


def test_an_image_without_data_is_rejected() -> None:
    with pytest.raises(BadImageError, match="has no data"):
        fill_nodata(np.full((4, 4, 1), np.nan, np.float32), None)


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        (np.arange(4096).reshape(64, 64, 1) % 4, (0, 1, 2, 3)),
        (np.arange(4096).reshape(64, 64, 1) % 40, None),
        (np.arange(16).reshape(4, 4, 1) % 4, None),
        (np.zeros((64, 64, 3), int), None),
    ],
    ids=["a mask", "many values", "few pixels", "RGB"],
)
def test_few_integers_in_one_channel_are_a_label_mask(image: np.ndarray, labels: tuple[int, ...] | None) -> None:
    assert mask_labels(image.astype(np.uint8)) == labels
    assert mask_labels(image.astype(np.uint16)) == labels
    assert mask_labels(image.astype(np.float32)) is None


def saved(folder: Path, images: np.ndarray) -> Path:
    np.save(folder / "images.npy", images)
    return folder / "images.npy"


@pytest.mark.parametrize(
    ("range", "expected", "said"),
    [
        ("auto", (200, 3000), "Values from 200 to 3,000 are taken as black and white."),
        ((0, 2000), (0, 2000), "Values from 0 to 2,000 are taken as black and white. Others, from 200 to 3,000, are"),
        ((0, 4000), (0, 4000), "Values from 0 to 4,000 are taken as black and white."),
    ],
)
def test_the_range_is_reported_and_can_be_set(range: RangeChoice, expected: Range, said: str, tmp_path: Path) -> None:
    images = load_images(saved(tmp_path, ramps(4, 200, 3000, "uint16")), range=range, cache=tmp_path)
    assert images.depth.range == expected
    assert images.notices[0].text.startswith(said)
    assert images.notices[0].flag == "--range LOW HIGH"
    low, high = expected
    floats = ramps(1, 200, 3000, "uint16").ravel().astype(float)
    exact = np.clip((floats - low) / (high - low) * 2 - 1, -1, 1)
    assert np.abs(images.floats()[0].numpy().ravel() - exact).max() < 1e-6


def test_the_range_does_not_depend_on_the_size(tmp_path: Path) -> None:
    chequered = np.indices((3, 40, 40, 1)).sum(axis=0) % 2 * 4000
    images = load_images(saved(tmp_path, chequered.astype(np.uint16)), size=20, cache=tmp_path)
    assert images.depth.range == (0, 4000)
    assert images.images.float().std() < 100


def test_another_range_does_not_decode_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, ramps(4, 200, 3000, "uint16"))
    load_images(path, cache=tmp_path)
    monkeypatch.setattr("sfumato.data.cache.store.build", None)
    assert load_images(path, cache=tmp_path, range=(0, 10)).depth.range == (0, 10)


@pytest.mark.parametrize("range", [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_an_invalid_range_is_rejected(range: RangeChoice, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--range"):
        load_images(tmp_path, range=range)


def test_label_masks_are_reported_and_have_their_own_range(tmp_path: Path) -> None:
    masks = (np.arange(4096).reshape(1, 64, 64, 1) // 100 % 4).repeat(3, axis=0).astype(np.uint8)
    images = load_images(saved(tmp_path, masks), cache=tmp_path)
    assert images.depth.range == (0, 3)
    assert "only the values 0, 1, 2, 3, as label masks have" in images.notices[1].text


@pytest.mark.parametrize(("white", "kept"), [(4095, 3), (65535, 5)])
def test_12_bit_images_among_8_bit_images_are_skipped(white: int, kept: int, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"8_{number}.png").write_bytes(png(noise(40, 40)))
    for number, image in enumerate(ramps(2, 0, white, "uint16")):
        (tmp_path / f"16_{number}.png").write_bytes(png(image[:, :, 0]))
    images = load_images(tmp_path)
    assert len(images) == kept
    said = "16_0.png, 16_1.png (it has 16 bits, of which all such images use only 6.3%, and the others have 8 bits"
    assert (said in images.notices[0].text) == (white == 4095)


@pytest.mark.parametrize(("white", "dark"), [(255, 4), (1, 0), (2, 0)])
def test_images_from_0_to_1_among_brighter_ones_are_counted(white: float, dark: int, tmp_path: Path) -> None:
    images = ramps(8, 0, 1)
    images[::2] *= white
    said = [notice.text for notice in load_images(saved(tmp_path, images), cache=tmp_path).notices]
    assert [text for text in said if "nearly black" in text] == (
        [f"{dark} images have values from 0 to 1 only, and are nearly black in the range of the others."] * bool(dark)
    )


def test_black_and_white_drawings_are_not_label_masks(tmp_path: Path) -> None:
    drawings = (noise(3, 40, 40, 1) > 127).astype(np.uint8) * np.uint8(255)
    assert load_images(saved(tmp_path, drawings), cache=tmp_path).notices == ()


def test_filled_pixels_are_counted(tmp_path: Path) -> None:
    images = ramps(4, 0.1, 1)
    images[0, :10] = np.nan
    loaded = load_images(saved(tmp_path, images), cache=tmp_path)
    assert loaded.notices[0].text.startswith("Pixels without data (6.25% of all, in 1 images)")
    assert len(loaded) == 4
    assert np.abs(loaded.images[0, 0, :10].numpy() - float(images[0, 10:].mean())).max() < 1e-6


def test_a_common_nodata_value_is_reported_and_can_be_set(tmp_path: Path) -> None:
    images = ramps(4, 1, 800)
    images[:, :10] = -9999
    path = saved(tmp_path, images)
    suspected = load_images(path, cache=tmp_path)
    assert suspected.depth.range == (-9999, 800)
    assert [notice.flag for notice in suspected.notices] == ["--range LOW HIGH", "--nodata -9999"]
    assert load_images(path, nodata=-9999, cache=tmp_path).depth.low > 0


def test_images_of_another_depth_are_skipped_in_an_unusual_range(tmp_path: Path) -> None:
    for number, image in enumerate(ramps(3, 0, 4088, "uint16")):
        (tmp_path / f"{number}.png").write_bytes(png(image[:, :, 0]))
    (tmp_path / "8.png").write_bytes(png(noise(40, 40)))
    images = load_images(tmp_path)
    assert len(images) == 3
    assert "8.png (it has 8 bits, and the others have 16 bits from 0 to 4088)" in images.notices[1].text


def test_outliers_are_counted_and_do_not_exclude_their_image() -> None:
    """99.9 % of the pixels of the image with the hot pixel are at most 4095."""
    images = ramps(20, 0, 4000)
    images[3] = np.linspace(0, 4100, 1600).reshape(40, 40, 1)
    images[3, -1, -1], images[7, 0, 0] = 1e6, -1e6
    found = dataset_statistics("float32", [image_statistics(image) for image in images])
    assert found.range == (0, pytest.approx(4095, abs=1))
    assert (found.low, found.high, found.outside) == (-1e6, 1e6, 2)


def test_one_image_with_many_values_excludes_label_masks() -> None:
    masks = np.arange(2000, dtype=np.uint8).reshape(5, 20, 20, 1) % 4
    photo = (np.arange(400) % 99).astype(np.uint8).reshape(20, 20, 1)
    assert dataset_statistics("uint8", [image_statistics(mask) for mask in masks]).labels == (0, 1, 2, 3)
    assert dataset_statistics("uint8", [image_statistics(image) for image in [*masks, photo]]).labels is None


@pytest.mark.parametrize(
    ("dtype", "kept", "most"), [("uint8", "uint8", 0.5), ("uint16", "uint16", 2.0), ("uint16", "uint8", 1.5)]
)
def test_the_statistics_of_a_large_image_need_little_memory(dtype: Dtype, kept: Dtype, most: float) -> None:
    """Memory in addition to the image, as a multiple of its size."""
    image = np.zeros((3000, 3000, 1), dtype)
    image[::2] = np.iinfo(dtype).max
    tracemalloc.start()
    values = image_statistics(convert_dtype(image, kept))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values.high > values.low == 0
    assert peak < most * image.nbytes + 10_000_000
