"""Finds the images, labels and splits of an `.npz` file by the names and shapes of its arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sfumato.data.sources.entry import ArrayHeader
from sfumato.data.sources.folder_labels import SPLIT_WORDS
from sfumato.data.sources.source import Notice
from sfumato.errors import DataError

IMAGES, LABELS, NAMES = "images", "labels", "label_names"

IMAGE_WORDS = (IMAGES, "image", "x", "data", "imgs", "img", "samples", "arr_0")
LABEL_WORDS = (LABELS, "label", "y", "targets", "target", "classes", "class", "arr_1")
"""Usual names of arrays; the first one that exists is used."""

SAVE_REMEDY = (
    f"Save the images as {IMAGES} and their labels as {LABELS}: numpy.savez(file, {IMAGES}=..., {LABELS}=...)."
)


@dataclass(frozen=True)
class SplitArrays:
    """Arrays of one split, or of all images.

    Attributes:
        images: Name of the array of images.
        labels: Name of the array of labels, if there is one.
        split: "train", "validation" or "test"; None if the file has no splits.
    """

    images: str
    labels: str | None = None
    split: str | None = None


def find_arrays(title: str, headers: Mapping[str, ArrayHeader | None]) -> list[SplitArrays]:
    """Finds the arrays of images and labels.

    Args:
        title: Name of the file for messages.
        headers: Headers of all arrays by name; None for arrays that cannot be read.

    Raises:
        DataError: No array has the shape of images, or several may be the images.
    """
    names = [name for name in headers if name != NAMES]
    splits = [part for split in SPLIT_WORDS if (part := _split(split, names, headers))]
    if splits and IMAGES not in names:
        return splits
    images = _images(title, names, headers)
    return [SplitArrays(images, _labels(images, [name for name in names if name != images], headers))]


def arrays_notices(title: str, parts: Sequence[SplitArrays], headers: Mapping[str, ArrayHeader | None]) -> list[Notice]:
    """Notices about images and labels with unusual names, and about unused arrays."""
    used = {name for part in parts for name in (part.images, part.labels) if name}
    notices = []
    if not used <= {IMAGES, LABELS}:
        taken = ", ".join(_split_title(part, headers) for part in parts)
        notices.append(Notice("arrays", f"{title}: the images are {taken}."))
    others = sorted(name for name in headers.keys() - used - {NAMES} if not name.startswith("condition."))
    if others:
        text = f"{title}: arrays that are not used: {', '.join(_array_title(name, headers) for name in others)}."
        notices.append(Notice("arrays", text, matters=False))
    return notices


def is_of_images(header: ArrayHeader | None) -> bool:
    """Whether an array has the shape and dtype of images: (N, H, W), (N, H, W, C) or (N, C, H, W)."""
    if header is None or header.dtype.kind not in "uifb":
        return False
    return len(header.shape) in (3, 4) and min(header.shape) > 0 and sorted(header.shape[1:])[-2] > 1


def _split(split: str, names: Sequence[str], headers: Mapping[str, ArrayHeader | None]) -> SplitArrays | None:
    """Arrays of one split, such as x_train and y_train, train_images and train_labels, or train."""
    alone = [name for name in names if name.lower() in SPLIT_WORDS[split] and is_of_images(headers[name])]
    images = _named(names, split, IMAGE_WORDS) or next(iter(alone), None)
    return None if images is None else SplitArrays(images, _named(names, split, LABEL_WORDS), split)


def _named(names: Sequence[str], split: str, words: Sequence[str]) -> str | None:
    splits = "|".join(SPLIT_WORDS[split])
    for word in words:
        pattern = re.compile(rf"({splits})[_ -]?{word}|{word}[_ -]?({splits})", re.IGNORECASE)
        if found := [name for name in names if pattern.fullmatch(name)]:
            return found[0]
    return None


def _images(title: str, names: Sequence[str], headers: Mapping[str, ArrayHeader | None]) -> str:
    """The array of images of a file without splits."""
    if IMAGES in names:
        return IMAGES
    if len(names) == 1:
        return names[0]
    candidates = [name for name in names if is_of_images(headers[name])]
    if not candidates:
        known = ", ".join(_array_title(name, headers) for name in names) or "none"
        raise DataError(f"{title} has no array {IMAGES}, only: {known}", SAVE_REMEDY)
    usual = [name for word in IMAGE_WORDS for name in candidates if name.lower() == word != "arr_0"]
    if len(candidates) > 1 and not usual:
        known = " or ".join(_array_title(name, headers) for name in candidates)
        raise DataError(f"{title} has several arrays that may be the images: {known}", SAVE_REMEDY)
    return (usual or candidates)[0]


def _labels(images: str, others: Sequence[str], headers: Mapping[str, ArrayHeader | None]) -> str | None:
    """The array of labels, unless it has the shape of images; `arr_1` only if it has one row per image."""
    found = next((name for word in LABEL_WORDS for name in others if name.lower() == word), None)
    if found is None or is_of_images(headers[found]):
        return None
    known, rows = headers[found], headers[images]
    fits = known is None or rows is None or known.shape[:1] == rows.shape[:1]
    return found if fits or found != "arr_1" else None


def _split_title(part: SplitArrays, headers: Mapping[str, ArrayHeader | None]) -> str:
    labels = f"with the labels {part.labels}" if part.labels else "without labels"
    split = f" ({part.split})" if part.split else ""
    return f"{_array_title(part.images, headers)} {labels}{split}"


def _array_title(name: str, headers: Mapping[str, ArrayHeader | None]) -> str:
    header = headers[name]
    return f"{name} (unreadable)" if header is None else f"{name} {header.shape}"
