"""Titles in grids fit their field, in any script, and are above their images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.utils import captions, pictures

WHITE = 255


def ink(picture: Image.Image, box: tuple[int, int, int, int]) -> int:
    """Number of pixels in a field that are not white."""
    return int((np.asarray(picture.convert("L").crop(box)) < WHITE).sum())


@pytest.mark.parametrize(
    "text", ["cat", "automobile", "a very long name of a class", "\u043a\u043e\u0448\u043a\u0430", "two\nlines", ""]
)
@pytest.mark.parametrize("width", [64, 20, 3])
def test_a_title_fits_its_field(text: str, width: int) -> None:
    sheet = Image.new("L", (width + 40, captions.HEIGHT + 40), "white")
    captions.draw(sheet, text, 20, 20, width)
    inside = (19, 19, 21 + width, 21 + captions.HEIGHT)
    assert ink(sheet, (0, 0, *sheet.size)) == ink(sheet, inside)
    assert (ink(sheet, inside) > 0) == (bool(text) and width > 3)


def test_a_missing_glyph_is_detected() -> None:
    font = captions.font_for("cat", 12)
    assert captions.has_all(font, "cat \u043a\u043e\u0442 \u03b3\u03ac\u03c4\u03b1")
    assert not captions.has_all(font, "cat \ue000")


@pytest.mark.parametrize(
    ("titles", "titled"),
    [
        (None, ()),
        (["cat", "dog"] * 2, (0,)),
        (["cat", "cat", "dog", "dog"], (0, 1)),
        (["cat", "dog", "cat"], (0,)),
    ],
)
def test_titles_are_above_the_first_row_or_above_each_row(titles: list[str] | None, titled: tuple[int, ...]) -> None:
    count = len(titles or "four")
    sheet = pictures.grid(torch.ones(count, 1, 64, 64), 2, titles)
    assert sheet.size == (2 * 64 + 3 * 2, 2 * 64 + 3 * 2 + len(titled) * captions.HEIGHT)
    top = 0
    for row in range(2):
        height = captions.HEIGHT if row in titled else 0
        for column in range(min(2, count - 2 * row)):
            field = (2 + column * 66, top, 66 + column * 66, top + 2 + height)
            assert (ink(sheet, field) > 0) == (row in titled)
        top += 64 + 2 + height
