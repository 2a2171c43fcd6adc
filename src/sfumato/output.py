"""Samples on disk: a folder of PNGs with a grid, or one .npz."""

import json
import sys
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import torch
from torch import Tensor

from sfumato import pictures
from sfumato.conditions import Column, spelled
from sfumato.depth import Depth
from sfumato.errors import SamplingError
from sfumato.shapes import UNLABELLED, Images, Labels
from sfumato.storage import cannot_write, write_whole

MOST_IN_GRID = 144
PNG_CHANNELS = (1, 3, 4)

Record = dict[str, str | float]
"""What is known of an image: a line of metadata.jsonl."""

Batches = Iterable[tuple[Images, Labels | None]]


def write_samples(
    batches: Batches, out: Path, columns: Sequence[Column], depth: Depth, grid_columns: int | None = None
) -> Path:
    """Writes batches of samples to `out`, and returns the picture or file to look at.

    Args:
        batches: (images (n, C, H, W) in [-1, 1], labels or None), as `sampling.sample_batches` yields them.
        out: `NAME.npz`, or a folder that does not exist or is empty.
        columns: what the labels say, `Denoiser.known_columns`.
        depth: how pixels are written.
        grid_columns: images in a row of the grid; None: about as many as rows.

    Raises:
        SamplingError: `out` is there already.
        RunError: it could not be written.
    """
    refuse_existing(out)
    if out.suffix == ".npz":
        return _write_archive(batches, out, columns, depth)
    return _write_folder(batches, out, columns, depth, grid_columns)


def write_frames(images: Images, frames: int, out: Path, depth: Depth) -> Path:
    """Writes a way from image to image to the folder `out`, and returns the picture to look at.

    frames/000000.png ..., film.gif to and fro, and grid.png with a row from each end to the next.

    Args:
        images: (n, C, H, W) in [-1, 1], as `latents.interpolate` gives them.
        frames: images from one end to the next, both included.
        out: a folder that does not exist or is empty.
        depth: how pixels are written.

    Raises:
        SamplingError: `out` is there already, or is no folder.
        RunError: it could not be written.
    """
    refuse_no_folder(out)
    for index, image in enumerate(images):
        save_image(image, depth, out / "frames" / f"{index:06d}")
    pictures.save_film(images, out / "film.gif")
    rows = [images[start : start + frames] for start in range(0, len(images) - 1, frames - 1)]
    return pictures.save_grid(torch.cat(rows), out / "grid.png", frames)


def save_image(image: Tensor, depth: Depth, path: Path) -> Path:
    """Writes one image at the depth it has: as PNG if it is of 8 or 16 bits and 1, 3 or 4 channels, else as TIFF.

    Args:
        image: (C, H, W) in [-1, 1].
        depth: how its pixels are written.
        path: of the file, without the suffix; its folder is made.

    Returns:
        The path of the file.

    Raises:
        RunError: it could not be written.
    """
    pixels = depth.to_pixels(image.detach().cpu()).permute(1, 2, 0).numpy()
    channels = pixels.shape[2]
    plain = np.ascontiguousarray(pixels[:, :, 0] if channels == 1 else pixels)
    if depth.dtype == "float32" or channels not in PNG_CHANNELS:
        file = path.with_suffix(".tif")
        content = BytesIO()
        order = None if channels == 1 else "contig"
        tifffile.imwrite(content, plain, photometric="minisblack", planarconfig=order)
        write_whole(file, content.getvalue())
    else:
        file = path.with_suffix(".png")
        write_whole(file, bytes(imagecodecs.png_encode(plain)))
    return file


def free_folder(name: str) -> Path:
    """Makes samples/NAME, or the first of samples/NAME-2, -3, ... that does not exist, and so claims it.

    Raises:
        RunError: it could not be made.
    """
    number, folder = 1, Path("samples") / name
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = folder.with_name(f"{name}-{number}")
        except OSError as error:
            raise cannot_write(folder, error) from error


def refuse_existing(out: Path) -> None:
    """Raises `SamplingError` if samples written to `out` would replace or join something."""
    if out.suffix and out.suffix != ".npz" and not out.is_dir():
        raise SamplingError(f"{out} is neither a folder nor an .npz file", "Choose --out NAME or --out NAME.npz.")
    if out.is_file() or (out.is_dir() and (out.suffix == ".npz" or any(out.iterdir()))):
        raise SamplingError(f"{out} is there already", "Choose another --out, so that nothing is replaced.")


def refuse_no_folder(out: Path) -> None:
    """Raises `SamplingError` if `out` is there already, or named like a file."""
    refuse_existing(out)
    if out.suffix == ".npz":
        raise SamplingError(f"{out} is a file, and a folder is written", "Choose --out NAME.")


def _until_interrupted(batches: Batches) -> Batches:
    """The batches up to a Ctrl-C: what was drawn by then is written as if it were all, and nothing is lost."""
    drawn = 0
    try:
        for batch, chosen in batches:
            yield batch, chosen
            drawn += len(batch)
    except KeyboardInterrupt:
        if not drawn:
            raise
        print(f"Interrupted: only the first {drawn} images are written.", file=sys.stderr)


def _write_archive(batches: Batches, out: Path, columns: Sequence[Column], depth: Depth) -> Path:
    """images: (n, H, W, C); labels: int64 (n,), -1 without class; condition.NAME: (n,), of each column asked."""
    images, labels, records = [], [], []
    for batch, chosen in _until_interrupted(batches):
        images.append(depth.to_pixels(batch).permute(0, 2, 3, 1))
        classes, rows = (chosen, None) if chosen is None or chosen.ndim == 1 else (None, chosen)
        labels.append(torch.full((len(batch),), UNLABELLED) if classes is None else classes)
        records += _records(columns, rows, len(batch))
    arrays = {"images": torch.cat(images).numpy(), "labels": torch.cat(labels).numpy()}
    arrays |= {f"condition.{name}": np.array([record[name] for record in records]) for name in records[0]}
    content = BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # a name that begins so is no keyword of numpy's
    write_whole(out, content.getvalue())
    return out


def _write_folder(
    batches: Batches, out: Path, columns: Sequence[Column], depth: Depth, grid_columns: int | None
) -> Path:
    """images/000000.png ..., their labels in images/metadata.jsonl if they have any, and grid.png of the first."""
    shown: list[Images] = []
    records: list[Record] = []
    for batch, chosen in _until_interrupted(batches):
        for image, record in zip(batch, _records(columns, chosen, len(batch)), strict=True):
            name = save_image(image, depth, out / "images" / f"{len(records):06d}").name
            records.append(record | {"file_name": name})
        shown.append(batch[: max(0, MOST_IN_GRID - sum(len(part) for part in shown))])
    if len(records[0]) > 1:
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        write_whole(out / "images" / "metadata.jsonl", lines.encode())
    return pictures.save_grid(torch.cat(shown), out / "grid.png", grid_columns)


def _records(columns: Sequence[Column], labels: Labels | None, count: int) -> list[Record]:
    """What each of `count` images was asked to be."""
    return [{}] * count if labels is None else spelled(columns, labels)
