"""Inspection of a data set before training: facts and pictures."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sfumato.data import BUILT_IN, ImageSet, duplicates, image_set, read_images
from sfumato.data.cache import cache_folder, cache_write_errors, open_store, read_headers
from sfumato.data.cache.build import check_enough_images
from sfumato.data.cache.index import Index
from sfumato.data.duplicates import Groups
from sfumato.data.sources import (
    ImageInfo,
    ReadOptions,
    Source,
    Unreadable,
    depth_title,
    mode_title,
    open_source,
    with_pages,
)
from sfumato.training.recommendation import Recommendation, memory_of, recommend, train_command
from sfumato.utils import pictures
from sfumato.utils.devices import choose_device

MOST_ON_SHEET = 100
DUPLICATE_PAIRS = 24


@dataclass(frozen=True)
class Inspection:
    """Result of an inspection.

    Attributes:
        facts: Content of the JSON output.
        images: Images in the format of the recommended training command.
        same: Groups of images with equal pixels.
        alike: Groups of images that are nearly equal, including equal ones; None if not requested.
    """

    facts: dict[str, Any]
    images: ImageSet
    same: Groups
    alike: Groups | None


@dataclass(frozen=True)
class _Seen:
    """Images, their original shapes, the index of their cache if there is one, and the recommendation."""

    images: ImageSet
    shapes: Sequence[ImageInfo]
    index: Index | None
    advice: Recommendation


def inspect(
    source: str,
    options: ReadOptions | None = None,
    *,
    labels: bool = True,
    near_duplicates: bool = True,
    cache: Path | None = None,
    on_images: Callable[[int, int], None] = lambda *_: None,
) -> Inspection:
    """Inspects all images of a source, and caches the decoded images for training.

    Args:
        source: Source of the images, as for `load_images`.
        options: Options for reading. If no size is given, one is recommended.
        labels: Whether subfolders are classes.
        near_duplicates: Whether to search for nearly equal images, which is slow for many images. Built-in data sets
            are not searched: they have no copies of images, only similar digits or shapes.
        cache: Folder of decoded images; None: SFUMATO_CACHE, or the user's cache.
        on_images: Called with the number of images hashed since the last call, and the total number.

    Raises:
        DataError: The images cannot be used.
    """
    seen = _seen(source, options or ReadOptions(), labels, cache)
    images = seen.images
    same = duplicates.exact_duplicates(images)
    alike = None
    if near_duplicates and source not in BUILT_IN:
        alike = duplicates.near_duplicates(images, lambda done: on_images(done, len(images)))
    return Inspection(_facts(source, seen, labels, same, alike), images, same, alike)


def save_pictures(found: Inspection, folder: Path) -> list[Path]:
    """Writes a contact sheet, and a picture of duplicates if there are any, and returns their paths.

    Raises:
        RunError: The pictures could not be written.
    """
    count = min(len(found.images), MOST_ON_SHEET)
    spread = torch.linspace(0, len(found.images) - 1, count).round().long()
    written = [pictures.save_grid(found.images.select(spread).viewable(), folder / "sheet.png")]
    pairs = [group[:2] for group in (found.same if found.alike is None else found.alike)[:DUPLICATE_PAIRS]]
    if pairs:
        shown = found.images.select(torch.tensor(pairs).flatten())
        written.append(pictures.save_grid(shown.viewable(), folder / "duplicates.png", columns=6))
    return written


def _seen(source: str, options: ReadOptions, labels: bool, cache: Path | None) -> _Seen:
    device = choose_device("auto")
    if source in BUILT_IN:
        images = read_images(source, options, labels)
        channels, height, width = images.image_shape
        shapes = [ImageInfo(width, height, channels, "uint8")] * len(images)
        return _Seen(images, shapes, None, recommend(source, options, shapes, device))
    opened = open_source(source, options)
    advice = recommend(source, options, _surveyed(opened, options, cache_folder(cache)), device)
    store = open_store(opened, advice.options, cache)
    images = image_set(store, opened.title, advice.options, labels)
    return _Seen(images, store.index.image_infos, store.index, advice)


def _surveyed(source: Source, options: ReadOptions, cache: Path) -> list[ImageInfo]:
    """Shapes of all readable images, from their headers.

    Raises:
        DataError: There are fewer than two.
    """
    with cache_write_errors(cache, source):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as scratch:
            listing = with_pages(source.listing(Path(scratch)), options)
            found = read_headers(listing.entries, options)
    shapes = [shape for shape in found if isinstance(shape, ImageInfo)]
    unreadable = [shape for shape in found if isinstance(shape, Unreadable)]
    check_enough_images(source, listing, len(shapes), unreadable)
    return shapes


def _facts(source: str, seen: _Seen, labels: bool, same: Groups, alike: Groups | None) -> dict[str, Any]:
    images, shapes, index = seen.images, seen.shapes, seen.index
    channels, height, width = images.image_shape
    return {
        "source": source,
        "images": len(images),
        "splits": {name: len(others) for name, others in images.others.items()},
        "sizes": _counts(f"{shape.width}x{shape.height}" for shape in shapes),
        "modes": _counts(mode_title(shape.channels, shape.opacity) for shape in shapes),
        "depths": _counts(depth_title(shape.dtype) for shape in shapes),
        "values": _values(images, index),
        "classes": _class_counts(images),
        "columns": [column.name for column in images.columns],
        "unreadable": [{"name": name, "reason": reason} for name, reason in index.unreadable] if index else [],
        "other_files": index.others if index else {},
        "duplicates": _group_counts(same),
        "near_duplicates": None if alike is None else _group_counts(alike),
        "learned_as": {
            "width": width,
            "height": height,
            "channels": channels,
            "mode": mode_title(channels, images.depth.opacity),
            "depth": depth_title(images.depth.dtype),
        },
        "bytes": memory_of(seen.advice, images),
        "notices": [asdict(notice) for notice in images.notices],
        "forecast": list(seen.advice.plan.reasons),
        "command": train_command(source, seen.advice, labels, len(images)),
    }


def _values(images: ImageSet, index: Index | None) -> dict[str, Any]:
    """Facts on pixel values: extremes, black and white, labels, and the share without data."""
    black, white = images.depth.range
    if index is None:
        return {"black": black, "white": white}
    found = index.values
    facts = {"low": found.low, "high": found.high, "black": black, "white": white}
    return facts | {"labels": found.labels, "without_data": found.missing_share}


def _counts(values: Iterable[str]) -> dict[str, int]:
    """Number of occurrences of each value, most frequent first."""
    return dict(Counter(values).most_common())


def _class_counts(images: ImageSet) -> dict[str, int]:
    if images.labels is None or not images.label_names:
        return {}
    known = images.labels[images.labels >= 0]
    counts = torch.bincount(known, minlength=len(images.label_names)).tolist()
    return dict(zip(images.label_names, counts, strict=True))


def _group_counts(groups: Groups) -> dict[str, int]:
    return {"groups": len(groups), "images": sum(map(len, groups))}
