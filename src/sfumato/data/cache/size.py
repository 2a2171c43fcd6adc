"""The size that a person asks for."""

from __future__ import annotations

import re

from sfumato.errors import ConfigError

SMALLEST_SIDE = 4
LARGEST_SIDE = 2**14

Size = int | tuple[int, int] | str | None
"""A side of a square, (width, height), a text such as "64" or "64x96" (width x height), or None."""


def parsed_size(size: Size) -> tuple[int, int] | None:
    """(width, height), or None for None.

    >>> parsed_size("64x96"), parsed_size(32)
    ((64, 96), (32, 32))

    Raises:
        ConfigError: It is no size, or one that is too small or too large.
    """
    if size is None:
        return None
    match size:
        case int():
            sides = size, size
        case str():
            sides = _parsed_text(size)
        case width, height:
            sides = width, height
    if not SMALLEST_SIDE <= min(sides) <= max(sides) <= LARGEST_SIDE:
        raise ConfigError(
            f"--size {size} is too small or too large",
            f"Choose {SMALLEST_SIDE} to {LARGEST_SIDE} pixels a side, such as 64 or 64x96.",
        )
    return sides


def _parsed_text(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"\d{1,9}([xX×]\d{1,9})?", text):
        raise ConfigError(f"--size {text} is no size", "Give a side such as 64, or width and height such as 64x96.")
    numbers = [int(number) for number in re.split("[xX×]", text)]
    return numbers[0], numbers[-1]
