"""Loads the images of a source as an `ImageSet`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sfumato.data.cache import Store, open_store
from sfumato.data.cache.convert import convert_channels, convert_image
from sfumato.data.cache.index import Index
from sfumato.data.cache.pixel_statistics import range_notices
from sfumato.data.cache.target_format import CHANNEL_MODES, ChannelMode, TargetFormat
from sfumato.data.conditions import Category, Column, as_classes, rows_of_cells
from sfumato.data.dataset import ImageSet
from sfumato.data.digits import load_digits
from sfumato.data.in_memory import IN_MEMORY, SOURCES
from sfumato.data.labels import (
    LABEL,
    Labelling,
    column_notices,
    encoded,
    label_by_folder,
    label_by_table,
    requested_columns,
)
from sfumato.data.shapes import load_shapes
from sfumato.data.sources import (
    DEFAULT_OPTIONS,
    Cell,
    ChannelChoice,
    Columns,
    Fit,
    Frame,
    Notice,
    PageChoice,
    RangeChoice,
    ReadOptions,
    Size,
    checked_options,
    open_source,
)
from sfumato.data.sources.decode import failure_reason, open_image
from sfumato.data.sources.entry import FileEntry
from sfumato.data.splits import UNDIVIDED, select_split
from sfumato.errors import ConfigError, DataError, LabelError
from sfumato.utils.depth import EIGHT_BITS, SIXTEEN_BITS, Depth

WHOLE_DEPTHS = {"uint8": EIGHT_BITS, "uint16": SIXTEEN_BITS}
"""Value range of integer pixels by dtype."""

BUILT_IN: dict[str, Callable[[ReadOptions], tuple[torch.Tensor, Columns]]] = {
    "digits": load_digits,
    "shapes": load_shapes,
}
"""Functions that return the images, uint8 (N, C, H, W), and the columns of the built-in data sets."""


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
    """Loads the images of a source.

    The first call decodes the images into the cache, with all CPU cores. Later calls open the cache. The order of the
    images depends only on the file names.

    Args:
        source: A folder, searched recursively; a zip or tar archive; an `.npz`, `.npy` or `.parquet` file; `hf:NAME`;
            or a built-in data set, "digits" or "shapes"; "./digits" is a folder with this name.
        size: Size of the images in pixels, at least 4 per side. None: the size that all images have.
        fit: "crop" crops the longer side, "pad" adds borders, "resize" changes the aspect ratio.
        channels: Channels to which the images are converted: "grey", "rgb" or "rgba"; "bands": all channels, none of
            them opacity; "auto": the most common channels.
        pages: Use of the pages of a file: as separate "images", as "channels" of one image, or only the "first";
            "auto": by the metadata of the file, and files with pages but without this metadata are skipped.
        split: Split to load, by name. "auto": the training images if folders or files are named as splits, with the
            other splits in `ImageSet.others`; "all": all images; "none": all images, with names of splits as classes.
        range: Pixel values of black and white; "auto": determined from the data.
        nodata: Pixel value of missing data, in addition to NaN and the value that a file declares. Missing pixels are
            replaced by the mean of the other pixels.
        name_encoding: Encoding of the file names in a zip or tar archive; None: detected.
        labels: Use the column `label` as classes; without this column, the first level of sub-folders. For a built-in
            data set, use all of its columns: the label of the digits; shape, colour, size and angle of the shapes.
        condition: Columns of metadata.csv, or of the table of the source, that are used as labels instead. "age:number"
            and "age:class" set the type of a column.
        cache: Folder of the cache; None: SFUMATO_CACHE, or the cache folder of the user.

    Returns:
        The images, with notices about automatic choices, skipped images and conversions.

    Raises:
        ConfigError: An argument is not valid.
        DataError: The source does not exist, too few images can be read, their sizes differ while `size` is None, a
            class has only one image, a column or split does not exist, or the cache cannot be written.
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
    """Loads the images of a source; see `load_images`."""
    prefix, _, name = str(source).partition(":")
    if source == IN_MEMORY:
        raise DataError("the run was trained on images in memory, which are gone", "Name the images (DATA).")
    if source in BUILT_IN:
        return _built_in(str(source), options, labels, condition)
    if prefix in SOURCES:
        return _registered(prefix, name, options, labels, condition)
    opened = open_source(source, options)
    return image_set(open_store(opened, options, cache), opened.title, options, labels, condition)


def _built_in(name: str, options: ReadOptions, labels: bool, condition: Sequence[str]) -> ImageSet:
    """Images of a source in `BUILT_IN`, converted to the requested channels; all columns are labels by default."""
    images, cells = BUILT_IN[name](options)
    mode = ChannelMode(images.shape[1], opacity=False)
    wanted = CHANNEL_MODES.get(options.channels, mode)
    pixels = np.stack([convert_channels(image, mode, wanted) for image in images.permute(0, 2, 3, 1).numpy()])
    learned = condition or (tuple(cells) if labels else ())
    known = encoded(requested_columns(cells, learned)) if learned else Labelling()
    converted, depth = torch.from_numpy(pixels).permute(0, 3, 1, 2), Depth(opacity=wanted.opacity)
    found = ImageSet.of(converted, known.labels, known.label_names, known.columns, depth)
    _check_options(name, found, replace(options, channels="auto"))
    if not Path(name).exists():
        return found
    text = f"{name} is the built-in data set; the file or folder of this name is ./{name}."
    return replace(found, notices=(Notice("source", text),))


def _registered(prefix: str, name: str, options: ReadOptions, labels: bool, condition: Sequence[str]) -> ImageSet:
    """Images of a source in `SOURCES`, if they have the requested properties."""
    images = SOURCES[prefix](name)
    if not isinstance(images, ImageSet):
        raise DataError(
            f"the data source {prefix!r} returned a {type(images).__name__} instead of an ImageSet",
            "Return sfumato.data.from_arrays(images, labels).",
        )
    _check_options(f"{prefix}:{name}", images, options)
    if condition:
        raise ConfigError(
            f"--condition cannot be applied to the data source {prefix}:{name}", "Leave it out: its labels are used."
        )
    return images if labels else images.without_labels()


def _check_options(source: str, images: ImageSet, options: ReadOptions) -> None:
    """Raises `ConfigError` unless images that are not read from files have the properties requested in the options."""
    channels, height, width = images.image_shape
    mode = ChannelMode(channels, images.depth.opacity)
    unmet = {
        "size": options.size not in (None, (width, height)),
        "channels": CHANNEL_MODES.get(options.channels, mode) != mode,
        "pages": options.pages != "auto",
        "split": options.split not in ("auto", *UNDIVIDED),
        "range": options.range not in (None, images.depth.range),
        "nodata": options.nodata is not None,
        "name-encoding": options.name_encoding is not None,
    }
    if flags := [f"--{flag}" for flag, is_unmet in unmet.items() if is_unmet]:
        raise ConfigError(
            f"{', '.join(flags)} cannot be applied to the data source {source}, whose images are {width}x{height} "
            f"pixels with {channels} channel(s)",
            "Leave it out, or train on files.",
        )


def image_set(
    store: Store, title: str, options: ReadOptions = DEFAULT_OPTIONS, labels: bool = True, condition: Sequence[str] = ()
) -> ImageSet:
    """Creates a data set from a cache entry; see `read_images` for arguments and errors."""
    index = store.index
    division = select_split(title, index.splits, options.split)
    labelling, columns = _labelling(index, division.learned, title, labels, condition)
    depth = Depth(index.dtype, *(options.range or index.values.range), opacity=index.opacity)
    notices = [*division.notices, *range_notices(depth.range, index.values, index.dtype)]
    notices += column_notices(_at(index.columns, division.learned), labelling.learned, index.notices)
    digests = np.zeros((index.shape[0], len(index.digests[0]) // 2), np.uint8)
    rows = np.array(index.rows, np.int64)
    digests[rows] = np.frombuffer(bytes.fromhex("".join(index.digests)), np.uint8).reshape(len(rows), -1)
    images = ImageSet(
        pixels=store.pixels(),
        rows=rows[division.learned],
        depth=depth,
        labels=labelling.labels,
        label_names=labelling.label_names,
        columns=labelling.columns,
        notices=(*notices, *labelling.notices),
        digests=digests,
    )
    others = {
        name: replace(images, rows=rows[places], labels=_labels_as(labelling, columns, places), notices=())
        for name, places in division.others.items()
    }
    return replace(images, others=others)


def _labelling(
    index: Index, learned: Sequence[int], title: str, labels: bool, condition: Sequence[str]
) -> tuple[Labelling, Columns]:
    """Labels of the images at `learned`: requested columns, else the column `label`, else the folders."""
    folders = [index.folders[place] for place in learned]
    if condition:
        every = requested_columns(index.columns, condition, index.folders if None not in folders else ())
        return replace(encoded(_at(every, learned)), learned=tuple(condition)), every
    if not labels:
        return Labelling(), {}
    every = requested_columns(index.columns, [LABEL]) if LABEL in index.columns else {}
    by_table = label_by_table(_at(every, learned))
    if by_table.labels is not None:
        return by_table, every
    by_folders = label_by_folder(title, folders, index.unreadable_folders)
    return replace(by_folders, notices=(*by_table.notices, *by_folders.notices)), {LABEL: index.folders}


def _at(columns: Columns, places: Sequence[int]) -> dict[str, list[Cell]]:
    """Cells of some of the images."""
    return {name: [cells[place] for place in places] for name, cells in columns.items()}


def _labels_as(labelling: Labelling, columns: Columns, places: Sequence[int]) -> torch.Tensor | None:
    """Encodes the images at `places` as the training images; values that the encoding does not have are unknown."""
    if labelling.labels is None:
        return None
    encoders = labelling.columns or (Category(next(iter(columns)), labelling.label_names),)
    cells = {each.name: [_known(each, columns[each.name][place]) for place in places] for each in encoders}
    rows = rows_of_cells(encoders, cells)
    return rows if labelling.columns else as_classes(rows)


def _known(column: Column, cell: Cell) -> Cell:
    """The cell if the column has a code for it, else None."""
    with suppress(LabelError):
        if cell is not None:
            column.code(cell)
            return cell
    return None


def load_files(
    paths: Sequence[Path], image_shape: tuple[int, int, int], depth: Depth, options: ReadOptions = DEFAULT_OPTIONS
) -> torch.Tensor:
    """Loads image files as inputs of a model.

    Args:
        paths: Image files.
        image_shape: (C, H, W) of the model; images are resized and converted to it.
        depth: Dtype and value range of the model. Files of another dtype use the full range of their dtype.
        options: Options with which the training images were read; size and range are ignored.

    Returns:
        float32 in [-1, 1], (n, C, H, W).

    Raises:
        DataError: A file cannot be read.
    """
    channels, height, width = image_shape
    kind = ChannelMode(channels, depth.opacity)
    options = options if kind.is_viewable else replace(options, channels="bands")
    target = TargetFormat(Frame(width, height, options.fit), kind, depth.dtype)
    return torch.stack([_floats_of(path, target, depth, options) for path in paths])


def _floats_of(path: Path, target: TargetFormat, depth: Depth, options: ReadOptions) -> torch.Tensor:
    """Loads one image file; if its dtype differs from the model's, it uses the full range of the integer dtype."""
    try:
        picture = open_image(FileEntry(path.name, path).read(), options)
        if picture.info.dtype != depth.dtype:
            depth = WHOLE_DEPTHS.get(depth.dtype) or WHOLE_DEPTHS[picture.info.dtype]
        target = replace(target, dtype=depth.dtype)
        pixels = convert_image(picture, picture.pixels(target.frame), target, options).pixels
    except Exception as error:  # broken files raise many types of exceptions
        raise DataError(
            f"{path} cannot be read: {failure_reason(error)}", "Give an image file in a supported format."
        ) from error
    return depth.to_float(torch.from_numpy(np.array(pixels)))
