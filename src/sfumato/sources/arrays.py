"""NumPy files: a `.npy` of images, or a `.npz` with the array `images` and perhaps `labels` and their `label_names`."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np

from sfumato.errors import DataError
from sfumato.sources.entry import (
    MOST_BYTES,
    ArrayHeader,
    BadImageError,
    Content,
    Entry,
    array_header,
    printable,
    read_array,
)
from sfumato.sources.frame import RGBA
from sfumato.sources.options import USUAL, ReadOptions
from sfumato.sources.source import Cell, Listing, Source, stat_signature
from sfumato.sources.spool import unpacked

IMAGES, LABELS, NAMES = "images", "labels", "label_names"
UNLABELLED = -1

REMEDY = "Save images as (N, H, W, C), (N, C, H, W) or (N, H, W), of uint8, uint16 or floats."


@dataclass(frozen=True)
class RowEntry(Entry):
    """One image of a large array on disk, read without mapping or loading the rest.

    Attributes:
        path: The `.npy` file.
        offset: Where the image begins.
        shape: Of the image, in the file's order of axes.
        dtype: Of its numbers.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: str

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """The pixels."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            content = file.read(math.prod(self.shape) * np.dtype(self.dtype).itemsize)
        return np.frombuffer(content, self.dtype).reshape(self.shape)


class ArraySource(Source):
    """The images of one array.

    Args:
        path: A `.npy` or `.npz`.
        options: How its images are read.
    """

    def __init__(self, path: Path, options: ReadOptions = USUAL) -> None:
        self.options = options
        self.title = f"the array {printable(str(path))}"
        self.identity = str(path.resolve())
        self.path = path

    def signature(self) -> str:
        """Its size and times."""
        return stat_signature(self.path)

    def listing(self, spool: Path) -> Listing:
        """One entry for each row of the array, with its label if there are any."""
        if zipfile.is_zipfile(self.path):
            return self._of_archive(spool)
        return Listing(list(_entries(self.path, self.path)))

    def _of_archive(self, spool: Path) -> Listing:
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
                labels = _loaded(self.path, archive, LABELS) if LABELS in names else None
                are_places = labels is not None and labels.dtype.kind in "iu" and NAMES in names
                label_names = _loaded(self.path, archive, NAMES) if are_places else None
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{self.path} is not an .npz file, or only a part of one", "Copy it anew.") from error
        images = IMAGES if IMAGES in names else names[0] if len(names) == 1 else None
        if images is None:
            known = ", ".join(names) or "none"
            raise DataError(f"{self.path} has no array {IMAGES}, only: {known}", f"Name the array {IMAGES}.")
        plain = unpacked(self.path, partial(_member, self.path, images), spool / "images.npy")
        entries = list(_entries(plain, self.path))
        if labels is None:
            return Listing(entries)
        cells = _cells(self.path, labels, len(entries))
        return Listing(entries, {"label": cells if label_names is None else _named(self.path, cells, label_names)})


@contextmanager
def _member(path: Path, name: str) -> Iterator[BufferedIOBase]:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        yield cast(BufferedIOBase, member)


def _loaded(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    try:
        with archive.open(f"{name}.npy") as file:
            return read_array(file)
    except BadImageError as error:
        raise DataError(f"the array {name} of {path} cannot be read: {error}", "Save it anew.") from error


def _cells(path: Path, labels: np.ndarray, count: int) -> list[Cell]:
    if labels.shape != (count,):
        raise DataError(
            f"{path} has {count} images, but its labels have the shape {labels.shape}", "Give one label an image."
        )
    if labels.dtype.kind not in "iubU":
        raise DataError(f"the labels of {path} are {labels.dtype}", "Give integers or text.")
    return [None if label == UNLABELLED else label for label in labels.tolist()]


def _named(path: Path, labels: list[Cell], names: np.ndarray) -> list[Cell]:
    """The names of labels that are places in `names`.

    Raises:
        DataError: They are no row of different texts, or labels lie beyond it.
    """
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(
            f"the label_names of {path} are {names.dtype} {list(names.shape)}, not a row of text",
            "Save them as numpy.array(names, dtype=str), or leave them out.",
        )
    known = names.tolist()
    twice = [name for name, times in Counter(known).items() if times > 1]
    if twice:
        raise DataError(f"the label_names of {path} have {twice[0]!r} more than once", "Give each class its own name.")
    for label in labels:
        if label is not None and not 0 <= cast(int, label) < len(known):
            raise DataError(
                f"{path} has the label {label}, but {len(known)} label_names", "Give labels from 0, or no label_names."
            )
    return [None if label is None else known[cast(int, label)] for label in labels]


def _entries(file: Path, origin: Path) -> Iterator[RowEntry]:
    """The rows of the array in `file`, which came from `origin`."""
    header = _header(file, origin)
    count, shape = _layout(header.shape, origin)
    stride = math.prod(shape) * header.dtype.itemsize
    if file.stat().st_size < header.offset + count * stride:
        raise DataError(f"{origin} ends before its array does", "Copy or save it anew.")
    for row in range(count):
        yield RowEntry(f"#{row}", file, header.offset + row * stride, shape, header.dtype.str)


def _header(file: Path, origin: Path) -> ArrayHeader:
    try:
        with file.open("rb") as opened:
            header = array_header(opened)
    except (BadImageError, OSError) as error:
        raise DataError(f"{origin} cannot be read: {error}", REMEDY) from error
    if header.dtype.kind not in "uifb":
        raise DataError(f"{origin} holds {header.dtype}, which are no pixels", REMEDY)
    if header.is_fortran and len(header.shape) > 1:
        raise DataError(f"{origin} is stored column by column", "Save it with numpy.ascontiguousarray.")
    return header


def _layout(whole: tuple[int, ...], origin: Path) -> tuple[int, tuple[int, ...]]:
    """(count, shape of one image). Of three axes, the channels must be the shorter end."""
    count, *shape = whole or (0,)
    is_image = len(shape) == 2 or (len(shape) == 3 and (shape[0] != shape[2] or shape[0] <= RGBA))
    if not is_image or min(whole) < 0 or 0 in shape:
        raise DataError(f"{origin} has the shape {whole}, which is not that of images", REMEDY)
    return count, tuple(shape)
