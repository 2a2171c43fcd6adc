"""Groups the pages of a TIFF file: images, channels of one image, or smaller versions of one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sfumato.data.sources.options import PageChoice
from sfumato.errors import BadImageError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

UNNAMED = ("generic", "uniform")
"""Kinds of series of tifffile without named axes."""

UNKNOWN_AXIS = "Q"
CHANNEL_AXES = "CS"


@dataclass(frozen=True)
class PageGroup:
    """One image of a TIFF file.

    Attributes:
        pages: One page, or several pages that are its channels.
        are_rows: Whether each page is a row of the image and its columns are the channels.
    """

    pages: Sequence[TiffPage]
    are_rows: bool = False


def group_pages(file: TiffFile, choice: PageChoice) -> list[PageGroup]:
    """Groups the pages of a TIFF file into images.

    Args:
        file: TIFF file with at least one page.
        choice: Requested interpretation.

    Raises:
        BadImageError: The pages can be images or channels and `choice` is "auto", or they cannot be channels.
    """
    pages: list[TiffPage] = list(file.pages)  # type: ignore[arg-type]  # no frames, unless they are requested
    whole = [page for page in pages if not page.is_reduced and not page.is_mask] or pages[:1]
    if choice == "first" or len(whole) == 1:
        if choice != "first":
            _check_single(file, whole[0])
        return [PageGroup(whole[:1])]
    if choice == "images":
        return [PageGroup([page]) for page in whole]
    if choice == "channels":
        return [_as_channels(whole)]
    if (named := _by_metadata(file, pages)) is not None:
        return named
    if all(page.is_multipage for page in whole):
        return [PageGroup([page]) for page in whole]
    if _is_pyramid(whole):
        return [PageGroup(whole[:1])]
    if len({(page.shape, page.dtype) for page in whole}) > 1:
        raise BadImageError(f"it has {len(whole)} pages of different kinds: give --pages images or first")
    raise BadImageError(
        f"it has {len(whole)} pages of one size, which may be images or channels: "
        "give --pages images, channels or first"
    )


def _check_single(file: TiffFile, page: TiffPage) -> None:
    """Checks that there is only one image, since some software writes stacks with a single directory."""
    if page.imagedepth > 1:
        raise BadImageError(f"it is a volume of {page.imagedepth} slices; save each as an image")
    if (page.is_imagej or page.is_shaped) and (count := max(series.size for series in file.series) // page.size) > 1:
        raise BadImageError(f"it holds {count} images with a single directory; save them as separate pages or files")


def _as_channels(pages: Sequence[TiffPage]) -> PageGroup:
    first = pages[0]
    if len({(page.shape, page.dtype, page.photometric) for page in pages}) > 1:
        raise BadImageError(f"its {len(pages)} pages differ, so they cannot be channels of one image")
    are_rows = first.is_shaped and len(first.shape) == 2 and first.imagewidth < min(len(pages), first.imagelength)
    return PageGroup(pages, bool(are_rows))


def _by_metadata(file: TiffFile, pages: Sequence[TiffPage]) -> list[PageGroup] | None:
    """Images by the named axes of OME, ImageJ or tifffile metadata; None if there are none."""
    stacks: list[PageGroup] = []
    for series in file.series:
        if series.kind in UNNAMED:
            return None
        axes, shape = _of_pages(series)
        if UNKNOWN_AXIS in axes:
            return None
        if any(page is None for page in series.pages):
            raise BadImageError("some of the pages in its metadata are missing")
        channels = [axis for axis, name in enumerate(axes) if name in CHANNEL_AXES]
        order = [axis for axis in range(len(axes)) if axis not in channels] + channels
        count = math.prod(shape[axis] for axis in channels)
        indices = [int(page.index) for page in series.pages if page is not None]
        images = np.array(indices).reshape(shape).transpose(order).reshape(-1, count)
        stacks.extend(PageGroup([pages[index] for index in image]) for image in images)
    return stacks


def _of_pages(series: TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """The leading axes of a series that its pages correspond to, and their lengths.

    Raises:
        BadImageError: The number of pages does not match the axes.
    """
    count = len(series.pages)
    for axes in range(len(series.shape)):
        if math.prod(series.shape[:axes]) == count:
            return series.axes[:axes], series.shape[:axes]
    raise BadImageError(f"its metadata declare {math.prod(series.shape[:-2])} images, but it has {count} pages")


def _is_pyramid(pages: Sequence[TiffPage]) -> bool:
    """Whether each page is a smaller version of the previous one."""
    return all(
        larger.imagewidth >= 1.5 * smaller.imagewidth
        and abs(larger.imagelength * smaller.imagewidth / larger.imagewidth - smaller.imagelength) <= 1.5
        for larger, smaller in pairwise(pages)
    )
