"""Colour profiles: what is shown is what ImageCms itself would show."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from images import encoded, noise, png
from sfumato.sources.decode import pixels_of

from .decoding import shape_is_true

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def swapped(red: int, blue: int) -> bytes:
    """A profile under which the primaries of two channels of sRGB have changed places."""
    profile = bytearray(SRGB.tobytes())
    places = {}
    count = int.from_bytes(profile[128:132], "big")
    for tag in range(count):
        entry = 132 + 12 * tag
        places[bytes(profile[entry : entry + 4])] = entry
    first, second = (places[[b"rXYZ", b"gXYZ", b"bXYZ"][channel]] for channel in (red, blue))
    offset = profile[first + 4 : first + 8]
    profile[first + 4 : first + 8] = profile[second + 4 : second + 8]
    profile[second + 4 : second + 8] = offset
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


SWAPPED = swapped(0, 2)


def converted(image: Image.Image, profile: bytes) -> np.ndarray:
    """What ImageCms makes of it in sRGB."""
    shown = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), SRGB, outputMode="RGB")
    assert shown is not None
    return np.asarray(shown)


def rgb() -> Image.Image:
    return Image.fromarray(noise(8, 9, 3))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colours_under_a_profile_are_shown_in_srgb(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    shown = shape_is_true(encoded(rgb(), kind, icc_profile=SWAPPED, **options))
    assert np.array_equal(shown, converted(rgb(), SWAPPED))
    assert np.abs(shown.astype(int) - noise(8, 9, 3)[:, :, ::-1]).max() <= 2  # red and blue have changed places


def test_a_jpeg_under_a_profile_is_shown_in_srgb() -> None:
    stored = np.asarray(Image.open(io.BytesIO(encoded(rgb(), "JPEG"))))
    shown = shape_is_true(encoded(rgb(), "JPEG", icc_profile=SWAPPED))
    assert np.array_equal(shown, converted(Image.fromarray(stored), SWAPPED))


def test_opacity_is_kept_under_a_profile() -> None:
    pixels = noise(8, 9, 4)
    shown = shape_is_true(encoded(Image.fromarray(pixels), "PNG", icc_profile=SWAPPED))
    assert np.array_equal(shown[:, :, 3], pixels[:, :, 3])
    assert np.array_equal(shown[:, :, :3], converted(Image.fromarray(pixels[:, :, :3]), SWAPPED))


def test_a_palette_under_a_profile_is_shown_in_srgb() -> None:
    palette = rgb().quantize(16)
    shown = shape_is_true(encoded(palette, "PNG", icc_profile=SWAPPED))
    assert np.array_equal(shown, converted(palette.convert("RGB"), SWAPPED))


def test_colours_that_are_in_srgb_already_are_untouched() -> None:
    assert np.array_equal(shape_is_true(encoded(rgb(), "PNG", icc_profile=SRGB.tobytes())), noise(8, 9, 3))


@pytest.mark.parametrize(
    "profile",
    [b"no profile", SWAPPED[:200], SWAPPED[:128] + b"\xff" * 300, b"\0" * 128, SWAPPED[:16] + b"GRAY" + SWAPPED[20:]],
    ids=["text", "truncated", "damaged", "zeros", "for grey"],
)
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_a_profile_that_is_broken_or_for_other_images_is_passed_over(mode: str, profile: bytes) -> None:
    image = Image.fromarray(noise(8, 8, 3)).convert(mode)
    assert np.array_equal(shape_is_true(encoded(image, "PNG", icc_profile=profile)), pixels_of(encoded(image, "PNG")))


def test_grey_under_a_profile_for_colours_is_untouched() -> None:
    grey = noise(8, 9)
    shown = shape_is_true(encoded(Image.fromarray(grey), "PNG", icc_profile=SWAPPED))
    assert np.array_equal(shown[:, :, 0], grey)


def test_16_bits_keep_their_numbers() -> None:
    pixels = noise(4, 5, 3, dtype="uint16")
    assert np.array_equal(shape_is_true(png(pixels)), pixels)
