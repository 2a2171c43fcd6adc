"""`load_images` and `load_files`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from images import noise, npy, png, tiff, write
from sfumato.data import load_files, load_images
from sfumato.data.sources import ChannelChoice, Fit, Size, memory_limit
from sfumato.errors import ConfigError, DataError
from sfumato.utils.depth import SIXTEEN_BITS, Depth

Save = Callable[..., Path]


def test_a_folder_of_images_of_one_size_is_loaded(save: Save, tmp_path: Path) -> None:
    for number in (2, 0, 1):
        save(f"{number}.png", size=(6, 4), colour=(number, 10, 20))
    images = load_images(tmp_path)
    assert images.images.dtype == torch.uint8
    assert images.images.is_contiguous()
    assert images.image_shape == (3, 4, 6)
    assert images.images[:, :, 0, 0].tolist() == [[0, 10, 20], [1, 10, 20], [2, 10, 20]]
    assert images.labels is None
    assert images.notices == ()


def test_pixels_keep_their_positions(tmp_path: Path) -> None:
    pixels = torch.randint(256, (2, 3, 5, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    assert torch.equal(load_images(tmp_path).images, pixels)


def test_the_source_can_be_a_string(save: Save, tmp_path: Path) -> None:
    save("a.png")
    save("b.png")
    assert len(load_images(str(tmp_path))) == 2


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("RGB", 3), ("RGBA", 4), ("LA", 4)])
def test_the_channels_are_those_of_the_files(save: Save, tmp_path: Path, mode: str, channels: int) -> None:
    save("a.png", mode)
    save("b.png", mode)
    images = load_images(tmp_path)
    assert images.image_shape == (channels, 8, 8)
    assert not any(notice.matters for notice in images.notices)


def test_other_channels_are_converted_to_the_most_common_ones(save: Save, tmp_path: Path) -> None:
    save("a.png", "L", colour=7)
    save("b.png", "RGBA")
    for name in "cde":
        save(f"{name}.png", "RGB")
    images = load_images(tmp_path)
    assert images.images[:2, :, 0, 0].tolist() == [[7, 7, 7], [255, 255, 255]]
    assert tuple(notice.text for notice in images.notices) == (
        "1 of 5 images were converted from grey to RGB.",
        "1 of 5 images were converted from RGBA to RGB.",
    )


@pytest.mark.parametrize(("channels", "depth"), [("grey", 1), ("rgb", 3), ("rgba", 4)])
def test_requested_channels_give_no_notice(save: Save, tmp_path: Path, channels: ChannelChoice, depth: int) -> None:
    save("a.png", "L")
    save("b.png", "RGB")
    images = load_images(tmp_path, channels=channels)
    assert images.image_shape[0] == depth
    assert images.notices == ()


def test_class_folders_give_labels(save: Save, tmp_path: Path) -> None:
    for name in ("9/a.png", "9/b.png", "10/a.png", "10/b.png"):
        save(name)
    images = load_images(tmp_path)
    assert images.label_names == ("9", "10")
    assert images.labels is not None
    assert images.labels.dtype == torch.int64
    assert images.labels.tolist() == [1, 1, 0, 0]


def test_labels_can_be_disabled(save: Save, tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        save(name)
    images = load_images(tmp_path, labels=False)
    assert images.labels is None
    assert images.label_names == ()
    assert images.notices == ()


def test_a_class_with_one_readable_image_is_rejected(save: Save, tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        save(name)
    (tmp_path / "b" / "2.png").write_text("no image")
    with pytest.raises(DataError, match="only 1 in: b"):
        load_images(tmp_path)


def test_a_class_without_readable_images_is_dropped(save: Save, tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "c/1.png", "c/2.png"):
        save(name)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.png").touch()
    images = load_images(tmp_path)
    assert images.label_names == ("a", "c")
    assert tuple(map(str, images.notices)) == (
        "1 of 5 images was skipped: b/1.png (the file is empty).",
        "Classes without any readable image were dropped: b.",
    )


def test_images_are_resized_to_the_requested_size(save: Save, tmp_path: Path) -> None:
    save("a.png", size=(20, 10))
    save("b.png", size=(3, 5))
    assert load_images(tmp_path, size=16).image_shape == (3, 16, 16)


@pytest.mark.parametrize("size", [(16, 8), [16, 8], "16x8"])
def test_a_size_can_be_a_pair(size: Size) -> None:
    assert load_images("digits", size=size).image_shape == (1, 8, 16)


def test_sizes_are_compared_after_the_orientation_is_applied(save: Save, tmp_path: Path) -> None:
    save("a.png", size=(8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("b.jpg", "c.tif"):
        Image.new("RGB", (16, 8)).save(tmp_path / name, exif=exif)
    assert load_images(tmp_path).image_shape == (3, 16, 8)


@pytest.mark.parametrize(("side", "suggestion"), [(300, 64), (64, 64), (63, 32), (9, 8), (2, 4)])
def test_different_sizes_are_rejected_with_a_suggested_size(
    save: Save, tmp_path: Path, side: int, suggestion: int
) -> None:
    for number in range(3):
        save(f"{number}.png", size=(side, side + 1))
    save("3.png", size=(side, side))
    with pytest.raises(DataError) as caught:
        load_images(tmp_path)
    assert f"2 different sizes (most often: 3 of {side} x {side + 1}, 1 of {side} x {side} pixels)" in str(caught.value)
    assert caught.value.remedy.endswith(f"--size {suggestion}.")


def test_different_sizes_are_rejected_before_decoding(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a.png", size=(8, 8))
    save("b.png", size=(8, 9))
    monkeypatch.delattr("sfumato.data.cache.build.convert_image")
    with pytest.raises(DataError, match="2 different sizes"):
        load_images(tmp_path)


def test_the_three_most_common_sizes_are_listed(save: Save, tmp_path: Path) -> None:
    for side in (5, 6, 7, 8):
        for number in range(side):
            save(f"{side}-{number}.png", size=(side, side))
    with pytest.raises(DataError, match=r"4 different sizes \(most often: 8 of 8 x 8, 7 of 7 x 7, 6 of 6 x 6 pixels\)"):
        load_images(tmp_path)


def test_unreadable_files_are_listed_by_reason(save: Save, tmp_path: Path) -> None:
    save("y.png")
    save("z.png")
    for number in range(7):
        (tmp_path / f"{number}.png").touch()
    (tmp_path / "0.png").write_text("no image")
    (notice,) = map(str, load_images(tmp_path).notices)
    assert notice == (
        "7 of 9 images were skipped: 0.png (it is not an image that can be read), "
        "1.png, 2.png, 3.png and 3 more (the file is empty)."
    )


def test_a_decompression_bomb_is_skipped_without_a_warning(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    for name in ("a.png", "b.png"):
        save(name)
    save("c.png", size=(10, 10))
    monkeypatch.setattr(memory_limit, "MANY_PIXELS", 99)
    monkeypatch.setattr(memory_limit, "PIXELS_A_BYTE", 0)
    (notice,) = map(str, load_images(tmp_path).notices)
    assert notice.startswith("1 of 3 images was skipped: c.png (its header declares 0 megapixels in a file of ")
    assert not recwarn.list


def test_a_file_without_permission_is_skipped(save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        save(f"{name}.png")
    permitted = os.open

    def refuse(path: Path, *args: object, **options: object) -> object:
        if str(path).endswith("c.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return permitted(path, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "open", refuse)
    assert tuple(map(str, load_images(tmp_path).notices)) == ("1 of 3 images was skipped: c.png (permission denied).",)


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder .*gone\. Give a folder of .*, or digits or shapes\."):
        load_images(tmp_path / "gone")


@pytest.mark.parametrize("name", ["x" * 5000, "x\0y"])
def test_an_invalid_path_is_rejected(name: str) -> None:
    with pytest.raises(DataError, match="no file or folder"):
        load_images(name)


def test_an_image_file_instead_of_a_folder(save: Save) -> None:
    with pytest.raises(DataError, match=r"is a single image\. Give a folder with at least 2 images"):
        load_images(save("a.png"))


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="holds no images"):
        load_images(tmp_path)


def test_a_folder_without_readable_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(DataError, match=r"None of the 2 images in the folder .*: a\.png \(the file is empty\), b\.png"):
        load_images(tmp_path)


def test_a_single_image(save: Save, tmp_path: Path) -> None:
    save("a.png")
    with pytest.raises(DataError, match=r"Only 1 image can be read .* at least 2 are needed"):
        load_images(tmp_path)


def test_a_single_readable_image_is_rejected_with_reasons(save: Save, tmp_path: Path) -> None:
    save("a.png")
    (tmp_path / "b.png").touch()
    with pytest.raises(DataError, match=r"1 cannot be read: b\.png \(the file is empty\)"):
        load_images(tmp_path)


def test_images_that_are_too_small(save: Save, tmp_path: Path) -> None:
    for name in "ab":
        save(f"{name}.png", size=(9, 3))
    with pytest.raises(DataError, match="9 x 3 pixels, but at least 4 a side"):
        load_images(tmp_path)


@pytest.mark.parametrize("source", ["digits", "anywhere"])
@pytest.mark.parametrize("size", [-1, "-8", 0, 3, "3", "3x64", (64, 3), 99999, "64x99999"])
def test_a_size_that_is_too_small_or_too_large(source: str, size: Size) -> None:
    with pytest.raises(ConfigError, match=r"--size .* is too small or too large\. Choose 4 to 16384 pixels a side"):
        load_images(source, size=size)


@pytest.mark.parametrize("size", ["", "x", "64x", "x64", "6 4", "64x64x64", "8.5", "9" * 20])
def test_text_that_is_not_a_size(size: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a size\. Give a side such as 64, or width and height such as 64x96"):
        load_images("digits", size=size)


@pytest.mark.parametrize("size", ["8x4", "8X4", "8×4", (8, 4)])
def test_a_size_is_width_and_then_height(save: Save, tmp_path: Path, size: Size) -> None:
    save("a.png", size=(20, 10))
    save("b.png", size=(3, 5))
    assert load_images(tmp_path, size=size).image_shape == (3, 4, 8)


@pytest.mark.parametrize(("fit", "corner"), [("crop", 99), ("pad", 0), ("resize", 99)])
def test_the_fit_is_applied(save: Save, tmp_path: Path, fit: Fit, corner: int) -> None:
    for name in ("a.png", "b.png"):
        save(name, "L", size=(20, 10), colour=99)
    images = load_images(tmp_path, size=8, fit=fit).images
    assert images.shape == (2, 1, 8, 8)
    assert images[0, 0, 0, 0] == corner
    assert images[0, 0, 4, 4] == 99


@pytest.mark.usefixtures("unchecked")
def test_unknown_channels() -> None:
    with pytest.raises(ConfigError, match=r"--channels cmyk is unknown\. Choose one of auto, grey, rgb, rgba, bands"):
        load_images("digits", channels="cmyk")  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["klingon", "a\0b", "\udcff"])
def test_an_unknown_name_encoding(encoding: str) -> None:
    with pytest.raises(ConfigError, match=r"--name-encoding .* is unknown"):
        load_images("digits", name_encoding=encoding)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_fit() -> None:
    with pytest.raises(ConfigError, match=r"--fit squeeze is unknown\. Choose one of crop, pad, resize"):
        load_images("digits", fit="squeeze")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_every_bit_depth_and_number_of_channels_is_kept_exactly(tmp_path: Path, dtype: str, channels: int) -> None:
    pixels = noise(3, 6, 7, channels, dtype=dtype)
    layout = {} if channels == 1 else {"planarconfig": "contig"}
    for number, image in enumerate(pixels):
        (tmp_path / f"{number}.tif").write_bytes(tiff(image.squeeze(), photometric="minisblack", **layout))
    images = load_images(tmp_path)
    assert images.depth.dtype == dtype
    assert torch.equal(images.images, torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    assert [notice.topic for notice in images.notices] == (["channels"] if channels == 4 else [])


def test_other_bit_depths_are_converted_to_the_most_common_one(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(png(noise(4, 4, dtype="uint16")))
    (tmp_path / "c.png").write_bytes(png(np.full((4, 4), 255, np.uint8)))
    images = load_images(tmp_path)
    assert images.depth == SIXTEEN_BITS
    assert (images.images[2] == 65535).all()
    assert tuple(map(str, images.notices)) == ("1 of 3 images were converted from 8 bits to 16 bits.",)


@pytest.mark.parametrize(
    ("low", "high", "range_"), [(0.1, 0.9, (0, 1)), (-0.5, 0.9, (-1, 1)), (-3, 7, (-3, 7)), (0.5, 300, (0.5, 300))]
)
def test_floats_have_a_suitable_range(tmp_path: Path, low: float, high: float, range_: tuple[float, float]) -> None:
    images = np.stack([np.full((4, 5), value, np.float32) for value in (high, low, (low + high) / 2)])
    np.save(tmp_path / "x.npy", images)
    loaded = load_images(tmp_path / "x.npy")
    assert (loaded.depth.low, loaded.depth.high) == pytest.approx(range_)
    assert torch.equal(loaded.images[:, 0], torch.from_numpy(images))


def test_files_are_converted_to_the_format_of_the_model(save: Save) -> None:
    paths = [save("a.png", size=(20, 10), colour=(255, 0, 0)), save("b.png", "L", size=(3, 5), colour=255)]
    loaded = load_files(paths, (3, 4, 8), Depth())
    assert loaded.dtype == torch.float32
    assert loaded[:, :, 1, 1].tolist() == [[1, -1, -1], [1, 1, 1]]
    assert load_files(paths, (1, 4, 4), SIXTEEN_BITS)[1].unique().tolist() == [1]


def test_a_file_that_cannot_be_loaded_is_reported(save: Save, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(DataError, match=r"b\.png cannot be read: it is not an image .*\. Give an image"):
        load_files([save("a.png"), tmp_path / "b.png"], (3, 4, 4), Depth())


def test_an_8_bit_file_uses_its_full_range_for_a_model_of_floats(save: Save) -> None:
    paths = [save("black.png", "L", size=(5, 4), colour=0), save("white.png", "L", size=(5, 4), colour=255)]
    loaded = load_files(paths, (1, 4, 5), Depth("float32", -20.0, 80.0))
    assert loaded[:, 0, 0, 0].tolist() == [-1, 1]


def test_8_bit_images_among_floats_of_another_range_are_skipped(tmp_path: Path) -> None:
    floats = {f"{n}.npy": npy(np.full((4, 5), 100.0 * n, np.float32)) for n in range(3)}
    loaded = load_images(write(tmp_path / "x", floats | {"a.png": png(noise(4, 5))}))
    assert len(loaded) == 3
    assert "a.png (it has 8 bits, and the others have floats from 0 to 255)" in loaded.notices[0].text


def test_the_depth_records_opacity(tmp_path: Path) -> None:
    four = [noise(6, 6, 4, seed=seed) for seed in range(2)]
    folder = write(tmp_path / "x", {f"{number}.png": png(image) for number, image in enumerate(four)})
    np.save(tmp_path / "x.npy", np.stack(four))
    assert load_images(folder).depth.opacity
    assert not load_images(folder, channels="bands").depth.opacity
    assert not load_images(tmp_path / "x.npy").depth.opacity
    assert load_images(tmp_path / "x.npy", channels="rgba").depth.opacity


def test_folders_are_not_a_column_if_an_image_is_outside_them(tmp_path: Path) -> None:
    names = ("a/0.png", "a/1.png", "b/0.png", "b/1.png")
    write(tmp_path, {name: png(noise(6, 6, seed=seed)) for seed, name in enumerate(names)})
    assert load_images(tmp_path, condition=["label"]).label_names == ("a", "b")
    write(tmp_path, {"beside.png": png(noise(6, 6, seed=9))})
    with pytest.raises(DataError, match="there is no column 'label'; the columns are: none"):
        load_images(tmp_path, condition=["label"])
