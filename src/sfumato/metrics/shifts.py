"""Flips and small shifts: images seen through windows, so that each move is compared on pixels that both have."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import DataError


class Shift(NamedTuple):
    """What is done to a training image: flipped left to right if at all, then moved by whole pixels.

    Attributes:
        flipped: Left to right.
        down: Pixels; negative is up.
        right: Pixels; negative is to the left.
    """

    flipped: bool = False
    down: int = 0
    right: int = 0


STILL = Shift()


def shifts_within(reach: int, flips: bool) -> tuple[Shift, ...]:
    """Every move of at most `reach` pixels each way, without and, if `flips`, with the flip; the first is no move."""
    steps = sorted(range(-reach, reach + 1), key=abs)
    ways = (False, True) if flips else (False,)
    return tuple(Shift(flipped, down, right) for flipped in ways for down in steps for right in steps)


def default_window(height: int, width: int) -> int:
    """How far to look unless told: 2 pixels, or an eighth of the shorter side of a tiny image."""
    return min(2, min(height, width) // 8)


def check_window(reach: int, images: Float[Tensor, "n c h w"]) -> None:
    """Raises `DataError` unless images leave a window when moved."""
    height, width = images.shape[2:]
    if not 0 <= 2 * reach < min(height, width):
        raise DataError(
            f"Images of {width}x{height} pixels cannot be compared when moved by up to {reach}",
            f"Choose a reach of 0 to {(min(height, width) - 1) // 2}.",
        )


def window(images: Float[Tensor, "n c h w"], reach: int, move: Shift = STILL) -> Float[Tensor, "n c h2 w2"]:
    """What of moved images was in the middle before they moved: h2 = h - 2 reach, w2 = w - 2 reach.

    The middle of an image is its window without a move. If `a` is `b` moved, then `window(a, reach, move)` is
    `window(b, reach)`, whatever entered at the edges.
    """
    height, width = images.shape[2:]
    top, left = reach + move.down, reach + move.right
    seen = images[:, :, top : top + height - 2 * reach, left : left + width - 2 * reach]
    return seen.flip(3) if move.flipped else seen


def shifted(image: Float[Tensor, "c h w"], move: Shift) -> Float[Tensor, "c h w"]:
    """The image after the move; what enters repeats the pixels of the edge."""
    height, width = image.shape[1:]
    image = image.flip(2) if move.flipped else image
    rows = (torch.arange(height, device=image.device) - move.down).clamp(0, height - 1)
    columns = (torch.arange(width, device=image.device) - move.right).clamp(0, width - 1)
    return image[:, rows[:, None], columns]
