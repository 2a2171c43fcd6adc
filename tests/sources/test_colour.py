"""Colour profiles: the results equal those of ImageCms."""

from __future__ import annotations

import io
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from images import encoded, noise, png, tiff

from .decoding import decode_pixels, shape_is_true

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def swapped(red: int, blue: int) -> bytes:
    """An sRGB profile with two primaries exchanged."""
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
    """Converts an image to sRGB with ImageCms."""
    shown = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), SRGB, outputMode="RGB")
    assert shown is not None
    return np.asarray(shown)


def rgb() -> Image.Image:
    return Image.fromarray(noise(8, 9, 3))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colours_are_converted_to_srgb(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    shown = shape_is_true(encoded(rgb(), kind, icc_profile=SWAPPED, **options))
    assert np.array_equal(shown, converted(rgb(), SWAPPED))
    assert np.abs(shown.astype(int) - noise(8, 9, 3)[:, :, ::-1]).max() <= 2  # red and blue are exchanged


def test_a_jpeg_is_converted_to_srgb() -> None:
    stored = np.asarray(Image.open(io.BytesIO(encoded(rgb(), "JPEG"))))
    shown = shape_is_true(encoded(rgb(), "JPEG", icc_profile=SWAPPED))
    assert np.array_equal(shown, converted(Image.fromarray(stored), SWAPPED))


def test_opacity_is_kept() -> None:
    pixels = noise(8, 9, 4)
    shown = shape_is_true(encoded(Image.fromarray(pixels), "PNG", icc_profile=SWAPPED))
    assert np.array_equal(shown[:, :, 3], pixels[:, :, 3])
    assert np.array_equal(shown[:, :, :3], converted(Image.fromarray(pixels[:, :, :3]), SWAPPED))


def test_a_palette_is_converted_to_srgb() -> None:
    palette = rgb().quantize(16)
    shown = shape_is_true(encoded(palette, "PNG", icc_profile=SWAPPED))
    assert np.array_equal(shown, converted(palette.convert("RGB"), SWAPPED))


def test_srgb_colours_are_unchanged() -> None:
    assert np.array_equal(shape_is_true(encoded(rgb(), "PNG", icc_profile=SRGB.tobytes())), noise(8, 9, 3))


@pytest.mark.parametrize(
    "profile",
    [b"no profile", SWAPPED[:200], SWAPPED[:128] + b"\xff" * 300, b"\0" * 128, SWAPPED[:16] + b"GRAY" + SWAPPED[20:]],
    ids=["text", "truncated", "damaged", "zeros", "for grey"],
)
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_a_profile_that_is_broken_or_for_another_mode_is_ignored(mode: str, profile: bytes) -> None:
    image = Image.fromarray(noise(8, 8, 3)).convert(mode)
    assert np.array_equal(
        shape_is_true(encoded(image, "PNG", icc_profile=profile)), decode_pixels(encoded(image, "PNG"))
    )


def test_grey_with_a_colour_profile_is_unchanged() -> None:
    grey = noise(8, 9)
    shown = shape_is_true(encoded(Image.fromarray(grey), "PNG", icc_profile=SWAPPED))
    assert np.array_equal(shown[:, :, 0], grey)


def test_16_bits_without_a_profile_are_unchanged() -> None:
    pixels = noise(4, 5, 3, dtype="uint16")
    assert np.array_equal(shape_is_true(png(pixels)), pixels)


ADOBE = bytes(imagecodecs.cms_profile("adobergb"))
GAMMA = bytes(imagecodecs.cms_profile("gray", gamma=1.8))


def png_with(pixels: np.ndarray, profile: bytes) -> bytes:
    """A PNG file with a colour profile."""
    content, body = png(pixels), b"iCCPx\0\0" + zlib.compress(profile)
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[:33] + chunk + content[33:]


def tiff_with(pixels: np.ndarray, profile: bytes) -> bytes:
    """A TIFF file with a colour profile."""
    colours, opacity = (
        (1 if pixels.ndim == 2 or pixels.shape[2] < 3 else 3),
        pixels.ndim == 3 and pixels.shape[2] in (2, 4),
    )
    options = {"extrasamples": ["unassalpha"]} if opacity else {}
    if pixels.ndim == 3 and colours == 1:
        options["planarconfig"] = "contig"
    return tiff(pixels, photometric="rgb" if colours == 3 else "minisblack", iccprofile=profile, **options)


@pytest.mark.parametrize("write", [png_with, tiff_with])
@pytest.mark.parametrize("profile", [SWAPPED, ADOBE], ids=["swapped", "Adobe"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_are_converted_to_srgb(write: object, profile: bytes, channels: int) -> None:
    eight = noise(40, 50, channels)
    eight[:2, 0, :3] = [[0, 0, 0], [255, 255, 255]]
    shown = shape_is_true(write(eight.astype(np.uint16) * 257, profile))  # type: ignore[operator]
    assert shown.dtype == np.uint16
    expected = converted(Image.fromarray(eight[:, :, :3]), profile)
    assert np.abs(shown[:, :, :3] / 257 - expected).max() <= 1
    assert np.array_equal(shown[:, :, 3:], eight[:, :, 3:].astype(np.uint16) * 257)


@pytest.mark.parametrize("write", [png_with, tiff_with])
@pytest.mark.parametrize("channels", [1, 2])
def test_16_bit_grey_is_converted_to_srgb(write: object, channels: int) -> None:
    eight = noise(40, 50, channels)
    shown = shape_is_true(write((eight.astype(np.uint16) * 257).squeeze(), GAMMA))  # type: ignore[operator]
    expected = converted(Image.fromarray(eight[:, :, 0]), GAMMA)[:, :, :1]
    assert np.abs(shown[:, :, :1] / 257 - expected).max() <= 1.5
    assert not np.array_equal(shown[:, :, 0], eight[:, :, 0].astype(np.uint16) * 257)


def test_16_bits_are_converted_with_the_formulas_of_the_profile() -> None:
    """Adobe RGB (1998) to sRGB with the published primaries and curves; the tolerance is far below 8 bits."""
    adobe = noise(30, 30, 3, dtype="uint16")
    to_xyz = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])
    from_xyz = np.linalg.inv(
        np.array([[0.41239, 0.35758, 0.18048], [0.21264, 0.71517, 0.07219], [0.01933, 0.11919, 0.95053]])
    )
    linear = (adobe / 65535) ** (563 / 256) @ to_xyz.T @ from_xyz.T
    linear = linear.clip(0, 1)
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    shown = shape_is_true(tiff_with(adobe, ADOBE)) / 65535
    assert np.abs(shown - expected).max() < 0.002


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_channels_after_rgb_are_kept(dtype: str) -> None:
    pixels = noise(8, 9, 5, dtype=dtype)
    content = tiff(pixels, photometric="rgb", extrasamples=["unspecified"] * 2, iccprofile=SWAPPED)
    shown = shape_is_true(content)
    scale = 257 if dtype == "uint16" else 1
    expected = converted(Image.fromarray((pixels[:, :, :3] // scale).astype(np.uint8)), SWAPPED)
    assert np.abs(shown[:, :, :3] / scale - expected).max() <= 3
    assert np.array_equal(shown[:, :, 3:], pixels[:, :, 3:])


@pytest.mark.parametrize("profile", [b"no profile", SWAPPED[:200], SWAPPED[:128] + b"\xff" * 300, GAMMA])
@pytest.mark.parametrize("write", [png_with, tiff_with])
def test_16_bits_with_a_broken_or_grey_profile_are_unchanged(write: object, profile: bytes) -> None:
    pixels = noise(4, 5, 3, dtype="uint16")
    assert np.array_equal(shape_is_true(write(pixels, profile)), pixels)  # type: ignore[operator]
