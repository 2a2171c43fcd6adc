"""Properties of the images by their headers, and the common format that they are converted to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median_low
from typing import NamedTuple, TypeVar

from sfumato.data.sources import DEFAULT_OPTIONS, Entry, Frame, Notice, ReadOptions, Unreadable, depth_title, mode_title
from sfumato.data.sources.decode import ImageInfo, failure_reason, open_image
from sfumato.data.sources.options import SMALLEST_SIDE
from sfumato.data.sources.parallel import in_parallel
from sfumato.data.sources.pixel_arrays import Dtype
from sfumato.errors import DataError
from sfumato.utils.text import printable

T = TypeVar("T")

LARGEST_SUGGESTION = 64
NAMED_FILES = 5

HEAD = 1 << 16
"""Bytes that usually contain the header of an image."""

CHUNK = 512


class ChannelMode(NamedTuple):
    """Channels of an image.

    Attributes:
        channels: Number of channels.
        opacity: Whether the last of four is opacity.
    """

    channels: int
    opacity: bool = False

    @property
    def is_viewable(self) -> bool:
        """Whether it is grey, RGB or RGBA."""
        return self in CHANNEL_MODES.values()


CHANNEL_MODES = {"grey": ChannelMode(1), "rgb": ChannelMode(3), "rgba": ChannelMode(4, opacity=True)}
"""Channel modes that can be requested."""


@dataclass(frozen=True)
class TargetFormat:
    """Format that all images are converted to."""

    frame: Frame
    mode: ChannelMode
    dtype: Dtype


def read_headers(entries: Sequence[Entry], options: ReadOptions = DEFAULT_OPTIONS) -> list[ImageInfo | Unreadable]:
    """Reads the headers of images: their properties, or the reasons why they cannot be read."""
    chunks = [entries[start : start + CHUNK] for start in range(0, len(entries), CHUNK)]
    numbered = list(enumerate(chunks))
    measure = partial(_read_chunk, options=options)
    found = dict(in_parallel(measure, numbered, [len(chunk) for chunk in chunks], "Reading headers"))
    return [info for index, _ in numbered for info in found[index]]


def _read_chunk(chunk: tuple[int, Sequence[Entry]], options: ReadOptions) -> tuple[int, list[ImageInfo | Unreadable]]:
    index, entries = chunk
    return index, [_read_header(entry, options) for entry in entries]


def _read_header(entry: Entry, options: ReadOptions) -> ImageInfo | Unreadable:
    for most in (HEAD, None):
        try:
            return open_image(entry.read() if most is None else entry.read(most), options).info
        except Exception as error:  # broken files raise many types of exceptions
            failure = Unreadable(printable(entry.name), failure_reason(error))
    return failure


def choose_format(title: str, infos: Iterable[ImageInfo], options: ReadOptions) -> TargetFormat:
    """Chooses the format for images with these properties.

    Args:
        title: Name of the source for messages.
        infos: Properties of at least one image.
        options: Requested options.

    Raises:
        DataError: The sizes differ or are too small, and no size is given.
    """
    infos = list(infos)
    if options.size is None:
        _check_one_size(title, [(info.width, info.height) for info in infos])
        frame = Frame(infos[0].width, infos[0].height)
    else:
        frame = Frame(*options.size, options.fit)
    mode = CHANNEL_MODES.get(options.channels) or _most_common(channel_mode(info) for info in infos)
    return TargetFormat(frame, mode, _most_common(info.dtype for info in infos))


def channel_mode(info: ImageInfo) -> ChannelMode:
    """Channel mode of an image."""
    return ChannelMode(info.channels, info.opacity)


def _most_common(values: Iterable[T]) -> T:
    return Counter(values).most_common(1)[0][0]


def conversions(infos: Iterable[ImageInfo], target: TargetFormat, options: ReadOptions) -> list[Notice]:
    """Notices on the number of images converted from other depths, and from other channels unless requested."""
    infos = list(infos)
    by_channels = Counter(mode_title(*channel_mode(info)) for info in infos)
    by_depth = Counter(depth_title(info.dtype) for info in infos)
    requested = options.channels in CHANNEL_MODES
    kinds = [] if requested else [(by_channels, mode_title(*target.mode), "--channels grey|rgb|rgba|bands")]
    kinds.append((by_depth, depth_title(target.dtype), ""))
    fourth = [_fourth_channel(target.mode)] if options.channels == "auto" and target.mode.channels == 4 else []
    return fourth + [
        Notice("conversions", f"{count} of {len(infos)} images were converted from {native} to {wanted}.", flag)
        for counts, wanted, flag in kinds
        for native, count in counts.items()
        if native != wanted
    ]


def _fourth_channel(mode: ChannelMode) -> Notice:
    """Notice about the fourth channel of the images."""
    if mode.opacity:
        text = "The fourth channel is opacity, as the files declare it."
        return Notice("channels", text, "--channels rgb|bands", matters=False)
    text = "The four channels are colour channels, since no file declares opacity."
    return Notice("channels", text, "--channels rgba")


def suggested_size(infos: Iterable[ImageInfo]) -> int:
    """Largest power of two, from 4 to 64, that is not above the median of the shorter sides."""
    shorter = median_low(min(info.width, info.height) for info in infos)
    return 1 << min(max(shorter, SMALLEST_SIDE), LARGEST_SUGGESTION).bit_length() - 1


def _check_one_size(title: str, sizes: list[tuple[int, int]]) -> None:
    """Raises `DataError` if (width, height) pairs differ or are too small."""
    counts = Counter(sizes)
    if len(counts) > 1:
        common = ", ".join(f"{count} of {width} x {height}" for (width, height), count in counts.most_common(3))
        side = suggested_size(ImageInfo(*size, 1, "uint8") for size in sizes)
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
