"""Samples on disk: a folder of PNGs with a grid, or one .npz."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sfumato.data.conditions import Column
from sfumato.errors import RunError, SamplingError
from sfumato.sampling.writers import Archive, Folder, grid_beside, save_image
from sfumato.utils import pictures
from sfumato.utils.depth import Depth
from sfumato.utils.files import UNFINISHED, cannot_write, parsed_json, read_text, write_whole
from sfumato.utils.shapes import Images, Labels
from sfumato.utils.text import printable

MARK = f"{UNFINISHED}samples.json"
"""In a folder of samples until all are there: their settings and seed."""


def write_samples(
    batches: Iterable[tuple[Images, Labels | None]],
    out: Path,
    columns: Sequence[Column],
    depth: Depth,
    grid_columns: int | None = None,
    seed: int | None = None,
) -> Path:
    """Writes batches of samples to `out` as they come, and returns the picture to look at.

    After a Ctrl-C what was drawn by then is written as if it were all, and nothing is lost; a folder that is marked as
    unfinished stays so.

    Args:
        batches: (images (n, C, H, W) in [-1, 1], labels or None), as `sampling.sample_batches` yields them.
        out: `NAME.npz`, beside which the grid NAME-grid.png is written, or a folder that does not exist, is empty or is
            marked as unfinished.
        columns: what the labels say, `Denoiser.known_columns`.
        depth: how pixels are written.
        grid_columns: images in a row of the grid; None: about as many as rows.
        seed: kept beside the images: in `seed.txt` of a folder, as `seed` of an archive; None: it is not.

    Raises:
        SamplingError: `out` is there already.
        RunError: it could not be written.
    """
    check_absent(out)
    is_archive = out.suffix == ".npz"
    with (Archive if is_archive else Folder)(out, columns, depth, grid_columns, seed) as writer:
        try:
            for images, labels in batches:
                writer.add(images, labels)
        except KeyboardInterrupt:
            if not writer.count:
                raise
            again = f" For the others, give the same command with --out {out}." if (out / MARK).is_file() else ""
            print(printable(f"Interrupted: only the first {writer.count} images are written.{again}"), file=sys.stderr)
            return writer.finish()
        look_at = writer.finish()
    if not is_archive:
        _mark_finished(out)
    return look_at


def write_frames(images: Images, frames: int, out: Path, depth: Depth) -> tuple[Path, Path]:
    """Writes a way from image to image to the folder `out`, and returns the grid and the film to look at.

    frames/000000.png ..., film.gif to and fro, and grid.png with a row from each end to the next.

    Args:
        images: (n, C, H, W) in [-1, 1], as `latents.interpolate` gives them.
        frames: images from one end to the next, both included.
        out: a folder that does not exist, is empty or is marked as unfinished.
        depth: how pixels are written.

    Raises:
        SamplingError: `out` is there already, or is no folder.
        RunError: it could not be written.
    """
    check_new_folder(out)
    for index, image in enumerate(images):
        save_image(image, depth, out / "frames" / f"{index:06d}")
    film, shown = out / "film.gif", depth.viewable(images)
    pictures.save_film(shown, film)
    rows = [shown[start : start + frames] for start in range(0, len(images) - 1, frames - 1)]
    grid = pictures.save_grid(torch.cat(rows), out / "grid.png", frames)
    _mark_finished(out)
    return grid, film


def samples_in(path: Path) -> Path:
    """The images of a folder that `write_samples` made, without its grid; any other path as it is."""
    images = path / "images"
    return images if images.is_dir() and (path / "grid.png").is_file() else path


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


def check_absent(out: Path) -> None:
    """Raises `SamplingError` if samples written to `out` would replace or join something."""
    if out.suffix and out.suffix != ".npz" and not out.is_dir():
        raise SamplingError(f"{out} is neither a folder nor an .npz file", "Choose --out NAME or --out NAME.npz.")
    taken = out.is_file() or (out.is_dir() and (out.suffix == ".npz" or _holds_something(out)))
    if taken or (out.suffix == ".npz" and grid_beside(out).exists()):
        there = out if taken else grid_beside(out)
        raise SamplingError(f"{there} is there already", "Choose another --out, so that nothing is replaced.")


def _holds_something(folder: Path) -> bool:
    """Whether a folder holds more than unfinished samples, or what a kill left of a file."""
    return not (folder / MARK).exists() and any(not path.name.startswith(UNFINISHED) for path in folder.iterdir())


class Unfinished(NamedTuple):
    """Samples of which some are in a folder.

    Attributes:
        seed: of all.
        files: the images that are there, from the first on without a gap.
    """

    seed: int
    files: Sequence[Path]


def mark_unfinished(out: Path, settings: Mapping[str, str], seed: int) -> None:
    """Marks a folder as one of images that are being drawn, so that the same command goes on with them.

    Raises:
        RunError: it could not be written.
    """
    write_whole(out / MARK, json.dumps({"settings": settings, "seed": seed}, indent=2).encode())


def unfinished_samples(out: Path, settings: Mapping[str, str]) -> Unfinished | None:
    """What a folder holds of images that were not finished; None if it was not marked.

    Raises:
        SamplingError: they were drawn with other settings.
        RunError: the mark is broken.
    """
    mark = out / MARK
    if not mark.is_file():
        return None
    content = parsed_json(read_text(mark), mark)
    before = content.get("settings") if isinstance(content, dict) else None
    if not isinstance(before, dict) or not isinstance(content.get("seed"), int):
        raise RunError(f"{mark} is not as sfumato writes it", "Choose another --out.")
    changed = [name for name in settings.keys() | before.keys() if settings.get(name) != before.get(name)]
    if changed:
        differences = "; ".join(f"{name}: {before.get(name)} -> {settings.get(name)}" for name in sorted(changed))
        raise SamplingError(
            f"{out} holds unfinished images of other settings ({differences})",
            "Give the settings it was begun with, or choose another --out.",
        )
    files = sorted(path for path in (out / "images").glob("*.*") if path.stem.isdecimal())
    whole = [path for index, path in enumerate(files) if int(path.stem) == index]
    return Unfinished(content["seed"], whole)


def _mark_finished(out: Path) -> None:
    """Removes the mark of a folder, and what a kill left of its files, once all that it is to hold is there."""
    leftovers = [path for path in out.rglob(f"{UNFINISHED}*") if path.name != MARK]
    for leftover in [*leftovers, out / MARK]:
        leftover.unlink(missing_ok=True)


def check_new_folder(out: Path) -> None:
    """Raises `SamplingError` if `out` is there already, or named like a file."""
    check_absent(out)
    if out.suffix == ".npz":
        raise SamplingError(f"{out} is a file, and a folder is written", "Choose --out NAME.")
