"""One file to pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sfumato.data.decode import Channels, Unreadable, decode, fit, native_channels, to_array, upright_size

Save = Callable[..., Path]


def pixels(path: Path, channels: Channels = "rgb", size: int | None = None) -> np.ndarray:
    image = decode(path, size)
    assert isinstance(image, Image.Image), image
    return to_array(image, channels)


def reason(path: Path) -> str:
    """Why neither the size nor the pixels of a file can be read."""
    outcome = decode(path, None)
    assert isinstance(outcome, Unreadable)
    assert outcome.path == path
    return outcome.reason


@pytest.mark.parametrize(
    ("name", "mode", "colour", "native", "expected"),
    [
        ("x.png", "1", 1, "grey", [255]),
        ("x.png", "L", 77, "grey", [77]),
        ("x.png", "LA", (77, 5), "rgba", [77, 77, 77, 5]),
        ("x.png", "RGB", (1, 2, 3), "rgb", [1, 2, 3]),
        ("x.png", "RGBA", (1, 2, 3, 4), "rgba", [1, 2, 3, 4]),
        ("x.tif", "CMYK", (0, 255, 255, 0), "rgb", [255, 0, 0]),
        ("x.tif", "YCbCr", (200, 128, 128), "rgb", [200, 200, 200]),
        ("x.png", "I;16", 65535, "grey", [255]),
        ("x.tif", "I;16B", 300, "grey", [1]),
        ("x.tif", "I", 65535, "grey", [255]),
    ],
)
def test_every_mode_becomes_eight_bits(
    save: Save, name: str, mode: str, colour: object, native: Channels, expected: list[int]
) -> None:
    image = decode(save(name, mode, colour=colour), None)
    assert isinstance(image, Image.Image)
    assert native_channels(image) == native
    array = to_array(image, native)
    assert array.dtype == np.uint8
    assert array.shape == (8, 8, len(expected))
    assert (array == expected).all()


def test_lab_becomes_rgb_within_the_rounding_of_its_colours(save: Save) -> None:
    assert pixels(save("x.tif", "LAB", colour=(255, 128, 128))).min() >= 253


def test_sixteen_bits_scale_to_the_nearest_of_eight(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65406, 65407, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert pixels(tmp_path / "x.png", "grey").ravel().tolist() == [0, 0, 1, 1, 128, 254, 255, 255]


@pytest.mark.parametrize("colour", [-1, 65536])
def test_grey_values_beyond_sixteen_bits_are_refused(save: Save, colour: int) -> None:
    assert "outside 0..65535" in reason(save("x.tif", "I", colour=colour))


def test_float_pixels_are_refused(save: Save) -> None:
    assert "floating-point" in reason(save("x.tif", "F"))


def test_a_palette_becomes_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (10, 20, 30)).quantize(2).save(tmp_path / "x.png")
    image = decode(tmp_path / "x.png", None)
    assert isinstance(image, Image.Image)
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize(("mode", "transparent"), [("P", 0), ("P", b"\x00"), ("L", 0), ("RGB", (0, 0, 0))])
def test_a_transparent_colour_becomes_rgba(tmp_path: Path, mode: str, transparent: object) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "x.png", transparency=transparent)
    assert pixels(tmp_path / "x.png", "rgba")[0, 0].tolist() == [0, 0, 0, 0]


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), colour) for colour in (10, 200)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / "x.gif", "grey")[0, 0] == 10


@pytest.mark.parametrize(
    ("native", "colour", "wanted", "expected"),
    [
        ("L", 50, "rgb", [50, 50, 50]),
        ("L", 50, "rgba", [50, 50, 50, 255]),
        ("RGB", (255, 0, 0), "grey", [76]),
        ("RGB", (1, 2, 3), "rgba", [1, 2, 3, 255]),
        ("RGBA", (255, 0, 0, 255), "rgb", [255, 0, 0]),
        ("RGBA", (0, 0, 0, 51), "rgb", [204, 204, 204]),
        ("RGBA", (0, 0, 0, 0), "rgb", [255, 255, 255]),
        ("RGBA", (0, 0, 0, 51), "grey", [204]),
    ],
)
def test_channels_are_converted_and_transparency_lies_on_white(
    native: str, colour: int | tuple[int, ...], wanted: Channels, expected: list[int]
) -> None:
    array = to_array(Image.new(native, (3, 2), colour), wanted)
    assert array.shape == (2, 3, len(expected))
    assert array[0, 0].tolist() == expected


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif", "x.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path: Path, name: str, orientation: int) -> None:
    stored = Image.new("L", (32, 16))
    stored.paste(255, (0, 0, 16, 8))  # the top left quarter is white
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.convert("RGB").save(tmp_path / name, exif=exif)

    shown = pixels(tmp_path / name, "grey")
    height, width, _ = shown.shape
    assert upright_size(tmp_path / name) == (width, height) == ((32, 16) if orientation <= 4 else (16, 32))
    corner = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}[orientation]
    row = height // 4 if corner[0] == "t" else 3 * height // 4
    column = width // 4 if corner[1] == "l" else 3 * width // 4
    assert shown[row, column] > 200
    assert (shown > 128).mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(("width", "height"), [(48, 16), (16, 48)])
def test_the_longer_side_is_cropped_about_its_centre(width: int, height: int) -> None:
    image = Image.new("L", (width, height), 0)
    centre = (width // 2 - 8, height // 2 - 8, width // 2 + 8, height // 2 + 8)
    image.paste(255, centre)
    fitted = np.asarray(fit(image, 8))
    assert fitted.shape == (8, 8)
    assert fitted.min() > 230  # at the edges, the filter still sees a little of what was cropped
    assert np.array_equal(fitted, fitted[::-1, ::-1])


def test_shrinking_is_antialiased() -> None:
    stripes = np.tile(np.array([[0, 255]], dtype=np.uint8), (64, 32))
    grey = np.asarray(fit(Image.fromarray(stripes), 8))
    assert np.abs(grey.astype(int) - 127).max() < 12


@pytest.mark.parametrize("size", [8, None])
def test_an_image_of_the_wanted_size_is_untouched(size: int | None) -> None:
    noise = np.random.default_rng(0).integers(256, size=(8, 8, 4), dtype=np.uint8)
    assert np.array_equal(np.asarray(fit(Image.fromarray(noise), size)), noise)


def test_transparent_pixels_do_not_bleed_into_others() -> None:
    image = Image.new("RGBA", (32, 32), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 17, 32))
    fitted = np.asarray(fit(image, 8))
    visible = fitted[fitted[..., 3] > 0]
    assert visible[:, 1].max() == 0


def test_a_small_image_is_enlarged() -> None:
    assert fit(Image.new("RGB", (3, 5), (9, 9, 9)), 16).getextrema() == ((9, 9),) * 3


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    assert reason(tmp_path / "x.png") == "the file is empty"


def test_text_by_the_name_of_an_image(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no image")
    assert reason(tmp_path / "x.png") == "it is not an image that Pillow can read"


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.gif", "x.bmp", "x.tif", "x.webp"])
def test_a_truncated_file(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert reason(tmp_path / name)


@pytest.mark.parametrize("limit", [100, 40], ids=["where Pillow warns", "where Pillow refuses"])
@pytest.mark.filterwarnings("ignore")
def test_a_decompression_bomb(save: Save, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    path = save("x.png", size=(10, 11))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert reason(path) == f"it has more than {limit} pixels"


def test_a_missing_file_and_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    assert reason(tmp_path / "gone.png") == "no such file or directory"
    assert "symbolic links" in reason(tmp_path / "self.png")


def test_a_file_without_permission(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    path = save("x.png")
    monkeypatch.setattr(Image, "open", refuse)
    assert reason(path) == "permission denied"


def test_a_decoder_that_fails_in_its_own_way(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise KeyError

    path = save("x.png")
    monkeypatch.setattr(Image, "open", fail)
    assert reason(path) == "KeyError"
    assert isinstance(upright_size(path), Unreadable)
