"""What the images of a source are, by their headers, and what they should become."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import encoded, noise, png, tiff, write
from sfumato.data.cache.survey import Kind, Layout, conversions, lay_out, suggested_size, survey
from sfumato.data.sources import Frame, ReadOptions, Unreadable
from sfumato.data.sources.decode import Shape
from sfumato.data.sources.entry import FileEntry
from sfumato.errors import DataError

RGB = Shape(8, 6, 3, "uint8")
GREY = Shape(8, 6, 1, "uint8")
DEEP = Shape(8, 6, 1, "uint16")


def late_header(pixels: np.ndarray) -> bytes:
    """A PNG whose pixels begin after a hundred thousand letters."""
    content, body = png(pixels), b"tEXta\0" + b"x" * 100_000
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[:33] + chunk + content[33:]


def late_jpeg(image: Image.Image) -> bytes:
    """A JPEG whose size stands after a hundred thousand letters."""
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
        (tiff(noise(300, 400, dtype="uint16")), Shape(400, 300, 1, "uint16")),
        (encoded(Image.fromarray(noise(300, 400, 3)), "WEBP", lossless=True), Shape(400, 300, 3, "uint8")),
    ],
    ids=["PNG", "late PNG", "late JPEG", "late grey JPEG", "TIFF", "large TIFF", "large WebP"],
)
def test_a_header_is_found_wherever_it_is(content: bytes, shape: Shape, tmp_path: Path) -> None:
    write(tmp_path, {"x": content})
    assert survey([FileEntry("x", tmp_path / "x")]) == [shape]


def test_what_has_no_shape_has_a_reason(tmp_path: Path) -> None:
    write(tmp_path, {"a": b"", "b": png(noise(6, 8, 3)), "c\n": b"text"})
    entries = [FileEntry(name, tmp_path / name) for name in ("a", "b", "c\n")]
    assert survey(entries) == [
        Unreadable("a", "the file is empty"),
        RGB,
        Unreadable(r"c\n", "it is not an image that can be read"),
    ]


@pytest.mark.parametrize(
    ("shapes", "choices", "layout"),
    [
        ([RGB, RGB, GREY], ReadOptions(), Layout(Frame(8, 6), Kind(3), "uint8")),
        ([GREY, DEEP, DEEP], ReadOptions(), Layout(Frame(8, 6), Kind(1), "uint16")),
        ([GREY, RGB], ReadOptions(channels="rgba"), Layout(Frame(8, 6), Kind(4, opacity=True), "uint8")),
        ([RGB], ReadOptions((4, 5), "pad"), Layout(Frame(4, 5, "pad"), Kind(3), "uint8")),
        ([RGB, Shape(9, 9, 3, "uint8")], ReadOptions((4, 5)), Layout(Frame(4, 5), Kind(3), "uint8")),
    ],
)
def test_the_layout_is_what_is_asked_or_else_what_most_are(
    shapes: list[Shape], choices: ReadOptions, layout: Layout
) -> None:
    assert lay_out("the folder x", shapes, choices) == layout


def test_conversions_are_told_unless_they_were_asked_for() -> None:
    layout = Layout(Frame(8, 6), Kind(1), "uint16")
    assert [notice.text for notice in conversions([DEEP, GREY, RGB, GREY], layout, ReadOptions())] == [
        "1 of 4 images were converted from RGB to grey.",
        "3 of 4 images were converted from 8 bits to 16 bits.",
    ]
    assert [notice.text for notice in conversions([DEEP, GREY, RGB], layout, ReadOptions(channels="grey"))] == [
        "2 of 3 images were converted from 8 bits to 16 bits."
    ]


@pytest.mark.parametrize(
    ("sizes", "side"), [([(300, 900)], 64), ([(64, 64)], 64), ([(63, 200)], 32), ([(9, 9)], 8), ([(2, 2)], 4)]
)
def test_the_suggested_size_is_a_power_of_two(sizes: list[tuple[int, int]], side: int) -> None:
    assert suggested_size(Shape(*size, 3, "uint8") for size in sizes) == side


def test_images_too_small_are_refused() -> None:
    with pytest.raises(DataError, match="9 x 3 pixels, but at least 4 a side are needed"):
        lay_out("the folder x", [Shape(9, 3, 3, "uint8")], ReadOptions())
