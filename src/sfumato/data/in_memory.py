"""Images that are in memory: arrays, tensors, lists of images, PyTorch data sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from sfumato.data.dataset import ImageSet
from sfumato.data.labels import LABEL, encoded, requested_columns
from sfumato.data.sources import Cell, Notice
from sfumato.errors import DataError
from sfumato.utils.depth import EIGHT_BITS, SIXTEEN_BITS, Depth
from sfumato.utils.shapes import UNLABELLED

MOST_CHANNELS = 4

IN_MEMORY = "images in memory"
"""Source that a run directory names for images that came from no file."""

FLOAT_RANGES = {(0.0, 1.0): "0 to 1", (-1.0, 1.0): "-1 to 1"}


@runtime_checkable
class Collection(Protocol):
    """Anything that has a length and is indexed by numbers: a list, a tensor, a PyTorch data set."""

    def __len__(self) -> int:
        """The number of images."""

    def __getitem__(self, index: int, /) -> Any:  # noqa: ANN401 (an image, or a pair of an image and a label)
        """An image (C, H, W), (H, W, C) or (H, W), or a pair of one and its label."""


SOURCES: dict[str, Callable[[str], ImageSet]] = {}
"""Data sources from outside the package, by prefix: the source `mydb:cats` is SOURCES["mydb"]("cats").

Options that the returned images do not satisfy, such as another size, are rejected."""

ImageLabels = Sequence[Any] | np.ndarray | torch.Tensor | Mapping[str, Sequence[Any]]
"""The class of each image, a number or a word; or columns of conditions by name, with a value for each image."""


def from_arrays(
    images: Collection, labels: ImageLabels | None = None, range: tuple[float, float] | None = None
) -> ImageSet:
    """Creates an `ImageSet` from images in memory.

    >>> from_arrays(np.zeros((8, 32, 32, 3), np.uint8), labels=["cat", "dog"] * 4).label_names
    ('cat', 'dog')

    Args:
        images: uint8, uint16 or floats: an array (N, H, W) or (N, H, W, C), a tensor (N, C, H, W), or a collection of
            images or of pairs (image, label). Another order of the axes is recognised if it is the only one in which C
            is 1 to 4.
        labels: class of each image, -1 or None if it is unknown; or columns of conditions by name, with one value per
            image, None if it is missing: text or few different integers are classes, other numbers are numeric. None:
            the labels of the pairs, if any.
        range: pixel values of black and white; None: for floats (0, 1), or (-1, 1) if values are outside (0, 1); for
            integers their whole range.

    Returns:
        The images, with a notice about their layout and range.

    Raises:
        DataError: images of different shapes, or of an unsupported dtype, layout or range; the number of labels is not
            the number of images.
    """
    stacked, pairs = _stacked(images)
    pixels, depth = _as_pixels(_channels_first(stacked), range)
    labels = pairs if labels is None else labels
    found = ImageSet.of(torch.from_numpy(pixels), depth=depth)
    channels, height, width = found.image_shape
    taken = f"{len(found):,} images of {width}x{height} pixels with {channels} channel(s)"
    black_and_white = "" if depth.is_whole else f", black {depth.low:g} and white {depth.high:g}"
    notice = Notice("layout", f"In memory: {taken}, {depth.dtype}{black_and_white}.")
    if labels is None:
        return replace(found, notices=(notice,))
    if isinstance(labels, Mapping):
        cells = {name: [_cell(value) for value in values] for name, values in labels.items()}
    else:
        cells = {LABEL: [None if cell in (None, UNLABELLED) else str(cell) for cell in map(_cell, labels)]}
    for name, values in cells.items():
        if len(values) != len(found):
            raise DataError(
                f"{len(values)} values of {name} were given for {len(found)} images", "Give one value per image."
            )
    known = encoded(requested_columns(cells, list(cells)))
    return replace(found, labels=known.labels, label_names=known.label_names, columns=known.columns, notices=(notice,))


def _stacked(images: Collection) -> tuple[np.ndarray | torch.Tensor, list[Any] | None]:
    """All images as one array or tensor, and the labels of pairs."""
    if isinstance(images, Collection) and not len(images):
        raise DataError("there are no images", "Give at least 2.")
    if isinstance(images, np.ndarray | torch.Tensor):
        return images, None
    try:
        items, labels = [images[index] for index in np.arange(len(images)).tolist()], None
    except (KeyError, TypeError) as error:
        problem = f"images are a {type(images).__name__}"
        raise DataError(problem, "Give an array, a tensor, or a list of images.") from error
    if isinstance(items[0], Mapping):
        raise DataError(f"an image is a mapping of {', '.join(map(str, items[0]))}", "Give (image, label) pairs.")
    if isinstance(items[0], tuple):
        labels = [item[1] for item in items] if len(items[0]) > 1 else None
        items = [item[0] for item in items]
    try:
        arrays = [item if isinstance(item, torch.Tensor) else np.asarray(item) for item in items]
    except ValueError as error:
        raise DataError(f"an image is a {type(items[0]).__name__}", "Give arrays, or (image, label) tuples.") from error
    shapes = {tuple(array.shape): index for index, array in enumerate(arrays)}
    if len(shapes) > 1:
        (one, i), (other, j), *_ = shapes.items()
        raise DataError(
            f"image {i} has the shape {one} and image {j} {other}", "Resize them, or train on a folder with --size."
        )
    tensors = [array for array in arrays if isinstance(array, torch.Tensor)]
    return torch.stack(tensors) if len(tensors) == len(arrays) else np.stack(arrays), labels


def _channels_first(images: np.ndarray | torch.Tensor) -> np.ndarray:
    """(N, C, H, W), from that or (N, H, W, C) or (N, H, W)."""
    is_tensor = isinstance(images, torch.Tensor)
    if isinstance(images, torch.Tensor):
        plain = images.detach().cpu()
        images = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    array: np.ndarray = images
    if array.ndim == 3 and not array.shape[-1] <= MOST_CHANNELS < min(array.shape[:2]):
        return array[:, None]
    plausible = [axis for axis in (1, 3) if array.ndim == 4 and 1 <= array.shape[axis] <= MOST_CHANNELS]
    if not plausible:
        raise DataError(
            f"images of the shape {tuple(array.shape)} are neither (N, C, H, W) nor (N, H, W, C)",
            f"Give 1 to {MOST_CHANNELS} channels; a single image as (1, H, W, C).",
        )
    axis = plausible[0] if is_tensor or len(plausible) == 1 else plausible[-1]
    return np.moveaxis(array, axis, 1)


def _as_pixels(images: np.ndarray, range: tuple[float, float] | None) -> tuple[np.ndarray, Depth]:
    """The pixels as uint8, uint16 or float32, and the values that are black and white."""
    if images.dtype in (np.uint8, np.uint16):
        depth = EIGHT_BITS if images.dtype == np.uint8 else SIXTEEN_BITS
        return np.array(images, order="C"), depth if range is None else Depth(depth.dtype, *range)
    if images.dtype.kind != "f":
        raise DataError(f"images are {images.dtype}", "Convert them to uint8 (0 to 255), uint16, or floats.")
    floats = np.array(images, np.float32, order="C")
    low, high = float(floats.min(initial=math.inf)), float(floats.max(initial=-math.inf))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError("images hold values that are not finite", "Replace them before training.")
    fitting = [known for known in FLOAT_RANGES if known[0] <= low and high <= known[1]]
    if range is None and not fitting:
        raise DataError(
            f"images are floats from {low:g} to {high:g}, and black and white are not known",
            f"Give range=(black, white), or images from {' or from '.join(FLOAT_RANGES.values())}.",
        )
    return floats, Depth("float32", *(range or fitting[0]))


def _cell(value: Any) -> Cell:  # noqa: ANN401 (whatever the caller's labels are)
    """A value as a table would hold it: a number, text, or None where it is missing."""
    if isinstance(value, np.ndarray | torch.Tensor) and value.ndim:
        shape = tuple(value.shape)
        raise DataError(
            f"a label has the shape {shape}", "Give one number or word per image; of one-hot rows the argmax."
        )
    plain = value.item() if isinstance(value, np.ndarray | np.generic | torch.Tensor) else value
    if plain is None or plain != plain:  # NaN
        return None
    return plain if isinstance(plain, int | float) and not isinstance(plain, bool) else str(plain)
