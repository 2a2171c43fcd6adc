"""Class labels and splits from the names of folders, and splits from columns and file names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.source import Listing, Notice
from sfumato.utils.text import printable

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

SPLIT_WORDS = {
    TRAIN: ("train", "training", "trn", "trainval"),
    VALIDATION: ("validation", "validate", "valid", "val", "dev", "devel", "holdout"),
    TEST: ("test", "testing", "tst", "eval", "evaluation"),
}
"""Usual names of splits, as in the library `datasets`."""

FILLERS = frozenset(
    [
        *("set", "images", "image", "imgs", "img", "data", "dataset", "split", "folder"),
        *("photos", "pictures", "samples", "files", "jpg", "jpeg", "png"),
    ]
)
"""Words without meaning next to the name of a split, as in train_images."""

SPLIT_COLUMNS = ("split", "subset", "set", "partition", "data_set", "dataset", "fold", "phase", "usage")
"""Names of table columns that hold the split of each image."""

NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\WA-Z\d_]+")
SHARD = re.compile(r"-\d+-of-\d+$")

Parts = tuple[str, ...]
"""Folders of the path of a file."""


@dataclass(frozen=True)
class FolderLabels:
    """Split and class of the images in a folder.

    Attributes:
        split: "train", "validation", "test", the name of another folder at the same level, or None.
        label: Class, or None.
    """

    split: str | None = None
    label: str | None = None


def without_shared_folders(listing: Listing) -> Listing:
    """Removes the folders that all entries share from their names, for archives of a single folder."""
    folders = [tuple(entry.name.split("/")[:-1]) for entry in listing.entries]
    prefix = "".join(f"{folder}/" for folder in folders[0][: _shared_depth(folders)]) if folders else ""
    if not prefix:
        return listing
    entries = [replace(entry, name=entry.name.removeprefix(prefix)) for entry in listing.entries]
    unusable = [replace(one, name=one.name.removeprefix(printable(prefix))) for one in listing.unusable]
    return replace(listing, entries=entries, unusable=unusable)


def with_folder_labels(listing: Listing, options: ReadOptions) -> Listing:
    """Adds the class and split of each entry by its folders; folders that all entries share are ignored."""
    paths = [entry.name.rpartition("/")[0] for entry in listing.entries]
    folders = {path: tuple(path.split("/")) if path else () for path in paths}
    depth = _shared_depth(folders.values())
    inner = [folder[depth:] for folder in folders.values()]
    places = dict(zip(folders, _places(inner, options), strict=True))
    splits = [places[path].split for path in paths] if any(place.split for place in places.values()) else []
    return replace(listing, classes=[places[path].label for path in paths], splits=splits)


def with_split_column(listing: Listing, options: ReadOptions) -> Listing:
    """Takes the splits from a column such as `split` if folders and files have none.

    All cells of the column must be usual names of splits or empty, and include "train" and another split.
    """
    if listing.splits or options.split == "none":
        return listing
    for name, cells in listing.columns.items():
        if re.sub(r"\W+", "_", name.strip().lower()) not in SPLIT_COLUMNS:
            continue
        splits = [canonical_split(cell) if isinstance(cell, str) else None for cell in cells]
        found = set(splits) - {None}
        is_split = all(cell is None or isinstance(cell, str) for cell in cells) and found <= set(SPLITS)
        if is_split and TRAIN in found and len(found) > 1:
            columns = {other: values for other, values in listing.columns.items() if other != name}
            notice = Notice("split", f"The splits are from the column {printable(name)}.", "--split NAME|all|none")
            return replace(listing, splits=splits, columns=columns, notices=[*listing.notices, notice])
    return listing


def splits_of_files(paths: Sequence[str], options: ReadOptions) -> list[str | None]:
    """Split of each data file, such as data/train-00000-of-00002.parquet; None if there are no splits.

    Args:
        paths: Paths relative to the common folder, with slashes.
        options: Whether names of splits are used.
    """
    folders = [tuple(SHARD.sub("", path.rpartition(".")[0]).split("/")) for path in paths]
    depth = _shared_depth(folders)
    return [place.split for place in _places([folder[depth:] for folder in folders], options)]


def canonical_split(name: str) -> str:
    """Converts a split name to "train", "validation" or "test"; other names are unchanged.

    >>> canonical_split("Val"), canonical_split("test_images"), canonical_split("extra")
    ('validation', 'test', 'extra')
    """
    kind, rest = parsed_split(name)
    return kind if kind and not rest else name


def parsed_split(name: str) -> tuple[str | None, Parts]:
    """Finds the split in a name, and its other words without fillers such as "images".

    >>> parsed_split("train2017"), parsed_split("seg_test"), parsed_split("trainA"), parsed_split("plane")
    (('train', ()), ('test', ('seg',)), ('train', ('A',)), (None, ('plane',)))
    """
    kinds, others = [], []
    for word in NAME_WORD.findall(name):
        if (kind := _kind(word.lower())) is not None:
            kinds.append(kind)
        elif word.lower() not in FILLERS:
            others.append(word)
    return (kinds[0] if len(kinds) == 1 else None), tuple(others)


def _places(folders: Sequence[Parts], options: ReadOptions) -> list[FolderLabels]:
    """Split and class of each folder; shared parents must be removed."""
    if options.split != "none":
        found = _splits_first(set(folders)) or _classes_first(set(folders))
        if found is not None:
            return [found[folder] for folder in folders]
    return [FolderLabels(None, _first(folder)) for folder in folders]


def _splits_first(folders: Collection[Parts]) -> dict[Parts, FolderLabels] | None:
    """Folders train/cat/, test/cat/ or cat_train/, cat_test/; None for another structure."""
    tops = sorted({folder[0] for folder in folders if folder})
    splits = _split_names(tops, is_alone=() not in folders)
    if not splits:
        return None
    labels = {_key(top) for top in splits}
    depths = _wrapped_depths({top: [folder[1:] for folder in folders if folder[:1] == (top,)] for top in splits})
    places: dict[Parts, FolderLabels] = {(): FolderLabels()}
    for folder in filter(None, folders):
        top, rest = folder[0], folder[1 + depths.get(folder[0], 0) :]
        label = "_".join(parsed_split(top)[1]) if top in splits and len(labels) > 1 else None
        places[folder] = FolderLabels(splits.get(top, top), (label and printable(label)) or _first(rest))
    return places


def _classes_first(folders: Collection[Parts]) -> dict[Parts, FolderLabels] | None:
    """Folders cat/train/, cat/test/ for all classes; None for another structure.

    The folders of each class must all be splits, or include train and another split.
    """
    if any(len(folder) < 2 for folder in folders):
        return None
    inner = defaultdict(set)
    for label, name, *_ in folders:
        inner[label].add(canonical_split(name))
    are_splits = [
        names <= set(SPLITS) or (TRAIN in names and len(names.intersection(SPLITS)) > 1) for names in inner.values()
    ]
    if not all(are_splits) or len(set().union(*inner.values()).intersection(SPLITS)) < 2:
        return None
    return {folder: FolderLabels(canonical_split(folder[1]), printable(folder[0])) for folder in folders}


def _split_names(names: Sequence[str], is_alone: bool) -> dict[str, str]:
    """Split of each folder that is a split.

    Names form a group if they differ only in the split, as seg_train and seg_test. There must be two different splits.
    One must be train if there are other folders, or images outside the folders (`is_alone` is False).
    """
    groups: dict[Parts, dict[str, str]] = defaultdict(dict)
    for name in names:
        kind, _ = parsed_split(name)
        if kind:
            groups[_key(name)][name] = kind
    found = {key: group for key, group in groups.items() if len(set(group.values())) > 1}
    if () in found:
        found = {(): found[()]}
    if sum(map(len, found.values())) < len(names) or not is_alone:
        found = {key: group for key, group in found.items() if TRAIN in group.values()}
    return {name: kind for group in found.values() for name, kind in group.items()}


def _wrapped_depths(folders: Mapping[str, Sequence[Parts]]) -> dict[str, int]:
    """Number of folders in each split that hold all its images and are not classes: train/images/, train/train/."""
    depths = dict.fromkeys(folders, 0)
    while True:
        shared = {top: _shared_depth(folders[top]) > depths[top] for top in folders}
        names = {top: folders[top][0][depths[top]] for top in folders if shared[top]}
        if len(names) < len(folders):
            names = {top: name for top, name in names.items() if name.lower() == top.lower() or _is_filler(name)}
        if not names:
            return depths
        for top in names:
            depths[top] += 1


def _is_filler(name: str) -> bool:
    """Whether a folder is not a class, such as images."""
    words = {word.lower() for word in NAME_WORD.findall(name)}
    return bool(words) and words <= FILLERS


def _key(name: str) -> Parts:
    return tuple(word.lower() for word in parsed_split(name)[1])


def _kind(word: str) -> str | None:
    """Split of a word such as train or testset."""
    stems = {word, *(word.removesuffix(filler) for filler in FILLERS)}
    return next((kind for kind, words in SPLIT_WORDS.items() if not stems.isdisjoint(words)), None)


def _first(parts: Sequence[str]) -> str | None:
    return printable(parts[0]) if parts else None


def _shared_depth(folders: Collection[Parts]) -> int:
    """Number of folders that all paths share.

    >>> _shared_depth([("data", "cat"), ("data", "dog", "small")])
    1
    """
    levels = zip(*folders, strict=False)
    return sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, levels))
