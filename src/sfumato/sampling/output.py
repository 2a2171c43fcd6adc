"""Writes samples to disk: a folder of images with a grid, or one .npz file."""

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
"""File in a folder of unfinished samples: their settings and seed."""


def write_samples(
    batches: Iterable[tuple[Images, Labels | None]],
    out: Path,
    columns: Sequence[Column],
    depth: Depth,
    grid_columns: int | None = None,
    seed: int | None = None,
) -> Path:
    """Writes batches of samples to `out` as they are sampled, and returns the path of the grid.

    After Ctrl-C, the samples so far are written as if complete, but a folder stays marked as unfinished.

    Args:
        batches: (images (n, C, H, W) in [-1, 1], labels or None), as from `sample_batches`.
        out: `NAME.npz`, with the grid in NAME-grid.png, or a folder that does not exist, is empty or is marked as
            unfinished.
        columns: meaning of the labels, `Denoiser.known_columns`.
        depth: pixel format of the files.
        grid_columns: images per row of the grid; None: about square.
        seed: saved as `seed.txt` in a folder or as `seed` in an archive; None: not saved.

    Raises:
        SamplingError: `out` exists.
        RunError: `out` could not be written.
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
            resume = f" To resume, run the same command with --out {out}." if (out / MARK).is_file() else ""
            print(printable(f"Interrupted: only the first {writer.count} images were saved.{resume}"), file=sys.stderr)
            return writer.finish()
        grid = writer.finish()
    if not is_archive:
        _mark_finished(out)
    return grid


def write_frames(images: Images, frames: int, out: Path, depth: Depth) -> tuple[Path, Path]:
    """Writes an interpolation to the folder `out`, and returns the paths of the grid and the animation.

    The files are frames/000000.png ..., film.gif (forward and backward) and grid.png (a row per pair of images).

    Args:
        images: (n, C, H, W) in [-1, 1], as from `inversion.interpolate`.
        frames: frames from one image to the next, both included.
        out: folder that does not exist, is empty or is marked as unfinished.
        depth: pixel format of the files.

    Raises:
        SamplingError: `out` exists, or is not a folder.
        RunError: `out` could not be written.
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
    """The folder of images, without the grid, if `path` was made by `write_samples`; otherwise `path`."""
    images = path / "images"
    return images if images.is_dir() and (path / "grid.png").is_file() else path


def free_folder(name: str) -> Path:
    """Makes samples/NAME, or the first of samples/NAME-2, -3, ... that does not exist.

    Raises:
        RunError: the folder could not be made.
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
    """Raises `SamplingError` if writing samples to `out` would change existing files."""
    if out.suffix and out.suffix != ".npz" and not out.is_dir():
        raise SamplingError(f"{out} is neither a folder nor an .npz file", "Choose --out NAME or --out NAME.npz.")
    taken = out.is_file() or (out.is_dir() and (out.suffix == ".npz" or _has_files(out)))
    if taken or (out.suffix == ".npz" and grid_beside(out).exists()):
        existing = out if taken else grid_beside(out)
        raise SamplingError(f"{existing} already exists", "Choose another --out.")


def _has_files(folder: Path) -> bool:
    """Whether a folder has files other than unfinished samples and temporary files of a killed process."""
    return not (folder / MARK).exists() and any(not path.name.startswith(UNFINISHED) for path in folder.iterdir())


class Unfinished(NamedTuple):
    """The seed of samples of which only the first are in a folder, and their files, without a gap."""

    seed: int
    files: Sequence[Path]


def mark_unfinished(out: Path, settings: Mapping[str, str], seed: int) -> None:
    """Marks a folder as unfinished, so that the same command resumes it."""
    write_whole(out / MARK, json.dumps({"settings": settings, "seed": seed}, indent=2).encode())


def unfinished_samples(out: Path, settings: Mapping[str, str]) -> Unfinished | None:
    """The seed and images of an unfinished folder; None if it is not marked as unfinished.

    Raises:
        SamplingError: the folder was made with other settings.
        RunError: the mark is corrupted.
    """
    mark = out / MARK
    if not mark.is_file():
        return None
    content = parsed_json(read_text(mark), mark)
    before = content.get("settings") if isinstance(content, dict) else None
    if not isinstance(before, dict) or not isinstance(content.get("seed"), int):
        raise RunError(f"{mark} is corrupted", "Choose another --out.")
    changed = [name for name in settings.keys() | before.keys() if settings.get(name) != before.get(name)]
    if changed:
        differences = "; ".join(f"{name}: {before.get(name)} -> {settings.get(name)}" for name in sorted(changed))
        raise SamplingError(
            f"{out} has unfinished images with other settings ({differences})",
            "Use the same settings, or choose another --out.",
        )
    files = sorted(path for path in (out / "images").glob("*.*") if path.stem.isdecimal())
    without_gap = [path for index, path in enumerate(files) if int(path.stem) == index]
    return Unfinished(content["seed"], without_gap)


def _mark_finished(out: Path) -> None:
    """Removes the mark of a complete folder, and temporary files of killed processes."""
    leftovers = [path for path in out.rglob(f"{UNFINISHED}*") if path.name != MARK]
    for leftover in [*leftovers, out / MARK]:
        leftover.unlink(missing_ok=True)


def check_new_folder(out: Path) -> None:
    """Raises `SamplingError` if `out` exists, or has the name of an .npz file."""
    check_absent(out)
    if out.suffix == ".npz":
        raise SamplingError(f"--out {out} is the name of a file, but a folder is needed", "Choose --out NAME.")
