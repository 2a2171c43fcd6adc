"""Samples on disk: a folder of PNGs with a grid, or one .npz."""

import json
import sys
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from sfumato import pictures
from sfumato.data import to_uint8
from sfumato.errors import SamplingError
from sfumato.shapes import UNLABELLED, Images, Labels
from sfumato.storage import cannot_write, write_whole

MOST_IN_GRID = 144

Batches = Iterable[tuple[Images, Labels | None]]


def write_samples(batches: Batches, out: Path, label_names: tuple[str, ...], columns: int | None = None) -> Path:
    """Writes batches of samples to `out`, and returns the picture or file to look at.

    Args:
        batches: (images (n, C, H, W) in [-1, 1], labels (n,) or None), as `sampling.sample_batches` yields them.
        out: `NAME.npz`, or a folder that does not exist or is empty.
        label_names: of the classes.
        columns: images a row of the grid; None: about as many as rows.

    Raises:
        SamplingError: `out` is there already.
        RunError: it could not be written.
    """
    refuse_existing(out)
    return _write_archive(batches, out) if out.suffix == ".npz" else _write_folder(batches, out, label_names, columns)


def write_frames(images: Images, frames: int, out: Path) -> Path:
    """Writes a way from image to image to the folder `out`, and returns the picture to look at.

    frames/000000.png ..., film.gif to and fro, and grid.png with a row from each end to the next.

    Args:
        images: (n, C, H, W) in [-1, 1], as `latents.interpolate` gives them.
        frames: images from one end to the next, both included.
        out: a folder that does not exist or is empty.

    Raises:
        SamplingError: `out` is there already, or is no folder.
        RunError: it could not be written.
    """
    refuse_no_folder(out)
    for index, image in enumerate(images):
        pictures.save_picture(pictures.to_picture(image), out / "frames" / f"{index:06d}.png")
    pictures.save_film(images, out / "film.gif")
    rows = [images[start : start + frames] for start in range(0, len(images) - 1, frames - 1)]
    return pictures.save_grid(torch.cat(rows), out / "grid.png", frames)


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


def _write_archive(batches: Batches, out: Path) -> Path:
    """images: uint8 (n, H, W, C); labels: int64 (n,), -1 without label."""
    images, labels = [], []
    for batch, chosen in _until_interrupted(batches):
        images.append(to_uint8(batch).permute(0, 2, 3, 1))
        labels.append(torch.full((len(batch),), UNLABELLED) if chosen is None else chosen)
    content = BytesIO()
    np.savez_compressed(content, images=torch.cat(images).numpy(), labels=torch.cat(labels).numpy())
    write_whole(out, content.getvalue())
    return out


def _write_folder(batches: Batches, out: Path, label_names: tuple[str, ...], columns: int | None) -> Path:
    """images/000000.png ..., their labels in images/metadata.jsonl if they have any, and grid.png of the first."""
    shown: list[Images] = []
    records: list[dict[str, str]] = []
    for batch, chosen in _until_interrupted(batches):
        for index, image in enumerate(batch):
            name = f"{len(records):06d}.png"
            pictures.save_picture(pictures.to_picture(image), out / "images" / name)
            records.append({"file_name": name} | ({} if chosen is None else {"label": label_names[chosen[index]]}))
        shown.append(batch[: max(0, MOST_IN_GRID - sum(len(part) for part in shown))])
    if "label" in records[0]:
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        write_whole(out / "images" / "metadata.jsonl", lines.encode())
    return pictures.save_grid(torch.cat(shown), out / "grid.png", columns)
