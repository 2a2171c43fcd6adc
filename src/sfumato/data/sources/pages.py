"""Files that hold several images, as pages or frames, as one entry an image."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from PIL import Image, ImageFile

from sfumato.data.sources.deep import deep_decoder
from sfumato.data.sources.directories import alone, layout_of, pages_of
from sfumato.data.sources.entry import MOST_BYTES, BadImageError, Content, Entry, FileEntry, ReadableFile, SliceEntry
from sfumato.data.sources.notice import Notice
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.picture import reason_of
from sfumato.data.sources.pillow import ANIMATIONS, open_in_pillow, pixel_limit
from sfumato.data.sources.source import Listing
from sfumato.data.sources.tiff import stacks_of
from sfumato.data.sources.tiffpages import Stack

T = TypeVar("T")

CHANNELS_FIRST = '{"shape": [%d, %d, %d], "axes": "CYX"}'
"""How tifffile writes that the pages of a file are channels."""

TIFF_ENDS = (".tif", ".tiff", ".btf", ".tf8", ".lsm")


@dataclass(frozen=True)
class PageEntry(Entry):
    """An image of a TIFF of several.

    Attributes:
        of: The file.
        places: Where the directories of its pages lie.
        description: What the new file of these pages says of them.
    """

    of: Entry
    places: tuple[int, ...]
    description: bytes = b""

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """A TIFF of this image alone."""
        with _file(self.of) as (file, base):
            layout = layout_of(file, base)
            if layout is None:
                raise BadImageError("the file is no longer a TIFF")
            try:
                return alone(file, layout, self.places, self.description, base)
            except (ValueError, struct.error, KeyError) as error:
                raise BadImageError("its directory is damaged") from error


@dataclass(frozen=True)
class FrameEntry(Entry):
    """A frame of an animation.

    Attributes:
        of: The file.
        index: Of the frame.
    """

    of: Entry
    index: int

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """A PNG of this frame alone, as it is shown."""
        image, file = _animation(self.of), io.BytesIO()
        try:
            with pixel_limit(b"GIF8"):  # the size of frames is that of the first, which was opened
                image.seek(self.index)
                shown = image.convert("RGBA" if image.has_transparency_data else "RGB")
                shown.save(file, "PNG", compress_level=1, icc_profile=image.info.get("icc_profile"))
        except Exception as error:  # decoders meet broken data with whatever their code runs into
            raise BadImageError(reason_of(error)) from error
        return file.getvalue()


def with_pages(listing: Listing, options: ReadOptions) -> Listing:
    """The listing, with an entry for each image of the files that hold several.

    By default these are TIFFs whose metadata say that their pages are images. Where "images" are requested, they are
    all TIFFs of several pages, and animations.

    Args:
        listing: Of files.
        options: What pages are.

    Returns:
        The listing itself where no file holds several; else one whose columns, classes and splits are repeated.
    """
    if options.pages in ("first", "channels"):
        return listing
    _animation.cache_clear()  # a file of the same name may have changed
    several = {
        row: images
        for row, entry in enumerate(listing.entries)
        if _may_be_several(entry, options) and len(images := _images_of(entry, options)) > 1
    }
    if not several:
        return listing
    counts = [len(several.get(row, "1")) for row in range(len(listing.entries))]
    entries = [image for row, entry in enumerate(listing.entries) for image in several.get(row, [entry])]
    total = sum(map(len, several.values()))
    files = "1 file holds" if len(several) == 1 else f"{len(several):,} files hold"
    notice = Notice("pages", f"{files} several images, {total:,} in all.", "--pages first")
    return replace(
        listing,
        entries=entries,
        columns={name: _repeated(cells, counts) for name, cells in listing.columns.items()},
        classes=_repeated(listing.classes, counts),
        splits=_repeated(listing.splits, counts),
        notices=[*listing.notices, notice],
    )


def _repeated(cells: Sequence[T], counts: Sequence[int]) -> list[T]:
    """Each cell as often as its file has images; none where there are none."""
    return [cell for cell, count in zip(cells, counts, strict=False) for _ in range(count)]


def _may_be_several(entry: Entry, options: ReadOptions) -> bool:
    """Whether an entry is worth a look: by its name, or where that says nothing, if looking costs little."""
    if options.pages == "images":
        return True
    end = entry.name[entry.name.rfind(".") :].lower()
    is_unknown = end not in Image.registered_extensions() and isinstance(entry, FileEntry | SliceEntry)
    return end in TIFF_ENDS or (is_unknown and end != ".npy")


def _images_of(entry: Entry, options: ReadOptions) -> list[Entry]:
    """An entry for each image of a file; the file's own where it holds one, or cannot be read."""
    try:
        with _file(entry) as (file, base):
            layout = layout_of(file, base)
            if layout is not None:
                places, _ = pages_of(file, layout, base)
                stacks = stacks_of(file, options, base) if len(places) > 1 else []
                return [_page_entry(entry, number, stack, places) for number, stack in enumerate(stacks)]
        frames = _animation(entry).n_frames if options.pages == "images" else 1  # type: ignore[attr-defined]
    except Exception:  # what is wrong with it is said when it is read
        return [entry]
    return [FrameEntry(f"{entry.name}#{index}", entry, index) for index in range(frames)]


def _page_entry(entry: Entry, number: int, stack: Stack, places: Sequence[int]) -> PageEntry:
    page, count = stack.pages[0], len(stack.pages)
    description = CHANNELS_FIRST % (count, page.imagelength, page.imagewidth) if count > 1 else ""
    own = tuple(places[int(page.index)] for page in stack.pages)
    return PageEntry(f"{entry.name}#{number}", entry, own, description.encode())


@contextmanager
def _file(entry: Entry) -> Iterator[tuple[ReadableFile, int]]:
    """The content of an entry as an open file, and where in the file it begins."""
    if isinstance(entry, FileEntry | SliceEntry):
        with entry.path.open("rb") as file:
            yield file, entry.offset if isinstance(entry, SliceEntry) else 0
    else:
        content = entry.read()
        yield io.BytesIO(content if isinstance(content, bytes) else b""), 0


@lru_cache(maxsize=1)
def _animation(entry: Entry) -> ImageFile.ImageFile:
    """An animation, open: its frames are read one after the other, and each builds on those before.

    Raises:
        BadImageError: It is none, or its frames have more than 8 bits.
    """
    content = entry.read()
    if not isinstance(content, bytes):
        raise BadImageError("it is an array")
    image = open_in_pillow(content)
    if image.format not in ANIMATIONS:
        raise BadImageError("it is no animation")
    if deep_decoder(image, content) is not None:
        raise BadImageError("its frames have more than 8 bits; save each as an image")
    return image
