"""Options for reading images, with their validation."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sfumato.data.sources.resizing import Fit
from sfumato.errors import ConfigError

ChannelChoice = Literal["auto", "grey", "rgb", "rgba", "bands"]
PageChoice = Literal["auto", "first", "images", "channels"]
RangeChoice = tuple[float, float] | Literal["auto"]

SMALLEST_SIDE = 4
LARGEST_IMAGE_SIDE = 2**14

Size = int | Sequence[int] | str | None
"""Side of a square, (width, height), text such as "64" or "64x96" (width x height), or None."""


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading the images of a source.

    Attributes:
        size: (width, height) of all images; None keeps the common size.
        fit: How images are resized to `size`.
        channels: "grey", "rgb" or "rgba" converts the images; "bands" keeps all channels and treats none as opacity;
            "auto" uses the most common channels, with opacity only where a file declares it.
        pages: Interpretation of pages without metadata: the "first" page is the image, each page is one of several
            "images", or all pages are "channels" of one image.
        split: "auto" uses the training split, "all" uses every split, "none" uses names of splits as class names; any
            other text is the name of a split.
        range: Pixel values of black and white; None takes them from the data.
        nodata: Pixel value of missing data, in addition to NaN and to the value that a file declares.
        name_encoding: Encoding of the file names in an archive, such as "cp932"; None detects it.
    """

    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    channels: ChannelChoice = "auto"
    pages: PageChoice = "auto"
    split: str = "auto"
    range: tuple[float, float] | None = None
    nodata: float | None = None
    name_encoding: str | None = None


DEFAULT_OPTIONS = ReadOptions()
"""Default options."""


def checked_options(
    size: Size = None,
    fit: Fit = "crop",
    channels: ChannelChoice = "auto",
    pages: PageChoice = "auto",
    split: str = "auto",
    range: RangeChoice = "auto",
    nodata: float | None = None,
    name_encoding: str | None = None,
) -> ReadOptions:
    """Validates options; see `load_images`.

    Raises:
        ConfigError: An option is not valid.
    """
    for name, given, choice in (("channels", channels, ChannelChoice), ("fit", fit, Fit), ("pages", pages, PageChoice)):
        if given not in get_args(choice):
            raise ConfigError(f"--{name} {given} is unknown", f"Choose one of {', '.join(get_args(choice))}.")
    if name_encoding is not None:
        try:
            codecs.lookup(name_encoding)
        except (LookupError, ValueError) as error:
            raise ConfigError(
                f"--name-encoding {name_encoding} is unknown", "Give one such as utf-8 or cp932."
            ) from error
    found = None if range == "auto" else range
    if found is not None and not (found[0] < found[1] and all(map(math.isfinite, found))):
        raise ConfigError(f"--range {found[0]:g} {found[1]:g} is not a range", "Give two finite numbers, LOW < HIGH.")
    return ReadOptions(parsed_size(size), fit, channels, pages, split, found, nodata, name_encoding)


def parsed_size(size: Size) -> tuple[int, int] | None:
    """Parses a size as (width, height); None stays None.

    >>> parsed_size("64x96"), parsed_size(32)
    ((64, 96), (32, 32))

    Raises:
        ConfigError: It is not a size, or it is too small or too large.
    """
    if size is None:
        return None
    text = str(size) if isinstance(size, str) or not isinstance(size, Sequence) else "x".join(map(str, size))
    if not re.fullmatch(r"-?\d{1,9}([xX×]\d{1,9})?", text):
        raise ConfigError(f"--size {text} is not a size", "Give a side such as 64, or width and height such as 64x96.")
    numbers = [int(number) for number in re.split("[xX×]", text)]
    sides = numbers[0], numbers[-1]
    if not SMALLEST_SIDE <= min(sides) <= max(sides) <= LARGEST_IMAGE_SIDE:
        raise ConfigError(
            f"--size {text} is too small or too large",
            f"Choose {SMALLEST_SIDE} to {LARGEST_IMAGE_SIDE} pixels a side, such as 64 or 64x96.",
        )
    return sides
