"""Flips and shifts."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from sfumato.data import Purpose, flipped, translated, uniform

IMAGES = torch.linspace(-1, 1, 3 * 2 * 5 * 7).reshape(3, 2, 5, 7)


def draws(*rows: object) -> Tensor:
    """Draws, as they come."""
    return torch.tensor(rows, dtype=torch.float64)


def test_an_image_is_flipped_where_its_draw_is_below_a_half() -> None:
    found = flipped(IMAGES, draws(0.2, 0.8, 0.4999))
    assert torch.equal(found, torch.stack([IMAGES[0].flip(2), IMAGES[1], IMAGES[2].flip(2)]))


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, 0), (0, -1), (-2, 1), (1, 2)])
def test_a_moved_image_is_what_padding_with_its_edges_and_cropping_gives(right: int, down: int) -> None:
    draw = draws(*[((right + 2.5) / 5, (down + 2.5) / 5)] * 3)
    padded = torch.nn.functional.pad(IMAGES, (2, 2, 2, 2), mode="replicate")
    expected = padded[:, :, 2 - down : 2 - down + 5, 2 - right : 2 - right + 7]
    assert torch.equal(translated(IMAGES, draw, 2), expected)


def test_each_image_moves_by_its_own_draw() -> None:
    draw = draws((0.1, 0.5), (0.5, 0.5), (0.9, 0.1))
    alone = [translated(image[None], row[None], 1) for image, row in zip(IMAGES, draw, strict=True)]
    assert torch.equal(translated(IMAGES, draw, 1), torch.cat(alone))


def test_every_move_within_reach_is_as_likely_and_none_goes_beyond() -> None:
    """A bright pixel in the middle of darkness shows where it went."""
    count = 25_000
    image = torch.full((1, 1, 9, 9), -1.0)
    image[..., 4, 4] = 1
    moved = translated(image.expand(count, 1, 9, 9), uniform(0, Purpose.TRANSLATION, 0, count, 2), 2)
    found = Counter(map(tuple, ((moved[:, 0] == 1).nonzero()[:, 1:] - 4).tolist()))
    assert set(found) == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    assert all(abs(times - 1000) < 150 for times in found.values())


def test_a_reach_beyond_the_image_leaves_its_edge() -> None:
    assert torch.equal(translated(IMAGES, draws(*[(0.999, 0.5)] * 3), 100), IMAGES[..., :1].expand_as(IMAGES))
