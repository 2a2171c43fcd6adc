"""Flips and small shifts of images, compared on windows of pixels that both images contain."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import DataError


class Shift(NamedTuple):
    """Move of a training image: an optional flip left to right, followed by a shift in pixels."""

    flipped: bool = False
    down: int = 0
    right: int = 0


STILL = Shift()


def shifts_within(reach: int, flips: bool) -> tuple[Shift, ...]:
    """All moves by at most `reach` pixels in each direction, with the flip if `flips`; the first is no move."""
    steps = sorted(range(-reach, reach + 1), key=abs)
    mirrors = (False, True) if flips else (False,)
    return tuple(Shift(flipped, down, right) for flipped in mirrors for down in steps for right in steps)


def default_window(height: int, width: int) -> int:
    """Default reach: 2 pixels, or an eighth of the shorter side of tiny images."""
    return min(2, min(height, width) // 8)


def check_window(reach: int, images: Float[Tensor, "n c h w"]) -> None:
    """Raises `DataError` if images are too small for a reach."""
    height, width = images.shape[2:]
    if not 0 <= 2 * reach < min(height, width):
        raise DataError(
            f"Images of {width}x{height} pixels cannot be shifted by up to {reach} pixels",
            f"Choose a reach of 0 to {(min(height, width) - 1) // 2}.",
        )


def window(images: Float[Tensor, "n c h w"], reach: int, move: Shift = STILL) -> Float[Tensor, "n c h2 w2"]:
    """Window of moved images that shows the middle of the images before the move: h2 = h - 2 reach, w2 = w - 2 reach.

    If `a` is `b` moved, then `window(a, reach, move)` equals `window(b, reach)`, whatever enters at the edges.
    """
    height, width = images.shape[2:]
    top, left = reach + move.down, reach + move.right
    seen = images[:, :, top : top + height - 2 * reach, left : left + width - 2 * reach]
    return seen.flip(3) if move.flipped else seen


def shifted(image: Float[Tensor, "c h w"], move: Shift) -> Float[Tensor, "c h w"]:
    """Moved image. Pixels that enter repeat those of the edge."""
    height, width = image.shape[1:]
    image = image.flip(2) if move.flipped else image
    rows = (torch.arange(height, device=image.device) - move.down).clamp(0, height - 1)
    columns = (torch.arange(width, device=image.device) - move.right).clamp(0, width - 1)
    return image[:, rows[:, None], columns]
