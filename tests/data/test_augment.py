"""Flips and translations."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from sfumato.data import Purpose, flipped, translated, uniform

IMAGES = torch.linspace(-1, 1, 3 * 2 * 5 * 7).reshape(3, 2, 5, 7)


def draws(*rows: object) -> Tensor:
    """Uniform numbers as a tensor."""
    return torch.tensor(rows, dtype=torch.float64)


def test_an_image_is_flipped_if_its_number_is_below_a_half() -> None:
    found = flipped(IMAGES, draws(0.2, 0.8, 0.4999))
    assert torch.equal(found, torch.stack([IMAGES[0].flip(2), IMAGES[1], IMAGES[2].flip(2)]))


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, 0), (0, -1), (-2, 1), (1, 2)])
def test_a_translation_equals_edge_padding_and_cropping(right: int, down: int) -> None:
    draw = draws(*[((right + 2.5) / 5, (down + 2.5) / 5)] * 3)
    padded = torch.nn.functional.pad(IMAGES, (2, 2, 2, 2), mode="replicate")
    expected = padded[:, :, 2 - down : 2 - down + 5, 2 - right : 2 - right + 7]
    assert torch.equal(translated(IMAGES, draw, 2), expected)


def test_each_image_is_translated_by_its_own_numbers() -> None:
    draw = draws((0.1, 0.5), (0.5, 0.5), (0.9, 0.1))
    alone = [translated(image[None], row[None], 1) for image, row in zip(IMAGES, draw, strict=True)]
    assert torch.equal(translated(IMAGES, draw, 1), torch.cat(alone))


def test_all_translations_within_reach_are_equally_likely() -> None:
    """A bright pixel in the middle of a dark image shows the translation."""
    count = 25_000
    image = torch.full((1, 1, 9, 9), -1.0)
    image[..., 4, 4] = 1
    moved = translated(image.expand(count, 1, 9, 9), uniform(0, Purpose.TRANSLATION, 0, count, 2), 2)
    found = Counter(map(tuple, ((moved[:, 0] == 1).nonzero()[:, 1:] - 4).tolist()))
    assert set(found) == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    assert all(abs(times - 1000) < 150 for times in found.values())


def test_a_translation_beyond_the_image_repeats_its_edge() -> None:
    assert torch.equal(translated(IMAGES, draws(*[(0.999, 0.5)] * 3), 100), IMAGES[..., :1].expand_as(IMAGES))
