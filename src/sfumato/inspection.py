"""What a data set is, before anything is trained on it: facts for a person and for scripts, and pictures."""

import shlex
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sfumato import pictures
from sfumato.architecture import model_for
from sfumato.conditions import Cell, column_of
from sfumato.data import ImageSet, image_set, read_images
from sfumato.devices import choose_device
from sfumato.duplicates import Groups, nearly_same, same_pixels
from sfumato.errors import DataError
from sfumato.models import network_for
from sfumato.presets import preset_for
from sfumato.rules import planned
from sfumato.sources import ReadOptions, Shape, Source, Unreadable, depth_title, mode_title, open_source
from sfumato.store import cache_folder, kept_in, open_store, suggested_size, survey

LARGEST_SIDE = 128
"""Images of one size that is not larger than this are learned as they are."""

LARGEST_TINY = 16
"""The largest side that the preset `tiny` is for."""

SMALL_SET = 5000
"""Below this many images a model begins to copy them, and augmentation helps."""

MOST_ON_SHEET = 100
MOST_PAIRS = 24

BYTES_A_WEIGHT = 16
"""Weights, their average and Adam's two moments, in float32."""


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
    """Images, what they were before they were fitted, their table, which could not be read, and what was chosen."""

    images: ImageSet
    shapes: Sequence[Shape]
    columns: Mapping[str, Sequence[Cell]]
    skipped: Sequence[Unreadable]
    options: ReadOptions


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
        on_images: told how many more images have been compared with all others, of how many.

    Raises:
        DataError: the images cannot be used.
    """
    seen = _seen(source, options or ReadOptions(), labels, cache)
    images = seen.images
    same = same_pixels(images)
    alike = nearly_same(images, lambda done: on_images(done, len(images))) if near_duplicates else None
    return Inspection(_facts(source, seen, same, alike), images, same, alike)


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


def recommended(options: ReadOptions, shapes: Sequence[Shape]) -> ReadOptions:
    """The options with a size: none if the images share a small one, else a suggestion."""
    sizes = {(shape.width, shape.height) for shape in shapes}
    share_a_small_one = len(sizes) == 1 and max(map(max, sizes)) <= LARGEST_SIDE
    if options.size is not None or not sizes or share_a_small_one:
        return options
    side = suggested_size(shapes)
    return replace(options, size=(side, side))


def train_command(source: str, options: ReadOptions, images: ImageSet) -> str:
    """The `train` command for this data."""
    words = ["sfumato", "train", source]
    if options.size is not None:
        width, height = options.size
        words += ["--size", str(width) if width == height else f"{width}x{height}"]
    words += ["--fit", options.fit] if options.fit != "crop" else []
    words += ["--channels", options.channels] if options.channels != "auto" else []
    words += ["--preset", "tiny"] if source != "digits" and _is_tiny(images) else []
    words += ["--augment", "0.12"] if source != "digits" and len(images) < SMALL_SET else []
    return shlex.join(words)


def _is_tiny(images: ImageSet) -> bool:
    return max(images.image_shape[1:]) <= LARGEST_TINY


def _seen(source: str, options: ReadOptions, labels: bool, cache: Path | None) -> _Seen:
    if source == "digits":
        images = read_images(source, options, labels)
        return _Seen(images, [Shape(8, 8, 1, "uint8")] * len(images), {}, [], options)
    opened = open_source(source, options)
    if options.size is None:
        options = recommended(options, _surveyed(opened, options, cache_folder(cache)))
    store = open_store(opened, options, cache)
    index = store.index
    return _Seen(image_set(store, opened.title, options, labels), index.shapes, index.columns, index.skipped, options)


def _surveyed(source: Source, options: ReadOptions, cache: Path) -> list[Shape]:
    """The shape of every image that has one, by its header."""
    with kept_in(cache, source):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as spool:
            shapes = survey(source.listing(Path(spool)).entries, options)
    return [shape for shape in shapes if isinstance(shape, Shape)]


def _facts(source: str, seen: _Seen, same: Groups, alike: Groups | None) -> dict[str, Any]:
    images, shapes = seen.images, seen.shapes
    channels, height, width = images.image_shape
    return {
        "source": source,
        "images": len(images),
        "sizes": _counts(f"{shape.width}x{shape.height}" for shape in shapes),
        "modes": _counts(mode_title(shape.channels, shape.opacity) for shape in shapes),
        "depths": _counts(depth_title(shape.dtype) for shape in shapes),
        "classes": _class_counts(images),
        "columns": {name: _spoken(name, cells) for name, cells in seen.columns.items()},
        "unreadable": [{"name": file.name, "reason": file.reason} for file in seen.skipped],
        "duplicates": _group_counts(same),
        "near_duplicates": None if alike is None else _group_counts(alike),
        "learned_as": {
            "width": width,
            "height": height,
            "channels": channels,
            "mode": mode_title(channels, images.depth.opacity),
            "depth": depth_title(images.depth.dtype),
        },
        "bytes": {"images": len(images) * images.pixels.bytes_an_image, "network": _network_bytes(source, images)},
        "notices": [asdict(notice) for notice in images.notices],
        "command": train_command(source, seen.options, images),
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return dict(Counter(values).most_common())


def _class_counts(images: ImageSet) -> dict[str, int]:
    if images.labels is None or not images.label_names:
        return {}
    counts = torch.bincount(images.labels, minlength=len(images.label_names)).tolist()
    return dict(zip(images.label_names, counts, strict=True))


def _spoken(name: str, cells: Sequence[Cell]) -> str:
    """What a column would tell a network, or why it cannot."""
    try:
        return str(column_of(name, cells))
    except DataError as error:
        return error.problem


def _group_counts(groups: Groups) -> dict[str, int]:
    return {"groups": len(groups), "images": sum(map(len, groups))}


def _network_bytes(source: str, images: ImageSet) -> int:
    """Memory of the recommended preset's network while it learns, activations apart."""
    preset = preset_for(source, "tiny" if _is_tiny(images) else None)
    config = model_for(planned(preset, images, choose_device("auto")).config, images)
    with torch.device("meta"):
        network = network_for(config)
    return BYTES_A_WEIGHT * sum(parameter.numel() for parameter in network.parameters())
