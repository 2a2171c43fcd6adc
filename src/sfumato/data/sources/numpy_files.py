"""NumPy files: `.npy` files of images, and `.npz` files of images and labels (see `npz_keys`)."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np

from sfumato.data.sources.decompress import decompress
from sfumato.data.sources.entry import (
    MOST_BYTES,
    ArrayHeader,
    BadImageError,
    Content,
    Entry,
    array_header,
    read_array,
)
from sfumato.data.sources.label_arrays import columns_of
from sfumato.data.sources.npz_keys import NAMES, SplitArrays, arrays_notices, find_arrays
from sfumato.data.sources.resizing import RGB, RGBA
from sfumato.data.sources.source import Cell, FileSource, Listing
from sfumato.errors import DataError
from sfumato.utils.text import printable

COPIED_BYTES = 1 << 28
"""Bytes that are copied at a time."""

PIXELS_REMEDY = "Save images as (N, H, W, C), (N, C, H, W) or (N, H, W), of uint8, uint16 or floats."


@dataclass(frozen=True)
class RowEntry(Entry):
    """One image of a large array on disk; reads only this image.

    Attributes:
        path: Path of the `.npy` file.
        offset: Offset of the image in bytes.
        shape: Shape of the image, with the axes of the file.
        dtype: Dtype of the pixels.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: str

    def read(self, most: int = MOST_BYTES) -> Content:  # noqa: ARG002
        """Reads the pixels."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            content = file.read(math.prod(self.shape) * np.dtype(self.dtype).itemsize)
        return np.frombuffer(content, self.dtype).reshape(self.shape)


class ArraySource(FileSource):
    """The images of a `.npy` or `.npz` file."""

    kind = "array"

    def listing(self, scratch: Path) -> Listing:
        """One entry for each image, with its label and split if there are any."""
        if zipfile.is_zipfile(self.path):
            return self._of_archive(scratch)
        return Listing(list(_entries(self.path, self.path, scratch / "images.npy")))

    def _of_archive(self, scratch: Path) -> Listing:
        title = printable(str(self.path))
        try:
            with zipfile.ZipFile(self.path) as archive:
                headers = _headers(archive)
                parts = find_arrays(title, headers)
                labels = [_loaded(title, archive, part.labels) if part.labels else None for part in parts]
                are_indices = any(array is not None and array.dtype.kind in "iufb" for array in labels)
                names = _loaded(title, archive, NAMES) if are_indices and NAMES in headers else None
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{self.path} is not an .npz file, or it is truncated", "Copy it again.") from error
        entries = []
        for part in parts:
            target = scratch / f"{part.split or 'images'}.npy"
            plain = decompress(self.path, partial(_member, self.path, part.images), target)
            entries.append(list(_entries(plain, self.path, scratch / f"rows-{target.name}", part.split or "")))
        columns = _columns(title, parts, labels, names, list(map(len, entries)))
        splits = [part.split for part, rows in zip(parts, entries, strict=True) for _ in rows]
        return Listing(
            [entry for rows in entries for entry in rows],
            columns,
            notices=arrays_notices(title, parts, headers),
            splits=splits if any(splits) else (),
        )


def _columns(
    title: str,
    parts: Sequence[SplitArrays],
    labels: Sequence[np.ndarray | None],
    names: np.ndarray | None,
    counts: list[int],
) -> dict[str, list[Cell]]:
    """Columns of all splits; cells are empty for images without labels."""
    for part, array, count in zip(parts, labels, counts, strict=True):
        if array is not None and (array.ndim not in (1, 2) or len(array) != count or 0 in array.shape):
            problem = f"{title} has {count} images, but its {part.labels} have the shape {array.shape}"
            raise DataError(problem, "Give one label per image.")
    known = [array for array in labels if array is not None]
    if not known:
        return {}
    found = {name: iter(cells) for name, cells in columns_of(title, known, names).items()}
    return {
        name: [
            None if array is None else next(cells)
            for array, count in zip(labels, counts, strict=True)
            for _ in range(count)
        ]
        for name, cells in found.items()
    }


def _headers(archive: zipfile.ZipFile) -> dict[str, ArrayHeader | None]:
    """Headers of the arrays of an archive by name; None for arrays that cannot be read."""
    headers: dict[str, ArrayHeader | None] = {}
    for member in archive.namelist():
        if member.endswith(".npy"):
            try:
                with archive.open(member) as file:
                    headers[member.removesuffix(".npy")] = array_header(file)
            except (BadImageError, RuntimeError, NotImplementedError):
                headers[member.removesuffix(".npy")] = None
    return headers


@contextmanager
def _member(path: Path, name: str) -> Iterator[BufferedIOBase]:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        yield cast(BufferedIOBase, member)


def _loaded(title: str, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    try:
        with archive.open(f"{name}.npy") as file:
            return read_array(file)
    except BadImageError as error:
        raise DataError(f"the array {name} of {title} cannot be read: {error}", "Save it again.") from error


def _entries(file: Path, origin: Path, spare: Path, split: str = "") -> Iterator[RowEntry]:
    """Images of the array in `file`, which was decompressed from `origin`.

    An array in Fortran order, whose images are not contiguous, is copied to `spare`.
    """
    try:
        with file.open("rb") as opened:
            header = array_header(opened)
    except (BadImageError, OSError) as error:
        raise DataError(f"{origin} cannot be read: {error}", PIXELS_REMEDY) from error
    if header.dtype.kind not in "uifb":
        raise DataError(f"{origin} holds {header.dtype}, which are not pixel values", PIXELS_REMEDY)
    count, shape = _layout(header.shape, origin)
    stride = math.prod(shape) * header.dtype.itemsize
    if file.stat().st_size < header.offset + count * stride:
        raise DataError(f"{origin} ends before its array does", "Copy or save it again.")
    if header.is_fortran and count:
        file, header = _in_rows(file, header, spare)
    for row in range(count):
        yield RowEntry(f"{split}#{row}", file, header.offset + row * stride, shape, header.dtype.str)


def _in_rows(file: Path, header: ArrayHeader, target: Path) -> tuple[Path, ArrayHeader]:
    """Copies an array in Fortran order to a file in C order."""
    array = np.memmap(file, header.dtype, "r", header.offset, header.shape, order="F")
    block = max(1, COPIED_BYTES // max(1, math.prod(header.shape[1:]) * header.dtype.itemsize))
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as copy:
        for start in range(0, header.shape[0], block):
            copy.write(np.ascontiguousarray(array[start : start + block]).data)
    return target, header._replace(is_fortran=False, offset=0)


def _layout(whole: tuple[int, ...], origin: Path) -> tuple[int, tuple[int, ...]]:
    """(count, shape of one image). Of three axes, the shorter of the first and the last must be the channels."""
    count, *shape = whole or (0,)
    is_image = len(shape) == 2 or (len(shape) == 3 and (shape[0] != shape[2] or shape[0] <= RGBA))
    if not is_image or min(whole) < 0 or 0 in shape:
        raise DataError(f"{origin} has the shape {whole}, which is not that of images", PIXELS_REMEDY)
    if whole[2] <= RGB:  # this axis is never the channels
        problem = f"{origin} has the shape {whole}, whose third axis would be the width or the height of the images"
        raise DataError(problem, PIXELS_REMEDY + " A single image needs a first axis: image[None].")
    return count, tuple(shape)
