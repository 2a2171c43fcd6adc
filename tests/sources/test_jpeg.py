"""JPEG: plain files by libjpeg-turbo, other files by Pillow, and decoding at reduced size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from images import encoded, noise, smooth
from sfumato.data.sources.entry import BadImageError
from sfumato.data.sources.jpeg import FINER
from sfumato.data.sources.resizing import SHARPEST, Fit, Frame

from .decoding import decode_pixels, read_info, shape_is_true, turned


def cmyk_noise() -> Image.Image:
    """A random CMYK image."""
    return Image.merge("CMYK", [Image.fromarray(noise(8, 16, seed=ink)) for ink in range(4)])


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (33, 17), (5, 3), (1, 1)])
def test_colour_equals_pillow(subsampling: str, progressive: bool, size: tuple[int, int]) -> None:
    content = encoded(
        Image.fromarray(noise(size[1], size[0], 3)), "JPEG", subsampling=subsampling, progressive=progressive
    )
    assert np.array_equal(shape_is_true(content), np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize("quality", [30, 95])
def test_grey_equals_pillow(quality: int) -> None:
    content = encoded(Image.fromarray(noise(17, 33)), "JPEG", quality=quality)
    assert np.array_equal(shape_is_true(content)[:, :, 0], np.asarray(Image.open(io.BytesIO(content))))


def test_cmyk_with_the_adobe_marker_equals_pillow() -> None:
    content = encoded(Image.new("CMYK", (16, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    assert b"Adobe" in content
    assert np.abs(shape_is_true(content).astype(int) - [255, 0, 0]).max() < 4


def test_cmyk_without_the_adobe_marker_equals_pillow() -> None:
    content = encoded(cmyk_noise(), "JPEG")
    start = content.index(b"\xff\xee")
    length = int.from_bytes(content[start + 2 : start + 4], "big")
    bare = content[:start] + content[start + 2 + length :]
    assert b"Adobe" not in bare
    with Image.open(io.BytesIO(bare)) as image:
        assert np.abs(shape_is_true(bare).astype(int) - np.asarray(image.convert("RGB"))).max() <= 3


def test_rgb_with_the_adobe_marker_equals_pillow() -> None:
    content = encoded(Image.fromarray(noise(8, 16, 3)), "JPEG", keep_rgb=True)
    assert np.array_equal(shape_is_true(content), np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize("orientation", [1, 6])
def test_pillow_decodes_the_same_pixels(orientation: int) -> None:
    image, exif = Image.fromarray(smooth(40, 64)), Image.Exif()
    exif[0x0112] = orientation
    with_exif = shape_is_true(encoded(image, "JPEG", exif=exif))
    assert np.array_equal(with_exif, turned(decode_pixels(encoded(image, "JPEG")), orientation))


@pytest.mark.parametrize("exif", [False, True], ids=["plain", "with EXIF"])
@pytest.mark.parametrize("fit", ["crop", "pad", "resize"])
@pytest.mark.parametrize("size", [(512, 384), (384, 512), (300, 300), (100, 900)])
def test_a_reduced_size_is_never_too_small(size: tuple[int, int], fit: Fit, exif: bool) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    options = {"exif": tags} if exif else {}
    content = encoded(Image.fromarray(smooth(size[1], size[0])), "JPEG", **options)
    frame = Frame(32, 24, fit)
    height, width = decode_pixels(content, frame).shape[:2]
    whole = read_info(content)
    least = frame.least(whole.width, whole.height)
    assert width >= min(FINER * least[0], whole.width)
    assert height >= min(FINER * least[1], whole.height)
    assert abs(width / height / (whole.width / whole.height) - 1) < 0.05


def test_a_reduced_size_is_used_if_possible() -> None:
    content = encoded(Image.fromarray(smooth(512, 512)), "JPEG")
    assert decode_pixels(content, Frame(32, 32)).shape == (64, 64, 3)
    assert decode_pixels(content, Frame(33, 33)).shape == (128, 128, 3)
    assert decode_pixels(content, Frame(512, 512)).shape == (512, 512, 3)


@pytest.mark.parametrize(("textured", "bound"), [(False, 0.7), (True, 1.5)])
def test_a_reduced_size_is_close_to_the_full_size(textured: bool, bound: float) -> None:
    image = smooth(512, 768)
    if textured:
        image = np.clip(image.astype(int) + noise(512, 768, 3) // 4 - 32, 0, 255).astype(np.uint8)
    content = encoded(Image.fromarray(image), "JPEG", quality=90)
    draft = Image.fromarray(decode_pixels(content, Frame(96, 64, "resize"))).resize((96, 64), SHARPEST)
    whole = Image.open(io.BytesIO(content)).resize((96, 64), SHARPEST)
    assert np.abs(np.asarray(draft).astype(int) - np.asarray(whole)).mean() < bound


BASELINE = encoded(Image.fromarray(smooth(40, 56)), "JPEG", quality=90)
SCAN = BASELINE.index(b"\xff\xda")

ODD = {
    "junk before a marker": BASELINE[:SCAN] + b"\0\0junk" + BASELINE[SCAN:],
    "junk before the end": BASELINE[:-2] + b"\0\0\0\0" + BASELINE[-2:],
    "zeros after the end": BASELINE + bytes(100),
    "odd SOS parameters": BASELINE[: SCAN + 11] + b"\0\0\0" + BASELINE[SCAN + 14 :],
    "fill bytes before a marker": BASELINE[:SCAN] + b"\xff\xff" + BASELINE[SCAN:],
}


@pytest.mark.parametrize("name", ODD)
def test_a_warning_of_the_decoder_is_not_an_error(name: str) -> None:
    with Image.open(io.BytesIO(ODD[name])) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(shape_is_true(ODD[name]), expected)
    assert np.abs(expected.astype(int) - decode_pixels(BASELINE)).max() < 3


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("exif", [False, True])
def test_a_truncated_jpeg_is_rejected(progressive: bool, exif: bool) -> None:
    tags = Image.Exif()
    tags[0x0112] = 1
    options = {"exif": tags} if exif else {}
    content = encoded(Image.fromarray(noise(64, 64, 3)), "JPEG", progressive=progressive, **options)
    for share in (0.3, 0.6, 0.9, 0.98):
        with pytest.raises(BadImageError) as caught:
            decode_pixels(content[: int(share * len(content))])
        assert str(caught.value) == "it is truncated"


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", b"\xff\xd8\xff" + b"\0" * 50, BASELINE[:200]])
def test_errors_of_the_jpeg_decoder_are_explained(content: bytes) -> None:
    with pytest.raises(BadImageError) as caught:
        decode_pixels(content)
    assert str(caught.value) in ("it is not an image that can be read", "it is truncated")


def test_mpo_files_of_phones_are_decoded_at_reduced_size() -> None:
    """MPO files hold a second image, for example for previews."""
    photo, other = Image.fromarray(smooth(512, 512)), Image.fromarray(smooth(64, 64))
    exif = Image.Exif()
    exif[0x0112] = 1
    content = encoded(photo, "MPO", save_all=True, append_images=[other], exif=exif)
    assert decode_pixels(content, Frame(32, 32)).shape == (64, 64, 3)
