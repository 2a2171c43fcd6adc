"""Images that tests are made of: random pixels, and files that hold them exactly."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image


def noise(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Random pixels over the whole range of a dtype; floats lie in [0, 1)."""
    random = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind == "f":
        return random.random(shape).astype(dtype)
    return random.integers(np.iinfo(dtype).max + 1, size=shape, dtype=dtype)


def smooth(height: int, width: int) -> np.ndarray:
    """An image of slow waves, RGB."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(5 * x + 3 * y), np.cos(4 * y), np.sin(7 * x) * np.cos(2 * y)]
    return np.rint(127.5 + 120 * np.stack(waves, axis=2)).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """The pixels, (H, W) or (H, W, C) of 8 or 16 bits, as a PNG."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    """The pixels as a TIFF, written with the options of `tifffile.imwrite`."""
    content = io.BytesIO()
    tifffile.imwrite(content, pixels, **options)  # type: ignore[arg-type]
    return content.getvalue()


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as Pillow writes it."""
    content = io.BytesIO()
    image.save(content, kind, **options)  # type: ignore[arg-type]
    return content.getvalue()


def npy(array: np.ndarray) -> bytes:
    """The array as a `.npy`."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    """Files with this content below `root`, by their names."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


PHOTOS = {
    f"{label}/{number}.png": noise(6, 5, 3, seed=seed)
    for seed, (label, number) in enumerate([("cat", 0), ("cat", 1), ("dog", 0), ("dog", 1)])
}
"""Four small images of two classes, by the names of their files."""


def photo_files() -> dict[str, bytes]:
    """The content of a folder that holds the photos."""
    return {name: png(pixels) for name, pixels in PHOTOS.items()}
