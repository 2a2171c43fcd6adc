"""From a folder, or the word "digits", to images in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import Literal, get_args

import torch
from PIL import Image

from sfumato.data.decode import Channels, Unreadable, decode, native_channels, to_array, upright_size
from sfumato.data.digits import load_digits
from sfumato.data.folder import find_images, printable_path
from sfumato.data.imageset import ImageSet
from sfumato.data.labels import Labelling, label_images
from sfumato.data.parallel import map_files
from sfumato.errors import ConfigError, DataError

ChannelChoice = Literal["auto", "grey", "rgb", "rgba"]

SMALLEST_SIDE = 4
LARGEST_SUGGESTION = 64
NAMED_FILES = 5
TITLES: dict[Channels, str] = {"grey": "grey", "rgb": "RGB", "rgba": "RGBA"}
BY_COUNT: dict[int, Channels] = {1: "grey", 3: "rgb", 4: "rgba"}


def load_images(
    source: str | Path, *, size: int | None = None, channels: ChannelChoice = "auto", labels: bool = True
) -> ImageSet:
    """Load every readable image of a folder, in an order that depends on the file names alone.

    Args:
        source: A folder, searched recursively, or the word "digits" for scikit-learn's digits. A folder of that name in
            the working directory is reached as "./digits".
        size: The side of the square that images are resized and cropped to, from 4. None keeps the size they share.
        channels: "grey", "rgb" or "rgba"; "auto" is what most of the images are. The others are converted.
        labels: Whether the first level of sub-folders are classes, when every image lies in one.

    Returns:
        The images, with notices about every file that was skipped or converted and every label not used.

    Raises:
        ConfigError: `size` or `channels` makes no sense.
        DataError: There is no such folder, too few images can be read, they differ in size while `size` is None, or a
            class has a single image.
    """
    _check(size, channels)
    if source == "digits":
        return load_digits(size, "grey" if channels == "auto" else channels, labels)
    root = _existing_folder(Path(source))
    paths = find_images(root)
    if not paths:
        raise DataError(f"The folder {root} holds no images", "Name one that holds image files, such as PNG or JPEG.")
    if size is None:
        sizes = map_files(upright_size, paths, "Measuring images")
        _require_one_size(root, [size for size in sizes if not isinstance(size, Unreadable)])
    outcomes = map_files(partial(decode, size=size), paths, "Reading images")
    return _assemble(root, dict(zip(paths, outcomes, strict=True)), channels, labels)


def load_files(paths: Sequence[Path], image_shape: tuple[int, int, int]) -> torch.Tensor:
    """Load image files for a model of images of one shape.

    Args:
        paths: The files.
        image_shape: (C, H, W). Where H is W, images are resized and cropped to it; else they must have that size.

    Returns:
        uint8, (n, C, H, W).

    Raises:
        DataError: A file cannot be read, or has another size.
    """
    channels, height, width = image_shape
    decoded = []
    for path in paths:
        image = decode(path, height if height == width else None)
        if isinstance(image, Unreadable):
            raise DataError(f"{path} cannot be read: {image.reason}", "Name an image that Pillow reads.")
        if image.size != (width, height):
            raise DataError(f"{path} has {image.width}x{image.height} pixels", f"Resize it to {width}x{height}.")
        decoded.append(image)
    return _stack(decoded, BY_COUNT[channels])


def _check(size: int | None, channels: str) -> None:
    if size is not None and size < SMALLEST_SIDE:
        raise ConfigError(
            f"The size is {size}, but images must be at least {SMALLEST_SIDE} pixels a side", "Pass, say, --size 32."
        )
    if channels not in get_args(ChannelChoice):
        raise ConfigError(f"The channels are {channels!r}", f"Choose one of {', '.join(get_args(ChannelChoice))}.")


def _existing_folder(path: Path) -> Path:
    remedy = "Name a folder of images, or the word digits."
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise DataError(f"There is no folder {path} to read", remedy) from error
    if not path.is_dir():
        raise DataError(f"{path} is a file, but a folder is expected", remedy)
    return path


def _require_one_size(root: Path, sizes: list[tuple[int, int]]) -> None:
    """Refuse (width, height) pairs that differ, or that are too small."""
    counts = Counter(sizes)
    if len(counts) > 1:
        common = ", ".join(f"{count} of {width} x {height}" for (width, height), count in counts.most_common(3))
        raise DataError(
            f"The images in {root} have {len(counts)} different sizes (most often: {common} pixels)",
            f"Resize and crop them to one size with --size {_suggested_size(sizes)}.",
        )
    for width, height in counts:
        if min(width, height) < SMALLEST_SIDE:
            raise DataError(
                f"The images in {root} are {width} x {height} pixels, but at least {SMALLEST_SIDE} a side are needed",
                "Enlarge them with --size 8.",
            )


def _suggested_size(sizes: list[tuple[int, int]]) -> int:
    """The largest power of two, from 4 to 64, that is not above the median of the shorter sides."""
    shorter = median_low(min(size) for size in sizes)
    return 1 << min(max(shorter, SMALLEST_SIDE), LARGEST_SUGGESTION).bit_length() - 1


def _assemble(
    root: Path, outcomes: dict[Path, Image.Image | Unreadable], channels: ChannelChoice, labels: bool
) -> ImageSet:
    skipped = [outcome for outcome in outcomes.values() if isinstance(outcome, Unreadable)]
    decoded = {path: outcome for path, outcome in outcomes.items() if not isinstance(outcome, Unreadable)}
    _require_enough(root, len(decoded), skipped)
    images = list(decoded.values())
    _require_one_size(root, [image.size for image in images])
    target = _most_common_channels(images) if channels == "auto" else channels
    labelling = label_images(root, list(decoded), [file.path for file in skipped]) if labels else Labelling()
    notices = (
        *_skipping(root, skipped, len(outcomes)),
        *(_converting(images, target) if channels == "auto" else ()),
        *labelling.notices,
    )
    return ImageSet(_stack(images, target), labelling.labels, labelling.names, notices)


def _require_enough(root: Path, readable: int, skipped: list[Unreadable]) -> None:
    if readable == 0:
        raise DataError(
            f"None of the {len(skipped)} image files in {root} can be read: {_named(root, skipped)}",
            "Check that they are whole images, in a format that Pillow reads.",
        )
    if readable == 1:
        but = f" ({len(skipped)} cannot be read: {_named(root, skipped)})" if skipped else ""
        raise DataError(f"Only 1 image can be read in {root}{but}, but at least 2 are needed", "Add images.")


def _most_common_channels(images: list[Image.Image]) -> Channels:
    return Counter(map(native_channels, images)).most_common(1)[0][0]


def _skipping(root: Path, skipped: list[Unreadable], total: int) -> tuple[str, ...]:
    return (f"{len(skipped)} of {total} files were skipped: {_named(root, skipped)}.",) if skipped else ()


def _named(root: Path, skipped: list[Unreadable]) -> str:
    """The first of the skipped files, with their reasons, and how many more there are."""
    named = [f"{printable_path(file.path, root)} ({file.reason})" for file in skipped[:NAMED_FILES]]
    more = len(skipped) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _converting(images: list[Image.Image], target: Channels) -> tuple[str, ...]:
    counts = Counter(map(native_channels, images))
    del counts[target]
    return tuple(
        f"{count} of {len(images)} images were converted from {TITLES[native]} to {TITLES[target]}."
        for native, count in counts.items()
    )


def _stack(images: list[Image.Image], channels: Channels) -> torch.Tensor:
    """uint8 (N, C, H, W), filled one by one so that no second copy of the pixels is held."""
    height, width, depth = to_array(images[0], channels).shape
    stacked = torch.empty(len(images), depth, height, width, dtype=torch.uint8)
    for row, image in zip(stacked, images, strict=True):
        row.copy_(torch.from_numpy(to_array(image, channels)).permute(2, 0, 1))
    return stacked
