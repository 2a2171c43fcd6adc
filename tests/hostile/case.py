"""A hostile input and its expected result, and four valid images."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from images import noise, png, write

SIDE = 8
"""Side in pixels of all images after resizing."""

GOOD = {f"good{number}.png": noise(SIDE, SIDE, 3, seed=number) for number in range(4)}
"""Four valid images."""

EXTRA = noise(SIDE, SIDE, 3, seed=99)
"""Pixels of hostile files that can be read."""

PICTURE = Image.fromarray(EXTRA)


@dataclass(frozen=True)
class Case:
    """An input and its expected result.

    Attributes:
        make: Creates the input in a folder, and returns the source to load.
        loads: Expected images in order; None for images that are not compared.
        says: Substrings of the notices, or of the error if nothing is loaded.
    """

    make: Callable[[Path], Path | str]
    loads: tuple[np.ndarray | None, ...] = ()
    says: tuple[str, ...] = ()


def good_files() -> dict[str, bytes]:
    return {name: png(pixels) for name, pixels in GOOD.items()}


def beside(files: Mapping[str, bytes]) -> Callable[[Path], Path]:
    """Files in a folder with the valid images."""
    return lambda at: write(at / "data", good_files() | dict(files))


def only(files: Mapping[str, bytes]) -> Callable[[Path], Path]:
    """A folder with only these files."""
    return lambda at: write(at / "data", files)


def one_file(name: str, content: bytes) -> Callable[[Path], Path]:
    """A single file as the source."""
    return lambda at: write(at, {name: content}) / name


def shown(name: str, content: bytes, pixels: np.ndarray | None = EXTRA, *says: str) -> Case:
    """An unusual file that is a valid image."""
    images = sorted((GOOD | {name: pixels}).items())
    return Case(beside({name: content}), tuple(image for _, image in images), says)


def skipped(name: str, content: bytes, reason: str = "", printed: str | None = None) -> Case:
    """A file that is skipped and reported; the valid images are loaded."""
    says = ("1 of 5 images was skipped: " + (printed or name) + " (" + reason,)
    return Case(beside({name: content}), tuple(GOOD.values()), says)


def ignored(make: Callable[[Path], Path | str], *says: str) -> Case:
    """An input in the folder of the valid images that is ignored."""
    return Case(make, tuple(GOOD.values()), says)


def rejected(make: Callable[[Path], Path | str], *says: str) -> Case:
    """A source that is rejected."""
    return Case(make, (), says)


def linked(name: str, target: str) -> Callable[[Path], Path]:
    """A link in the folder of the valid images."""

    def make(at: Path) -> Path:
        folder = beside({})(at)
        (folder / name).symlink_to(target)
        return folder

    return make


def with_folder(name: str) -> Callable[[Path], Path]:
    """An empty folder in the folder of the valid images."""

    def make(at: Path) -> Path:
        (beside({})(at) / name).mkdir()
        return at / "data"

    return make


def with_pipe(at: Path) -> Path:
    os.mkfifo(beside({})(at) / "x.png")
    return at / "data"


def described(content: bytes, name: str = "metadata.csv") -> Callable[[Path], Path]:
    """A metadata file in the folder of the valid images."""
    return beside({name: content})
