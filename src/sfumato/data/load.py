"""From what a person names to a set of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from sfumato.data.digits import DIGITS, load_digits
from sfumato.data.imageset import ImageSet
from sfumato.data.labels import LABEL, Labelling, label_by_columns, label_by_folder, label_by_table
from sfumato.depth import EIGHT_BITS, SIXTEEN_BITS, Depth, depth_of_floats
from sfumato.errors import ConfigError, DataError
from sfumato.sources import Cell, ChannelChoice, Fit, Frame, ReadOptions, open_source
from sfumato.sources.decode import opened, reason_of
from sfumato.sources.entry import FileEntry
from sfumato.store import Size, Store, open_store, parsed_size
from sfumato.store.convert import converted
from sfumato.store.index import Index
from sfumato.store.survey import Layout

DEPTHS = {"uint8": EIGHT_BITS, "uint16": SIXTEEN_BITS}
"""What is known of pixels by their dtype alone."""


def load_images(
    source: str | Path,
    *,
    size: Size = None,
    fit: Fit = "crop",
    channels: ChannelChoice = "auto",
    labels: bool = True,
    condition: Sequence[str] = (),
    cache: Path | None = None,
) -> ImageSet:
    """Open every readable image of a source, in an order that depends on the names alone.

    The first time, the images are decoded into a store in the cache, by all cores; after that they are there at once.

    Args:
        source: A folder, searched recursively; a zip or tar of one; an `.npz`, `.npy` or `.parquet` file; `hf:NAME`; or
            the word "digits" for scikit-learn's digits. A folder of that name is reached as "./digits".
        size: What images are brought to, at least 4 pixels a side. None keeps the size they share.
        fit: "crop" cuts off what is too long, "pad" adds borders, "resize" stretches.
        channels: "grey", "rgb" or "rgba"; "auto" is what most of the images are. The others are converted.
        labels: Whether the column `label`, or else the first level of sub-folders, are classes.
        condition: The columns to learn instead, of metadata.csv or of the source's own table.
        cache: The folder of all stores; None: SFUMATO_CACHE, or the user's cache.

    Returns:
        The images, with notices about all that was skipped or converted and every label not used.

    Raises:
        ConfigError: `size`, `fit` or `channels` makes no sense.
        DataError: There is no such source, too few images can be read, they differ in size while `size` is None, a
            class has a single image, a column is not there or cannot be learned, or the store cannot be written.
    """
    options = checked_choices(size, fit, channels)
    if source == DIGITS:
        digits = load_digits(options)
        wanted = condition or ([LABEL] if labels else [])
        names = [str(label) for label in digits.labels.tolist()]
        labelling = label_by_columns({LABEL: names}, wanted) if wanted else Labelling()
        return ImageSet.of(digits.images, labelling.labels, labelling.names)
    found = open_source(source)
    return image_set(open_store(found, options, cache), found.title, labels, condition)


def image_set(store: Store, title: str, labels: bool = True, condition: Sequence[str] = ()) -> ImageSet:
    """The images of a store, with what is to be learned of them; arguments and errors are those of `load_images`."""
    index = store.index
    labelling = _labelling(index, title, labels, condition)
    digests = np.zeros((index.shape[0], len(index.digests[0]) // 2), np.uint8)
    rows = np.array(index.rows, np.int64)
    digests[rows] = np.frombuffer(bytes.fromhex("".join(index.digests)), np.uint8).reshape(len(rows), -1)
    return ImageSet(
        pixels=store.pixels(),
        rows=rows,
        depth=depth_of(index),
        labels=labelling.labels,
        label_names=labelling.names,
        columns=labelling.columns,
        notices=(*index.notices, *labelling.notices),
        digests=digests,
    )


def _labelling(index: Index, title: str, labels: bool, condition: Sequence[str]) -> Labelling:
    """Columns where they are asked for, else the table's own labels, else the folders."""
    if condition:
        by_folder: dict[str, list[Cell]] = {} if None in index.folders else {LABEL: [*index.folders]}
        return label_by_columns(by_folder | index.columns, condition)
    if not labels:
        return Labelling()
    by_table = label_by_table(index.columns)
    if by_table.labels is not None:
        return by_table
    by_folder_names = label_by_folder(title, index.folders, [name for name, _ in index.unreadable])
    return Labelling(
        by_folder_names.labels, by_folder_names.names, notices=(*by_table.notices, *by_folder_names.notices)
    )


def depth_of(index: Index) -> Depth:
    """How the pixels of a store are written."""
    return DEPTHS.get(index.dtype) or depth_of_floats(index.low, index.high)


def load_files(
    paths: Sequence[Path], image_shape: tuple[int, int, int], depth: Depth, fit: Fit = "crop"
) -> torch.Tensor:
    """Load image files for a model of images of one shape.

    Args:
        paths: The files.
        image_shape: (C, H, W), which images are brought to.
        depth: How its pixels are written.
        fit: How they are brought there.

    Returns:
        float32 in [-1, 1], (n, C, H, W).

    Raises:
        DataError: A file cannot be read.
    """
    channels, height, width = image_shape
    return torch.stack([_floats_of(path, Frame(width, height, fit), channels, depth) for path in paths])


def _floats_of(path: Path, frame: Frame, channels: int, depth: Depth) -> torch.Tensor:
    """One image file for a model; among floats, whose black and white may be any, it keeps its own."""
    try:
        picture = opened(FileEntry(path.name, path).read())
        if depth.dtype == "float32":
            depth = DEPTHS.get(picture.shape.dtype, depth)
        pixels = converted(picture, Layout(frame, channels, depth.dtype))
    except Exception as error:  # decoders meet broken data with whatever their code runs into
        raise DataError(f"{path} cannot be read: {reason_of(error)}", "Name an image that Pillow reads.") from error
    return depth.to_float(torch.from_numpy(np.array(pixels)))


def checked_choices(size: Size, fit: Fit, channels: ChannelChoice) -> ReadOptions:
    """The choices, if they make sense.

    Raises:
        ConfigError: They do not.
    """
    if channels not in get_args(ChannelChoice):
        raise ConfigError(f"The channels are {channels!r}", f"Choose one of {', '.join(get_args(ChannelChoice))}.")
    if fit not in get_args(Fit):
        raise ConfigError(f"The fit is {fit!r}", f"Choose one of {', '.join(get_args(Fit))}.")
    return ReadOptions(parsed_size(size), fit, channels)
