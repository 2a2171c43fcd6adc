"""Six pictures in two classes, in files of any kind, for the pages on images."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from sfumato.data import ImageSet

PICTURES: Mapping[str, np.ndarray] = {
    f"{label}/{number}.png": np.random.default_rng(7 * number + len(label)).integers(
        256, size=(8, 6, 3), dtype=np.uint8
    )
    for label in ("bee", "horse")
    for number in range(3)
}
"""Six pictures of 6x8 pixels in two classes."""


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write(folder: Path, pictures: Mapping[str, np.ndarray] = PICTURES) -> Path:
    for name, pixels in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(pixels))
    return folder


def stacked(pictures: Mapping[str, np.ndarray] = PICTURES) -> np.ndarray:
    """(N, C, H, W)."""
    return np.stack([pictures[name] for name in sorted(pictures)]).transpose(0, 3, 1, 2)


def holds_the_pictures(images: ImageSet, labelled: bool = True) -> None:
    assert np.array_equal(images.images.numpy(), stacked())
    assert images.label_names == (("bee", "horse") if labelled else ())
