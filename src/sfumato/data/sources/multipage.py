"""Files with several images, as pages or frames; each image becomes an entry."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeVar

from PIL import Image, ImageFile

from sfumato.data.sources.entry import MOST_BYTES, Content, Entry, FileEntry, SliceEntry
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.picture import failure_reason
from sfumato.data.sources.pillow import is_deep_png, open_in_pillow, pixel_limit
from sfumato.data.sources.source import Listing, Notice, stat_signature
from sfumato.data.sources.tiff import MAGICS, TiffImages
from sfumato.errors import BadImageError

if TYPE_CHECKING:
    from tifffile import TiffFile

CellT = TypeVar("CellT")

ANIMATIONS = ("AVIF", "FLI", "GIF", "PNG", "WEBP")
"""Formats in which all frames are images."""

TIFF_ENDS = (".tif", ".tiff", ".btf", ".tf8", ".lsm")


@dataclass(frozen=True)
class PageEntry(Entry):
    """One image of a TIFF file with several.

    Attributes:
        of: Entry of the file.
        index: Index of the image.
        options: How the pages are interpreted.
    """

    of: Entry
    index: int
    options: ReadOptions

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """Opens this image."""
        try:
            return _tiff_images(self.of, self.options, _signature(self.of)).picture(self.index)
        except Exception as error:  # broken files raise many types of exceptions
            raise BadImageError(failure_reason(error)) from error


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
        image, file = _animation(self.of, _signature(self.of)), io.BytesIO()
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


def release_files() -> None:
    """Releases the files that are kept for their next pages or frames."""
    _tiff_images.cache_clear()
    _animation.cache_clear()


def _repeated(cells: Sequence[CellT], counts: Sequence[int]) -> list[CellT]:
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
        if _is_tiff(entry):
            pages = range(len(_tiff_images(entry, options, _signature(entry))))
            return [PageEntry(f"{entry.name}#{index}", entry, index, options) for index in pages]
        frames = _animation(entry, _signature(entry)).n_frames if options.pages == "images" else 1  # type: ignore[attr-defined]
    except Exception:  # errors are reported when the entry is decoded
        return [entry]
    return [FrameEntry(f"{entry.name}#{index}", entry, index) for index in range(frames)]


def _is_tiff(entry: Entry) -> bool:
    if not isinstance(entry, FileEntry | SliceEntry):
        content = entry.read(len(MAGICS[0]))
        return isinstance(content, bytes) and content.startswith(MAGICS)
    with entry.path.open("rb") as file:  # its size is not limited
        file.seek(entry.offset if isinstance(entry, SliceEntry) else 0)
        return file.read(len(MAGICS[0])) in MAGICS


def _signature(entry: Entry) -> str:
    """Text that changes with the file of an entry, for the caches of opened files."""
    path = getattr(entry, "path", None)
    return "" if path is None else stat_signature(path)


@lru_cache(maxsize=1)
def _tiff_images(entry: Entry, options: ReadOptions, signature: str) -> TiffImages:  # noqa: ARG001
    """Opens a TIFF file; it is cached for its next pages."""
    content = None if isinstance(entry, FileEntry) else partial(_content, entry)
    return TiffImages(_opened(entry), content, options)


def _opened(entry: Entry) -> TiffFile:
    from tifffile import TiffFile

    match entry:
        case FileEntry():
            return TiffFile(entry.path, _multifile=False)
        case SliceEntry():
            return TiffFile(entry.path, offset=entry.offset, size=entry.size, _multifile=False)
    return TiffFile(io.BytesIO(_content(entry)), _multifile=False)


def _content(entry: Entry) -> bytes:
    """Reads a whole file; raises `BadImageError` if it is an array."""
    content = entry.read()
    if not isinstance(content, bytes):
        raise BadImageError("it is an array")
    return content


@lru_cache(maxsize=1)
def _animation(entry: Entry, signature: str) -> ImageFile.ImageFile:  # noqa: ARG001
    """Opens an animation of 8 bits; it is cached, since each frame depends on the previous ones."""
    content = _content(entry)
    image = open_in_pillow(content)
    if image.format not in ANIMATIONS:
        raise BadImageError("it is not an animation")
    if is_deep_png(image, content):
        raise BadImageError("its frames have more than 8 bits; save each as an image")
    return image
