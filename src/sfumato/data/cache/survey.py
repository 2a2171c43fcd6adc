"""What the images of a source are, by their headers, and what all of them should become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median_low
from typing import NamedTuple, TypeVar

from sfumato.data.cache.size import SMALLEST_SIDE
from sfumato.data.sources import DEFAULT_OPTIONS, Entry, Frame, Notice, ReadOptions, Unreadable, depth_title, mode_title
from sfumato.data.sources.decode import Shape, opened, reason_of
from sfumato.data.sources.parallel import in_parallel
from sfumato.data.sources.pixels import Dtype
from sfumato.errors import DataError
from sfumato.utils.text import printable

T = TypeVar("T")

LARGEST_SUGGESTION = 64
NAMED_FILES = 5

HEAD = 1 << 16
"""Bytes within which the header of an image usually ends."""

PIECE = 512


class Kind(NamedTuple):
    """What the channels of an image are.

    Attributes:
        channels: How many there are.
        opacity: Whether the last of four is opacity.
    """

    channels: int
    opacity: bool = False

    @property
    def is_viewable(self) -> bool:
        """Whether it is grey, RGB or RGBA."""
        return self in BY_NAME.values()


BY_NAME = {"grey": Kind(1), "rgb": Kind(3), "rgba": Kind(4, opacity=True)}
"""The channels that a person can ask for."""


@dataclass(frozen=True)
class Layout:
    """What every image becomes: a size, the kind of its channels, and a dtype."""

    frame: Frame
    kind: Kind
    dtype: Dtype


def survey(entries: Sequence[Entry], options: ReadOptions = DEFAULT_OPTIONS) -> list[Shape | Unreadable]:
    """The shape of every image, or why it has none, from their headers."""
    pieces = [entries[start : start + PIECE] for start in range(0, len(entries), PIECE)]
    numbered = list(enumerate(pieces))
    measure = partial(_survey_piece, options=options)
    found = dict(in_parallel(measure, numbered, [len(piece) for piece in pieces], "Measuring images"))
    return [shape for index, _ in numbered for shape in found[index]]


def _survey_piece(piece: tuple[int, Sequence[Entry]], options: ReadOptions) -> tuple[int, list[Shape | Unreadable]]:
    index, entries = piece
    return index, [_measured(entry, options) for entry in entries]


def _measured(entry: Entry, options: ReadOptions) -> Shape | Unreadable:
    for most in (HEAD, None):
        try:
            return opened(entry.read() if most is None else entry.read(most), options).shape
        except Exception as error:  # decoders meet broken data with whatever their code runs into
            failure = Unreadable(printable(entry.name), reason_of(error))
    return failure


def lay_out(title: str, shapes: Iterable[Shape], options: ReadOptions) -> Layout:
    """What images of these shapes become.

    Args:
        title: Of the source, for messages.
        shapes: Of every image that has one; at least one.
        options: What is asked.

    Raises:
        DataError: Their sizes differ, or are too small, and no size is asked.
    """
    shapes = list(shapes)
    if options.size is None:
        _require_one_size(title, [(shape.width, shape.height) for shape in shapes])
        frame = Frame(shapes[0].width, shapes[0].height)
    else:
        frame = Frame(*options.size, options.fit)
    kind = BY_NAME.get(options.channels) or _most_common(kind_of(shape) for shape in shapes)
    return Layout(frame, kind, _most_common(shape.dtype for shape in shapes))


def kind_of(shape: Shape) -> Kind:
    """What the channels of an image of this shape are."""
    return Kind(shape.channels, shape.opacity)


def _most_common(values: Iterable[T]) -> T:
    return Counter(values).most_common(1)[0][0]


def conversions(shapes: Iterable[Shape], layout: Layout, options: ReadOptions) -> list[Notice]:
    """Notices on how many images were converted from other channels, unless these were asked for, or depths."""
    shapes = list(shapes)
    by_channels = Counter(mode_title(*kind_of(shape)) for shape in shapes)
    by_depth = Counter(depth_title(shape.dtype) for shape in shapes)
    requested = options.channels in BY_NAME
    kinds = [] if requested else [(by_channels, mode_title(*layout.kind), "--channels grey|rgb|rgba|bands")]
    kinds.append((by_depth, depth_title(layout.dtype), ""))
    fourth = [_fourth(layout.kind)] if options.channels == "auto" and layout.kind.channels == 4 else []
    return fourth + [
        Notice("conversions", f"{count} of {len(shapes)} images were converted from {native} to {target}.", flag)
        for counts, target, flag in kinds
        for native, count in counts.items()
        if native != target
    ]


def _fourth(kind: Kind) -> Notice:
    """What the fourth channel of all images is."""
    if kind.opacity:
        text = "The fourth channel is opacity, as the files declare it."
        return Notice("channels", text, "--channels rgb|bands", matters=False)
    text = "The four channels are plain ones, since no file declares opacity."
    return Notice("channels", text, "--channels rgba")


def suggested_size(shapes: Iterable[Shape]) -> int:
    """The largest power of two, from 4 to 64, that is not above the median of the shorter sides."""
    shorter = median_low(min(shape.width, shape.height) for shape in shapes)
    return 1 << min(max(shorter, SMALLEST_SIDE), LARGEST_SUGGESTION).bit_length() - 1


def _require_one_size(title: str, sizes: list[tuple[int, int]]) -> None:
    """Refuse (width, height) pairs that differ, or that are too small."""
    counts = Counter(sizes)
    if len(counts) > 1:
        common = ", ".join(f"{count} of {width} x {height}" for (width, height), count in counts.most_common(3))
        side = suggested_size(Shape(*size, 1, "uint8") for size in sizes)
        raise DataError(
            f"The images in {title} have {len(counts)} different sizes (most often: {common} pixels)",
            f"Resize and crop them to one size with --size {side}.",
        )
    for width, height in counts:
        if min(width, height) < SMALLEST_SIDE:
            raise DataError(
                f"The images in {title} are {width} x {height} pixels, but at least {SMALLEST_SIDE} a side are needed",
                "Enlarge them with --size 8.",
            )
