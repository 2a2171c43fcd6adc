"""The `train` command that suits a data set and a device: a size and minutes that the rules do not warn of."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sfumato.architecture import model_for
from sfumato.data import ImageSet
from sfumato.devices import convolution_rate
from sfumato.models import network_for
from sfumato.presets import preset_for
from sfumato.rules import Plan, batch_bytes, planned
from sfumato.sources import USUAL, ReadOptions, Shape
from sfumato.store import suggested_size
from sfumato.store.survey import BY_NAME, kind_of

LARGEST_SIDE = 128
"""Images of one size that is not larger than this are learned as they are, if the device is fast enough."""

LARGEST_TINY = 16
"""The largest side that the preset `tiny` is for."""

SMALL_SET = 5000
"""Below this many images augmentation helps; the preset `default` decides it by itself."""

MINUTES = (30, 10, 5, 2, 60, 120)
"""Minutes of training that are considered, the best first."""

BYTES_A_WEIGHT = 16
"""Weights, their average and Adam's two moments, in float32."""


@dataclass(frozen=True)
class Recommendation:
    """How to train on a data set.

    Attributes:
        options: How images are read, with the size.
        preset: "tiny", or None for the one that is taken anyway.
        minutes: Of training; None for a preset that counts images.
        plan: What the rules make of it.
    """

    options: ReadOptions
    preset: str | None
    minutes: int | None
    plan: Plan


def recommend(source: str, options: ReadOptions, shapes: Sequence[Shape], device: torch.device) -> Recommendation:
    """The size and the minutes that the rules do not warn of, else the smallest size for half an hour.

    Args:
        source: As for `load_images`.
        options: How images are read. A size that they name is kept.
        shapes: Of all images that have one, before they are resized; at least one.
        device: That will compute; its speed is measured.
    """
    sizes = list(_sizes(options, shapes))
    if source == "digits" or _is_tiny(sizes[0], shapes):
        return _tiny(source, options, sizes[0], shapes, device)
    rate = convolution_rate(device)
    tried = (
        _default(source, options, size, minutes, shapes, device, rate)
        for minutes in MINUTES
        for size in sizes
        if not _is_tiny(size, shapes)
    )
    good = next((each for each in tried if not each.plan.warnings), None)
    if good is not None:
        return good
    if _is_tiny(sizes[-1], shapes):
        return _tiny(source, options, sizes[-1], shapes, device)
    return _default(source, options, sizes[-1], MINUTES[0], shapes, device, rate)


def train_command(source: str, advice: Recommendation, labels: bool, count: int) -> str:
    """The command.

    Args:
        source: As for `load_images`.
        advice: What it should do.
        labels: Whether sub-folders are classes.
        count: How many images there are.
    """
    options, words = advice.options, ["sfumato", "train", source]
    if options.size is not None:
        width, height = options.size
        words += ["--size", str(width) if width == height else f"{width}x{height}"]
    for name in ("fit", "channels", "pages", "split", "nodata", "name_encoding"):
        given = getattr(options, name)
        words += [f"--{name.replace('_', '-')}", str(given)] if given != getattr(USUAL, name) else []
    words += ["--range", *(f"{end:g}" for end in options.range)] if options.range is not None else []
    words += [] if labels else ["--no-labels"]
    words += ["--preset", advice.preset] if advice.preset else []
    words += ["--augment", "0.12"] if advice.preset and count < SMALL_SET else []
    words += ["--minutes", str(advice.minutes)] if advice.minutes is not None else []
    return shlex.join(words)


def memory_of(advice: Recommendation, images: ImageSet) -> dict[str, int]:
    """Bytes that the images take, the network while it learns, and the activations of a batch, in float32."""
    described = model_for(advice.plan.config, images)
    with torch.device("meta"):
        network = network_for(described)
    return {
        "images": len(images) * images.pixels.bytes_an_image,
        "network": BYTES_A_WEIGHT * sum(parameter.numel() for parameter in network.parameters()),
        "batch": batch_bytes(advice.plan.config, images),
    }


def _sizes(options: ReadOptions, shapes: Sequence[Shape]) -> Iterator[tuple[int, int] | None]:
    """Sizes to consider, the best first: that which was asked; else that which the images share; else smaller ones."""
    if options.size is not None:
        yield options.size
        return
    sides = {side for shape in shapes for side in (shape.width, shape.height)}
    if len({(shape.width, shape.height) for shape in shapes}) == 1 and max(sides) <= LARGEST_SIDE:
        yield None
    side = suggested_size(shapes)
    while side >= LARGEST_TINY or side == suggested_size(shapes):
        yield side, side
        side //= 2


def _is_tiny(size: tuple[int, int] | None, shapes: Sequence[Shape]) -> bool:
    return max(size or (shapes[0].width, shapes[0].height)) <= LARGEST_TINY


def _tiny(
    source: str, options: ReadOptions, size: tuple[int, int] | None, shapes: Sequence[Shape], device: torch.device
) -> Recommendation:
    options = replace(options, size=size)
    plan = planned(preset_for(source, "tiny"), _like(options, shapes), device)
    return Recommendation(options, None if source == "digits" else "tiny", None, plan)


def _default(
    source: str,
    options: ReadOptions,
    size: tuple[int, int] | None,
    minutes: int,
    shapes: Sequence[Shape],
    device: torch.device,
    rate: float,
) -> Recommendation:
    options, config = replace(options, size=size), preset_for(source, "default")
    config = replace(config, optimization=replace(config.optimization, minutes=float(minutes)))
    return Recommendation(options, None, minutes, planned(config, _like(options, shapes), device, rate))


def _like(options: ReadOptions, shapes: Sequence[Shape]) -> ImageSet:
    """As many images as there are, of the shape that they will have, with nothing in them."""
    kind = BY_NAME.get(options.channels) or Counter(map(kind_of, shapes)).most_common(1)[0][0]
    width, height = options.size or (shapes[0].width, shapes[0].height)
    one = ImageSet.of(torch.zeros(1, kind.channels, height, width, dtype=torch.uint8))
    return replace(one, rows=np.zeros(len(shapes), np.int64))
