"""Files with several images, as pages or frames; each image becomes an entry."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from PIL import Image, ImageFile

from sfumato.data.sources.entry import MOST_BYTES, BadImageError, Content, Entry, FileEntry, ReadableFile, SliceEntry
from sfumato.data.sources.high_bit_depth import deep_decoder
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.picture import failure_reason
from sfumato.data.sources.pillow import ANIMATIONS, open_in_pillow, pixel_limit
from sfumato.data.sources.source import Listing, Notice
from sfumato.data.sources.tiff import stacks_of
from sfumato.data.sources.tiff_directories import extract_pages, page_offsets, read_tiff_header
from sfumato.data.sources.tiff_pages import PageGroup

T = TypeVar("T")

CHANNELS_FIRST = '{"shape": [%d, %d, %d], "axes": "CYX"}'
"""Metadata of tifffile for pages that are channels."""

TIFF_ENDS = (".tif", ".tiff", ".btf", ".tf8", ".lsm")


@dataclass(frozen=True)
class PageEntry(Entry):
    """One image of a TIFF file with several.

    Attributes:
        of: Entry of the file.
        places: Offsets of the directories of its pages.
        description: Image description of the extracted file.
    """

    of: Entry
    places: tuple[int, ...]
    description: bytes = b""

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """Extracts this image as a TIFF file."""
        with _file(self.of) as (file, base):
            header = read_tiff_header(file, base)
            if header is None:
                raise BadImageError("the file is no longer a TIFF")
            try:
                return extract_pages(file, header, self.places, self.description, base)
            except (ValueError, struct.error, KeyError) as error:
                raise BadImageError("its directory is damaged") from error


@dataclass(frozen=True)
class FrameEntry(Entry):
    """One frame of an animation.

    Attributes:
        of: Entry of the file.
        index: Index of the frame.
    """

    of: Entry
    index: int

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """Renders this frame as a PNG file."""
        image, file = _animation(self.of), io.BytesIO()
        try:
            with pixel_limit(b"GIF8"):  # all frames have the size of the first, which was checked
                image.seek(self.index)
                rendered = image.convert("RGBA" if image.has_transparency_data else "RGB")
                rendered.save(file, "PNG", compress_level=1, icc_profile=image.info.get("icc_profile"))
        except Exception as error:  # broken files raise many types of exceptions
            raise BadImageError(failure_reason(error)) from error
        return file.getvalue()


def with_pages(listing: Listing, options: ReadOptions) -> Listing:
    """Lists each image of files with several images as an entry.

    By default, these are TIFF files whose metadata declare their pages as images. If "images" are requested, they are
    all TIFF files with several pages, and animations.

    Args:
        listing: Listing of files.
        options: Interpretation of pages.

    Returns:
        The same listing if no file holds several images; else a new one with repeated columns, classes and splits.
    """
    if options.pages in ("first", "channels"):
        return listing
    _animation.cache_clear()  # the file may have changed
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
    """Repeats each cell for the images of its file; empty if there are no cells."""
    return [cell for cell, count in zip(cells, counts, strict=False) for _ in range(count)]


def _may_be_several(entry: Entry, options: ReadOptions) -> bool:
    """Whether to examine an entry: by its extension, or if its type is unknown and reading is cheap."""
    if options.pages == "images":
        return True
    end = entry.name[entry.name.rfind(".") :].lower()
    is_unknown = end not in Image.registered_extensions() and isinstance(entry, FileEntry | SliceEntry)
    return end in TIFF_ENDS or (is_unknown and end != ".npy")


def _images_of(entry: Entry, options: ReadOptions) -> list[Entry]:
    """Entries of the images of a file; the entry itself if it holds one image or cannot be read."""
    try:
        with _file(entry) as (file, base):
            header = read_tiff_header(file, base)
            if header is not None:
                places, _ = page_offsets(file, header, base)
                stacks = stacks_of(file, options, base) if len(places) > 1 else []
                return [_page_entry(entry, number, stack, places) for number, stack in enumerate(stacks)]
        frames = _animation(entry).n_frames if options.pages == "images" else 1  # type: ignore[attr-defined]
    except Exception:  # errors are reported when the entry is decoded
        return [entry]
    return [FrameEntry(f"{entry.name}#{index}", entry, index) for index in range(frames)]


def _page_entry(entry: Entry, number: int, stack: PageGroup, places: Sequence[int]) -> PageEntry:
    page, count = stack.pages[0], len(stack.pages)
    description = CHANNELS_FIRST % (count, page.imagelength, page.imagewidth) if count > 1 else ""
    own = tuple(places[int(page.index)] for page in stack.pages)
    return PageEntry(f"{entry.name}#{number}", entry, own, description.encode())


@contextmanager
def _file(entry: Entry) -> Iterator[tuple[ReadableFile, int]]:
    """Opens the content of an entry, with the offset of its start in the file."""
    if isinstance(entry, FileEntry | SliceEntry):
        with entry.path.open("rb") as file:
            yield file, entry.offset if isinstance(entry, SliceEntry) else 0
    else:
        content = entry.read()
        yield io.BytesIO(content if isinstance(content, bytes) else b""), 0


@lru_cache(maxsize=1)
def _animation(entry: Entry) -> ImageFile.ImageFile:
    """Opens an animation; it is cached, since each frame depends on the previous ones.

    Raises:
        BadImageError: It is not an animation, or its frames have more than 8 bits.
    """
    content = entry.read()
    if not isinstance(content, bytes):
        raise BadImageError("it is an array")
    image = open_in_pillow(content)
    if image.format not in ANIMATIONS:
        raise BadImageError("it is not an animation")
    if deep_decoder(image, content) is not None:
        raise BadImageError("its frames have more than 8 bits; save each as an image")
    return image
