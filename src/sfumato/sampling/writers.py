"""Writers of samples, batch by batch in constant memory: an .npz archive or a folder of image files."""

import json
import math
import shutil
import struct
import tempfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import tifffile
import torch
from PIL import Image
from torch import Tensor

from sfumato.data.conditions import Category, Column, spelled
from sfumato.utils import pictures
from sfumato.utils.depth import Depth
from sfumato.utils.files import UNFINISHED, cannot_write, write_swiftly, writing_whole
from sfumato.utils.shapes import UNLABELLED, Images, Labels

MOST_IN_GRID = 144
THREADS = 4
"""Threads that write files during sampling."""

SEED = "seed.txt"
"""File with the seed of a folder of samples."""

TASK_IMAGES = 64
"""Images per task of a thread."""

Record = dict[str, str | float]
"""Labels of an image: a line of metadata.jsonl."""


class SampleWriter(ExitStack, ABC):
    """Writes batches of samples to a file or folder. A context manager; `count` is the number of images written."""

    def __init__(
        self,
        out: Path,
        columns: Sequence[Column],
        depth: Depth,
        grid_columns: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.out = out
        self.columns = columns
        self.depth = depth
        self.grid_columns = grid_columns
        self.seed = seed
        self.shown: list[Images] = []
        self.count = 0
        self.batches: list[tuple[int, Labels | None]] = []

    def add(self, images: Images, labels: Labels | None) -> None:
        """Adds a batch.

        Args:
            images: (n, C, H, W) in [-1, 1], on the CPU.
            labels: class labels (n,), conditions (n, columns) or None.

        Raises:
            RunError: this batch or an earlier one could not be written.
        """
        self.put(images)
        self.shown.append(self.depth.viewable(images[: max(0, MOST_IN_GRID - self.count)]).clone())
        self.batches.append((len(images), labels))
        self.count += len(images)

    @abstractmethod
    def put(self, images: Images) -> None:
        """Writes images after the first `count`."""

    @abstractmethod
    def finish(self) -> Path:
        """Completes the output, which has at least one image, and returns the path of the grid."""

    def records(self) -> Iterator[Record]:
        """Yields the labels of each image."""
        for images, labels in self.batches:
            yield from [{}] * images if labels is None else spelled(self.columns, labels)

    def save_grid(self, path: Path) -> Path:
        """Writes a grid of the first images, titled with their labels or conditions."""
        images = torch.cat(self.shown)
        titles = [
            " ".join(value if isinstance(value, str) else f"{value:g}" for value in record.values())
            for record in islice(self.records(), len(images))
        ]
        return pictures.save_grid(images, path, self.grid_columns, titles if any(titles) else None)


class Archive(SampleWriter):
    """Writes NAME.npz, and a grid of the first images to NAME-grid.png.

    The arrays are images (n, H, W, C), labels (n,) int64 with -1 for no class, condition.NAME (n,) for each column,
    label_names (classes,) if the model has classes, and seed () uint64 if known.

    The header of the file needs the number of images, so they are kept in an unnamed temporary file until the end.
    """

    def put(self, images: Images) -> None:
        """Appends images to the temporary file."""
        pixels = np.ascontiguousarray(self.depth.to_pixels(images).permute(0, 2, 3, 1).numpy())
        try:
            if not self.count:
                self.shape, self.dtype = pixels.shape[1:], pixels.dtype
                self.out.parent.mkdir(parents=True, exist_ok=True)
                spool = tempfile.TemporaryFile(prefix=UNFINISHED, dir=self.out.parent)  # noqa: SIM115 (an ExitStack)
                self.spool: IO[bytes] = self.enter_context(spool)
            self.spool.write(pixels.data)
        except OSError as error:
            raise cannot_write(self.out, error) from error

    def finish(self) -> Path:
        """Writes the archive."""
        self.spool.truncate(self.count * int(np.prod(self.shape)) * self.dtype.itemsize)
        self.spool.seek(0)
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
        with writing_whole(self.out) as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
            with archive.open("images.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header | {"shape": (self.count, *self.shape)})
                shutil.copyfileobj(self.spool, member, 2**20)
            for name, values in self._labels().items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, values)
        return self.save_grid(grid_beside(self.out))

    def _labels(self) -> dict[str, np.ndarray]:
        """The arrays besides the images: labels and their names, conditions and the seed."""
        axes = {labels.ndim for _, labels in self.batches if labels is not None}
        classes = [
            labels if labels is not None and labels.ndim == 1 else torch.full((images,), UNLABELLED)
            for images, labels in self.batches
        ]
        names = [column.values for column in self.columns if isinstance(column, Category) and 1 in axes]
        records = list(self.records()) if 2 in axes else [{}]
        columns = {f"condition.{name}": np.array([record[name] for record in records]) for name in records[0]}
        named = {"label_names": np.array(names[0])} if names else {}
        seed = {} if self.seed is None else {"seed": np.array(self.seed, np.uint64)}
        return {"labels": torch.cat(classes).numpy()} | named | columns | seed


class Folder(SampleWriter):
    """Writes images/000000.png ..., their labels to images/metadata.jsonl, the seed to seed.txt, and grid.png.

    Threads write a batch while the next one is sampled.
    """

    unfinished: Sequence[Future[None]] = ()

    def put(self, images: Images) -> None:
        """Passes the images to the threads after they have written the previous batch."""
        self._wait()
        if not self.count:
            self.channels, self.threads = images.shape[1], self.enter_context(ThreadPoolExecutor(THREADS))
            if self.seed is not None:
                write_swiftly(self.out / SEED, f"{self.seed}\n".encode())
        starts = range(0, len(images), TASK_IMAGES)
        self.unfinished = [
            self.threads.submit(self._save, images[start : start + TASK_IMAGES], self.count + start) for start in starts
        ]

    def finish(self) -> Path:
        """Waits for the threads, and writes the labels and the grid."""
        self._wait()
        if next(self.records()):
            suffix = suffix_for(self.depth, self.channels)
            with writing_whole(self.out / "images" / "metadata.jsonl") as file:
                for index, record in enumerate(self.records()):
                    line = json.dumps(record | {"file_name": _name(index) + suffix}, ensure_ascii=False)
                    file.write(f"{line}\n".encode())
        return self.save_grid(self.out / "grid.png")

    def _wait(self) -> None:
        for written in self.unfinished:
            written.result()

    def _save(self, images: Images, first: int) -> None:
        for index, image in enumerate(images, start=first):
            save_image(image, self.depth, self.out / "images" / _name(index))


def grid_beside(archive: Path) -> Path:
    """Path of the grid of an archive of samples."""
    return archive.with_name(f"{archive.stem}-grid.png")


def _name(index: int) -> str:
    return f"{index:06d}"


def save_image(image: Tensor, depth: Depth, path: Path) -> Path:
    """Writes an image at its depth: as PNG if it is grey, RGB or RGBA of 8 or 16 bits, otherwise as TIFF.

    Args:
        image: (C, H, W) in [-1, 1].
        depth: pixel format.
        path: path without suffix. Its folder is made.

    Returns:
        Path of the file.

    Raises:
        RunError: the file could not be written.
    """
    pixels = depth.to_pixels(image.detach().cpu()).permute(1, 2, 0).numpy()
    channels = pixels.shape[2]
    plain = np.ascontiguousarray(pixels[:, :, 0] if channels == 1 else pixels)
    file = path.with_suffix(suffix_for(depth, channels))
    content = BytesIO()
    if file.suffix == ".tif":
        order = None if channels == 1 else "contig"
        tifffile.imwrite(content, plain, photometric="minisblack", planarconfig=order)
    elif plain.dtype == np.uint8:
        Image.fromarray(plain).save(content, "PNG", compress_level=FAST)
    else:
        content.write(png_of_16_bits(plain))
    write_swiftly(file, content.getvalue())
    return file


FAST = 1
"""Compression level of zlib: level 6 takes twice as long for files that are 10 % smaller."""

PNG_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
PNG_UP_FILTER = 2
"""Colour types by the number of channels, and the filter that subtracts the line above (PNG specification, 9.2)."""


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """Encodes pixels as PNG, since Pillow writes 16 bits for grey images only.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4) uint16.
    """
    height, width, *channels = pixels.shape
    lines = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.insert(np.diff(lines, axis=0, prepend=np.uint8(0)), 0, PNG_UP_FILTER, axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_COLOUR_TYPES[math.prod(channels)], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), FAST)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def suffix_for(depth: Depth, channels: int) -> str:
    """Suffix of image files of this depth and number of channels."""
    is_png = depth.dtype != "float32" and (channels in (1, 3) or (channels == 4 and depth.opacity))
    return ".png" if is_png else ".tif"
