"""Properties of the images by their headers, and the common format that they are converted to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median_low
from typing import NamedTuple

from sfumato.data.sources import DEFAULT_OPTIONS, Entry, Frame, Notice, ReadOptions, Unreadable, depth_title, mode_title
from sfumato.data.sources.decode import ImageInfo, failure_reason, open_image
from sfumato.data.sources.entry import MOST_BYTES
from sfumato.data.sources.options import SMALLEST_SIDE
from sfumato.data.sources.parallel import in_parallel
from sfumato.data.sources.pixel_arrays import Dtype
from sfumato.errors import DataError
from sfumato.utils.text import printable

LARGEST_SUGGESTION = 64

HEADER_BYTES = 1 << 16
"""Bytes that usually contain the header of an image."""

HEADERS_IN_CHUNK = 512


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
    chunks = [entries[start : start + HEADERS_IN_CHUNK] for start in range(0, len(entries), HEADERS_IN_CHUNK)]
    read = partial(_read_chunk, options=options)
    found = dict(in_parallel(read, list(enumerate(chunks)), [len(chunk) for chunk in chunks], "Reading headers"))
    return [info for index in range(len(chunks)) for info in found[index]]


def _read_chunk(chunk: tuple[int, Sequence[Entry]], options: ReadOptions) -> tuple[int, list[ImageInfo | Unreadable]]:
    index, entries = chunk
    return index, [_read_header(entry, options) for entry in entries]


def _read_header(entry: Entry, options: ReadOptions) -> ImageInfo | Unreadable:
    for most in (HEADER_BYTES, MOST_BYTES):
        try:
            return open_image(entry.read(most), options).info
        except Exception as error:  # broken files raise many types of exceptions
            failure = Unreadable(printable(entry.name), failure_reason(error))
    return failure


def choose_format(title: str, infos: Sequence[ImageInfo], options: ReadOptions) -> TargetFormat:
    """Chooses the format for images with these properties.

    Args:
        title: Name of the source for messages.
        infos: Properties of at least one image.
        options: Requested options.

    Raises:
        DataError: The sizes differ or are too small, and no size is given.
    """
    frame = _common_frame(title, infos) if options.size is None else Frame(*options.size, options.fit)
    common_mode, _ = Counter(map(channel_mode, infos)).most_common(1)[0]
    common_dtype, _ = Counter(info.dtype for info in infos).most_common(1)[0]
    return TargetFormat(frame, CHANNEL_MODES.get(options.channels, common_mode), common_dtype)


def channel_mode(info: ImageInfo) -> ChannelMode:
    """Channel mode of an image."""
    return ChannelMode(info.channels, info.opacity)


def conversions(infos: Sequence[ImageInfo], target: TargetFormat, options: ReadOptions) -> list[Notice]:
    """Notices on the number of enlarged images, and of those converted from other depths or not requested channels."""
    notices = []
    if options.channels == "auto" and target.mode.opacity:
        text = "The fourth channel is opacity, as the files declare it."
        notices.append(Notice("channels", text, "--channels rgb|bands", matters=False))
    elif options.channels == "auto" and target.mode.channels == 4:
        text = "The four channels are colour channels, since no file declares opacity."
        notices.append(Notice("channels", text, "--channels rgba"))
    kinds = [(Counter(depth_title(info.dtype) for info in infos), depth_title(target.dtype), "")]
    if options.channels not in CHANNEL_MODES:
        by_mode = Counter(mode_title(*channel_mode(info)) for info in infos)
        kinds.insert(0, (by_mode, mode_title(*target.mode), "--channels grey|rgb|rgba|bands"))
    for counts, wanted, flag in kinds:
        for native, count in counts.items():
            if native != wanted:
                text = f"{count} of {len(infos)} images were converted from {native} to {wanted}."
                notices.append(Notice("conversions", text, flag))
    width, height = target.frame.width, target.frame.height
    small = sum(info.width < width or info.height < height for info in infos)
    if small:
        verb = "is" if small == 1 else "are"
        text = f"{small:,} of {len(infos):,} images {verb} smaller than {width}x{height} pixels and {verb} enlarged."
        notices.append(Notice("size", text, "--size WIDTHxHEIGHT"))
    return notices


def suggested_size(infos: Iterable[ImageInfo]) -> int:
    """Largest power of two, from 4 to 64, that is not above the median of the shorter sides."""
    shorter = median_low(min(info.width, info.height) for info in infos)
    return 1 << min(max(shorter, SMALLEST_SIDE), LARGEST_SUGGESTION).bit_length() - 1


def _common_frame(title: str, infos: Sequence[ImageInfo]) -> Frame:
    """Frame of images of one size."""
    counts = Counter((info.width, info.height) for info in infos)
    if len(counts) > 1:
        common = ", ".join(f"{count} of {width} x {height}" for (width, height), count in counts.most_common(3))
        side = suggested_size(infos)
        raise DataError(
            f"The images in {title} have {len(counts)} different sizes (most often: {common} pixels)",
            f"Resize and crop them to one size with --size {side}.",
        )
    width, height = next(iter(counts))
    if min(width, height) < SMALLEST_SIDE:
        raise DataError(
            f"The images in {title} are {width} x {height} pixels, but at least {SMALLEST_SIDE} a side are needed",
            "Enlarge them with --size 8.",
        )
    return Frame(width, height)
