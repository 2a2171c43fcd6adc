"""Headers of images, and the choice of the target format."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import encoded, noise, png, tiff, write
from sfumato.data.cache.target_format import (
    ChannelMode,
    TargetFormat,
    choose_format,
    conversions,
    read_headers,
    suggested_size,
)
from sfumato.data.sources import Frame, ReadOptions, Unreadable
from sfumato.data.sources.decode import ImageInfo
from sfumato.data.sources.entry import FileEntry
from sfumato.errors import DataError

RGB = ImageInfo(8, 6, 3, "uint8")
GREY = ImageInfo(8, 6, 1, "uint8")
DEEP = ImageInfo(8, 6, 1, "uint16")


def late_header(pixels: np.ndarray) -> bytes:
    """A PNG file with 100 kB of text before the pixels."""
    content, body = png(pixels), b"tEXta\0" + b"x" * 100_000
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[:33] + chunk + content[33:]


def late_jpeg(image: Image.Image) -> bytes:
    """A JPEG file with 100 kB of comments before the frame header."""
    content = encoded(image, "JPEG")
    return content[:2] + (b"\xff\xfe\xc3\x50" + b"x" * 49_998) * 2 + content[2:]


@pytest.mark.parametrize(
    ("content", "shape"),
    [
        (png(noise(6, 8, 3)), RGB),
        (late_header(noise(6, 8, 3)), RGB),
        (late_jpeg(Image.new("RGB", (8, 6))), RGB),
        (late_jpeg(Image.new("L", (8, 6))), GREY),
        (tiff(noise(6, 8, dtype="uint16")), DEEP),
        (tiff(noise(300, 400, dtype="uint16")), ImageInfo(400, 300, 1, "uint16")),
        (encoded(Image.fromarray(noise(300, 400, 3)), "WEBP", lossless=True), ImageInfo(400, 300, 3, "uint8")),
    ],
    ids=["PNG", "late PNG", "late JPEG", "late grey JPEG", "TIFF", "large TIFF", "large WebP"],
)
def test_a_header_is_found_at_any_position(content: bytes, shape: ImageInfo, tmp_path: Path) -> None:
    write(tmp_path, {"x": content})
    assert read_headers([FileEntry("x", tmp_path / "x")]) == [shape]


def test_unreadable_headers_have_a_reason(tmp_path: Path) -> None:
    write(tmp_path, {"a": b"", "b": png(noise(6, 8, 3)), "c\n": b"text"})
    entries = [FileEntry(name, tmp_path / name) for name in ("a", "b", "c\n")]
    assert read_headers(entries) == [
        Unreadable("a", "the file is empty"),
        RGB,
        Unreadable(r"c\n", "it is not an image that can be read"),
    ]


@pytest.mark.parametrize(
    ("shapes", "choices", "target"),
    [
        ([RGB, RGB, GREY], ReadOptions(), TargetFormat(Frame(8, 6), ChannelMode(3), "uint8")),
        ([GREY, DEEP, DEEP], ReadOptions(), TargetFormat(Frame(8, 6), ChannelMode(1), "uint16")),
        ([GREY, RGB], ReadOptions(channels="rgba"), TargetFormat(Frame(8, 6), ChannelMode(4, opacity=True), "uint8")),
        ([RGB], ReadOptions((4, 5), "pad"), TargetFormat(Frame(4, 5, "pad"), ChannelMode(3), "uint8")),
        ([RGB, ImageInfo(9, 9, 3, "uint8")], ReadOptions((4, 5)), TargetFormat(Frame(4, 5), ChannelMode(3), "uint8")),
    ],
)
def test_the_format_is_the_requested_or_the_most_common_one(
    shapes: list[ImageInfo], choices: ReadOptions, target: TargetFormat
) -> None:
    assert choose_format("the folder x", shapes, choices) == target


def test_conversions_are_reported_unless_requested() -> None:
    target = TargetFormat(Frame(8, 6), ChannelMode(1), "uint16")
    assert [notice.text for notice in conversions([DEEP, GREY, RGB, GREY], target, ReadOptions())] == [
        "1 of 4 images were converted from RGB to grey.",
        "3 of 4 images were converted from 8 bits to 16 bits.",
    ]
    assert [notice.text for notice in conversions([DEEP, GREY, RGB], target, ReadOptions(channels="grey"))] == [
        "2 of 3 images were converted from 8 bits to 16 bits."
    ]


def test_enlarged_images_are_counted() -> None:
    target = TargetFormat(Frame(8, 6), ChannelMode(3), "uint8")
    infos = [RGB, replace(RGB, width=7), replace(RGB, height=5), replace(RGB, width=80)]
    assert [notice.text for notice in conversions(infos, target, ReadOptions())] == [
        "2 of 4 images are smaller than 8x6 pixels and are enlarged."
    ]
    (one,) = conversions(infos[1:2] + infos[:1], target, ReadOptions())
    assert str(one).startswith("1 of 2 images is smaller than 8x6 pixels and is enlarged.")


@pytest.mark.parametrize(
    ("sizes", "side"), [([(300, 900)], 64), ([(64, 64)], 64), ([(63, 200)], 32), ([(9, 9)], 8), ([(2, 2)], 4)]
)
def test_the_suggested_size_is_a_power_of_two(sizes: list[tuple[int, int]], side: int) -> None:
    assert suggested_size(ImageInfo(*size, 3, "uint8") for size in sizes) == side


def test_images_that_are_too_small_are_rejected() -> None:
    with pytest.raises(DataError, match="9 x 3 pixels, but at least 4 a side are needed"):
        choose_format("the folder x", [ImageInfo(9, 3, 3, "uint8")], ReadOptions())
