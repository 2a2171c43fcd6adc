"""What a data set is, before anything is trained on it: facts for a person and for scripts, and pictures."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sfumato.data import DIGITS, ImageSet, image_set, read_images
from sfumato.data.cache import cache_folder, kept_in, open_store, survey
from sfumato.data.cache.build import require_enough
from sfumato.data.cache.index import Index
from sfumato.data.duplicates import Groups, nearly_same, same_pixels
from sfumato.data.sources import (
    ReadOptions,
    Shape,
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
MOST_PAIRS = 24


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        facts: numbers and names, ready for JSON.
        images: the images, as the recommended command learns them.
        same: groups of images with equal pixels.
        alike: groups of images that look the same, equal ones included; None if that was not asked.
    """

    facts: dict[str, Any]
    images: ImageSet
    same: Groups
    alike: Groups | None


@dataclass(frozen=True)
class _Seen:
    """Images, their shapes before they were resized, the index of their store if they have one, and the advice."""

    images: ImageSet
    shapes: Sequence[Shape]
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
    """Looks at every image of a source, and keeps the decoded ones for training.

    Args:
        source: as for `load_images`.
        options: what is asked of the images; a size is recommended where none is given.
        labels: whether sub-folders are classes.
        near_duplicates: whether to look for images that are nearly the same; takes a while for many.
        cache: where decoded images are kept; None: SFUMATO_CACHE, or the user's cache.
        on_images: called with the number of images hashed since the last call, and the number of all.

    Raises:
        DataError: the images cannot be used.
    """
    seen = _seen(source, options or ReadOptions(), labels, cache)
    images = seen.images
    same = same_pixels(images)
    alike = nearly_same(images, lambda done: on_images(done, len(images))) if near_duplicates else None
    return Inspection(_facts(source, seen, labels, same, alike), images, same, alike)


def save_pictures(found: Inspection, folder: Path) -> list[Path]:
    """Writes a contact sheet, and one of the images that look the same.

    Returns:
        The files.

    Raises:
        RunError: they could not be written.
    """
    count = min(len(found.images), MOST_ON_SHEET)
    spread = torch.linspace(0, len(found.images) - 1, count).round().long()
    written = [pictures.save_grid(found.images.select(spread).viewable(), folder / "sheet.png")]
    pairs = [group[:2] for group in (found.same if found.alike is None else found.alike)[:MOST_PAIRS]]
    if pairs:
        shown = found.images.select(torch.tensor(pairs).flatten())
        written.append(pictures.save_grid(shown.viewable(), folder / "duplicates.png", columns=6))
    return written


def _seen(source: str, options: ReadOptions, labels: bool, cache: Path | None) -> _Seen:
    device = choose_device("auto")
    if source == DIGITS:
        images = read_images(source, options, labels)
        shapes = [Shape(8, 8, 1, "uint8")] * len(images)
        return _Seen(images, shapes, None, recommend(source, options, shapes, device))
    opened = open_source(source, options)
    advice = recommend(source, options, _surveyed(opened, options, cache_folder(cache)), device)
    store = open_store(opened, advice.options, cache)
    images = image_set(store, opened.title, advice.options, labels)
    return _Seen(images, store.index.shapes, store.index, advice)


def _surveyed(source: Source, options: ReadOptions, cache: Path) -> list[Shape]:
    """The shape of every image that has one, by its header.

    Raises:
        DataError: there are fewer than two.
    """
    with kept_in(cache, source):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as spool:
            listing = with_pages(source.listing(Path(spool)), options)
            found = survey(listing.entries, options)
    shapes = [shape for shape in found if isinstance(shape, Shape)]
    unreadable = [shape for shape in found if isinstance(shape, Unreadable)]
    require_enough(source, listing, len(shapes), unreadable)
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
        "unreadable": [{"name": file.name, "reason": file.reason} for file in index.skipped] if index else [],
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
    """The values of the pixels: the extremes, black and white, labels, and the share without data."""
    black, white = images.depth.range
    if index is None:
        return {"black": black, "white": white}
    found = index.values
    return {
        "low": found.low,
        "high": found.high,
        "black": black,
        "white": white,
        "labels": found.labels,
        "without_data": found.missing_share,
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return dict(Counter(values).most_common())


def _class_counts(images: ImageSet) -> dict[str, int]:
    if images.labels is None or not images.label_names:
        return {}
    known = images.labels[images.labels >= 0]
    counts = torch.bincount(known, minlength=len(images.label_names)).tolist()
    return dict(zip(images.label_names, counts, strict=True))


def _group_counts(groups: Groups) -> dict[str, int]:
    return {"groups": len(groups), "images": sum(map(len, groups))}
