"""From what a person names to a set of images."""

from __future__ import annotations

import codecs
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from sfumato.data.cache import Size, Store, open_store, parsed_size
from sfumato.data.cache.convert import converted
from sfumato.data.cache.index import Index
from sfumato.data.cache.survey import Kind, Layout
from sfumato.data.cache.values import Range, range_notice
from sfumato.data.conditions import Category, Column, as_classes, encode
from sfumato.data.dataset import ImageSet
from sfumato.data.digits import DIGITS, load_digits
from sfumato.data.labels import (
    LABEL,
    Labelling,
    column_notices,
    label_by_columns,
    label_by_folder,
    label_by_table,
    requested_columns,
)
from sfumato.data.sources import DEFAULT_OPTIONS, Cell, ChannelChoice, Fit, Frame, PageChoice, ReadOptions, open_source
from sfumato.data.sources.decode import opened, reason_of
from sfumato.data.sources.entry import FileEntry
from sfumato.data.splits import divided
from sfumato.errors import ConfigError, DataError, LabelError
from sfumato.utils.depth import EIGHT_BITS, SIXTEEN_BITS, Depth

RangeChoice = Range | Literal["auto"]

WHOLE_DEPTHS = {"uint8": EIGHT_BITS, "uint16": SIXTEEN_BITS}
"""What is known of pixels by their dtype alone."""


def load_images(
    source: str | Path,
    *,
    size: Size = None,
    fit: Fit = "crop",
    channels: ChannelChoice = "auto",
    pages: PageChoice = "auto",
    split: str = "auto",
    range: RangeChoice = "auto",
    nodata: float | None = None,
    name_encoding: str | None = None,
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
        channels: "grey", "rgb" or "rgba"; "bands" are plain channels, none of which is opacity; "auto" is what most of
            the images are. The others are converted.
        pages: Whether the pages of a file are "images" or "channels", or only the "first" one is used; "auto" is what
            the file says, and files that do not say it are skipped.
        split: "auto" takes training images only, where folders or files are named as splits, and keeps the others in
            `ImageSet.others`; "all" takes every image; "none" takes the names of splits for classes; or a split.
        range: The values that are black and white; "auto" finds them in the data.
        nodata: The value of pixels without data, beside NaN and what files declare. They get the mean of the others.
        name_encoding: The encoding of the names in a zip or tar; None detects it.
        labels: Whether the column `label`, or else the first level of sub-folders, are classes.
        condition: The columns to learn instead, of metadata.csv or of the source's own table; "age:number" and
            "age:class" say what a column is taken as.
        cache: The folder of all stores; None: SFUMATO_CACHE, or the user's cache.

    Returns:
        The images, with notices about everything that was decided, skipped or converted.

    Raises:
        ConfigError: An argument makes no sense.
        DataError: There is no such source, too few images can be read, they differ in size while `size` is None, a
            class has a single image, a column or split is not there, or the store cannot be written.
    """
    options = checked_options(size, fit, channels, pages, split, range, nodata, name_encoding)
    return read_images(source, options, labels, condition, cache)


def read_images(
    source: str | Path,
    options: ReadOptions,
    labels: bool = True,
    condition: Sequence[str] = (),
    cache: Path | None = None,
) -> ImageSet:
    """The images of a source; see `load_images`."""
    if source == DIGITS:
        digits = load_digits(options)
        wanted = condition or ([LABEL] if labels else [])
        names = [str(label) for label in digits.labels.tolist()]
        labelling = label_by_columns(requested_columns({LABEL: names}, wanted), wanted) if wanted else Labelling()
        return ImageSet.of(digits.images, labelling.labels, labelling.names)
    found = open_source(source, options)
    return image_set(open_store(found, options, cache), found.title, options, labels, condition)


def image_set(
    store: Store, title: str, options: ReadOptions = DEFAULT_OPTIONS, labels: bool = True, condition: Sequence[str] = ()
) -> ImageSet:
    """The images of a store, with what is to be learned of them; arguments and errors are those of `read_images`."""
    index = store.index
    division = divided(title, index.splits, options.split)
    table = _at(index.columns, division.learned)
    labelling, columns = _labelling(index, division.learned, title, labels, condition)
    read = column_notices(table, labelling.learned, index.notices)
    digests = np.zeros((index.shape[0], len(index.digests[0]) // 2), np.uint8)
    rows = np.array(index.rows, np.int64)
    digests[rows] = np.frombuffer(bytes.fromhex("".join(index.digests)), np.uint8).reshape(len(rows), -1)
    notice = range_notice(depth_of(index, options).range, index.values, index.dtype)
    images = ImageSet(
        pixels=store.pixels(),
        rows=rows[division.learned],
        depth=depth_of(index, options),
        labels=labelling.labels,
        label_names=labelling.names,
        columns=labelling.columns,
        notices=(*division.notices, *([notice] if notice else []), *read, *labelling.notices),
        digests=digests,
    )
    others = {
        name: replace(images, rows=rows[places], labels=_labels_as(labelling, columns, places), notices=())
        for name, places in division.others.items()
    }
    return replace(images, others=others)


Columns = Mapping[str, Sequence[Cell]]
"""The columns that are learned, with a cell for every image of a store."""


def _labelling(
    index: Index, learned: Sequence[int], title: str, labels: bool, condition: Sequence[str]
) -> tuple[Labelling, Columns]:
    """What is learned of the images at `learned`: columns on request, else the table's own labels, else the folders."""
    folders = [index.folders[place] for place in learned]
    if condition:
        every = requested_columns(index.columns, condition, index.folders if None not in folders else ())
        return label_by_columns(_at(every, learned), condition), every
    if not labels:
        return Labelling(), {}
    every = requested_columns(index.columns, [LABEL]) if LABEL in index.columns else {}
    by_table = label_by_table(_at({**index.columns, **every}, learned))
    if by_table.labels is not None:
        return by_table, every
    by_folders = label_by_folder(title, folders, index.unreadable_folders)
    return replace(by_folders, notices=(*by_table.notices, *by_folders.notices)), {LABEL: index.folders}


def _at(columns: Columns, places: Sequence[int]) -> dict[str, list[Cell]]:
    """The cells of some images."""
    return {name: [cells[place] for place in places] for name, cells in columns.items()}


def _labels_as(labelling: Labelling, columns: Columns, places: Sequence[int]) -> torch.Tensor | None:
    """The labels of the images at `places`, encoded as those that are learned; values that are not are unknown."""
    if labelling.labels is None:
        return None
    encoders = labelling.columns or (Category(next(iter(columns)), labelling.names),)
    cells = {each.name: [_known(each, columns[each.name][place]) for place in places] for each in encoders}
    rows = encode(encoders, cells)
    return rows if labelling.columns else as_classes(rows)


def _known(column: Column, cell: Cell) -> Cell:
    """The cell if the column has a code for it, else None."""
    if cell is None:
        return None
    try:
        column.code(cell)
    except LabelError:
        return None
    return cell


def depth_of(index: Index, options: ReadOptions) -> Depth:
    """How the pixels of a store are written."""
    return Depth(index.dtype, *(options.range or index.values.range), opacity=index.opacity)


def load_files(
    paths: Sequence[Path], image_shape: tuple[int, int, int], depth: Depth, options: ReadOptions = DEFAULT_OPTIONS
) -> torch.Tensor:
    """Load image files for a model of images of one shape.

    Args:
        paths: The files.
        image_shape: (C, H, W), which images are brought to.
        depth: How its pixels are written. Files of another dtype have the black and white of their dtype.
        options: How the images that it learned from were read, but for their size and range.

    Returns:
        float32 in [-1, 1], (n, C, H, W).

    Raises:
        DataError: A file cannot be read.
    """
    channels, height, width = image_shape
    kind = Kind(channels, depth.opacity)
    options = options if kind.is_viewable else replace(options, channels="bands")
    layout = Layout(Frame(width, height, options.fit), kind, depth.dtype)
    return torch.stack([_floats_of(path, layout, depth, options) for path in paths])


def _floats_of(path: Path, layout: Layout, depth: Depth, options: ReadOptions) -> torch.Tensor:
    """One image file for a model; one of another dtype, of which one is of integers, has their whole range."""
    try:
        picture = opened(FileEntry(path.name, path).read(), options)
        if picture.shape.dtype != depth.dtype:
            depth = WHOLE_DEPTHS.get(depth.dtype) or WHOLE_DEPTHS[picture.shape.dtype]
        layout = replace(layout, dtype=depth.dtype)
        pixels = converted(picture, picture.pixels(layout.frame), layout, options).pixels
    except Exception as error:  # decoders meet broken data with whatever their code runs into
        raise DataError(f"{path} cannot be read: {reason_of(error)}", "Name an image that Pillow reads.") from error
    return depth.to_float(torch.from_numpy(np.array(pixels)))


def checked_options(
    size: Size = None,
    fit: Fit = "crop",
    channels: ChannelChoice = "auto",
    pages: PageChoice = "auto",
    split: str = "auto",
    range: RangeChoice = "auto",
    nodata: float | None = None,
    name_encoding: str | None = None,
) -> ReadOptions:
    """The options, if they make sense; see `load_images`.

    Raises:
        ConfigError: They do not.
    """
    for name, given, choice in (("channels", channels, ChannelChoice), ("fit", fit, Fit), ("pages", pages, PageChoice)):
        if given not in get_args(choice):
            raise ConfigError(f"--{name} {given} is unknown", f"Choose one of {', '.join(get_args(choice))}.")
    if name_encoding is not None:
        try:
            codecs.lookup(name_encoding)
        except (LookupError, ValueError) as error:
            raise ConfigError(
                f"--name-encoding {name_encoding} is unknown", "Give one such as utf-8 or cp932."
            ) from error
    found = None if range == "auto" else range
    if found is not None and not (found[0] < found[1] and all(map(math.isfinite, found))):
        raise ConfigError(f"--range {found[0]:g} {found[1]:g} does not rise", "Give two finite numbers, LOW < HIGH.")
    return ReadOptions(parsed_size(size), fit, channels, pages, split, found, nodata, name_encoding)
