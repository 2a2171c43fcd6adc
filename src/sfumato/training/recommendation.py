"""The `train` command that suits a data set and a device: a size and minutes that the rules do not warn of."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sfumato.data import DIGITS, ImageSet
from sfumato.data.cache import suggested_size
from sfumato.data.cache.survey import BY_NAME, kind_of
from sfumato.data.sources import DEFAULT_OPTIONS, ReadOptions, Shape
from sfumato.models import network_for
from sfumato.training.architecture import model_for
from sfumato.training.autoconfig import Plan, batch_bytes, measured_rate, resolve_config
from sfumato.training.config import TrainConfig
from sfumato.training.presets import preset_for
from sfumato.utils.filesystem import ON_WINDOWS

Side = tuple[int, int] | None
"""(width, height), or None for that of the images."""

LARGEST_SIDE = 128
"""Images of one size that is not larger than this are learned as they are, if the device is fast enough."""

LARGEST_TINY = 16
"""The largest side that the preset `tiny` is for."""

SMALL_SET = 5000
"""Below this many images augmentation helps; the preset `default` decides it by itself."""

PLAIN = re.compile(r"[\w.:/\\=+-]+")
"""A word that no shell of Windows interprets."""

MINUTES = 30
"""Of training, where nothing speaks against it."""

LONGER, SHORTER = (60, 120), (10, 5, 2)
"""Minutes where half an hour is too short for the device, or too long for so few images."""

TIMES_EACH = 1000
"""How often each image is seen where even the fewest minutes are too long."""

BYTES_A_WEIGHT = 16
"""Weights, their average and Adam's two moments, in float32."""


@dataclass(frozen=True)
class Recommendation:
    """How to train on a data set.

    Attributes:
        options: How images are read, with the size.
        plan: What the rules make of the settings.
        preset: "tiny", or empty for the one that is taken anyway.
        minutes: Of training, if it is measured in them.
        images: To be seen, if training is measured in them.
    """

    options: ReadOptions
    plan: Plan
    preset: str = ""
    minutes: int | None = None
    images: int | None = None


@dataclass(frozen=True)
class _Trial:
    """Plans for a data set on a device, for different sizes and budgets.

    Attributes:
        source: As for `load_images`.
        options: How images are read.
        like: As many images as there are, of their own size, with nothing in them.
        device: That will compute.
        rate: Its operations a second in training; None where it does not matter.
    """

    source: str
    options: ReadOptions
    like: ImageSet
    device: torch.device
    rate: float | None = None

    def default(self, size: Side, minutes: int | None = None, images: int | None = None) -> Recommendation:
        """The preset `default` for so many minutes or images."""
        plan = resolve_config(self._config(minutes, images), self._sized(size), self.device, self.rate)
        return Recommendation(replace(self.options, size=size), plan, minutes=minutes, images=images)

    def tiny(self, size: Side) -> Recommendation:
        """The preset `tiny` for its usual budget."""
        plan = resolve_config(preset_for(self.source, "tiny"), self._sized(size), self.device)
        return Recommendation(replace(self.options, size=size), plan, "" if self.source == DIGITS else "tiny")

    def measured(self, size: Side) -> "_Trial":
        """The same, with the rate of the device measured at that size."""
        return replace(self, rate=measured_rate(self._config(MINUTES), self._sized(size), self.device))

    def is_tiny(self, size: Side) -> bool:
        """Whether images of that size are for the preset `tiny`."""
        return max(size or self.like.image_shape[1:]) <= LARGEST_TINY

    def _config(self, minutes: int | None, images: int | None = None) -> TrainConfig:
        config = preset_for(self.source, "default")
        budget = replace(config.optimization, minutes=minutes and float(minutes), images=images)
        return replace(config, optimization=budget)

    def _sized(self, size: Side) -> ImageSet:
        return self.like if size is None else _empty(len(self.like), self.like.image_shape[0], *size)


def recommend(source: str, options: ReadOptions, shapes: Sequence[Shape], device: torch.device) -> Recommendation:
    """The largest size that the device learns in half an hour, and fewer minutes for few images.

    Args:
        source: As for `load_images`.
        options: How images are read. A size that they name is kept.
        shapes: Of all images that have one, before they are resized; at least one.
        device: That will compute; its speed is measured.
    """
    kind = BY_NAME.get(options.channels) or Counter(map(kind_of, shapes)).most_common(1)[0][0]
    trial = _Trial(source, options, _empty(len(shapes), kind.channels, shapes[0].width, shapes[0].height), device)
    sizes = _sizes(options, shapes)
    if source == DIGITS or trial.is_tiny(sizes[0]):
        return trial.tiny(sizes[0])
    large = [size for size in sizes if not trial.is_tiny(size)]
    trial = trial.measured(large[-1])
    budgets = [*((size, MINUTES) for size in large), *((large[-1], minutes) for minutes in LONGER)]
    plans = (trial.default(*budget) for budget in budgets)
    chosen = next((each for each in plans if not (each.plan.is_short or each.plan.is_coarse)), None)
    if chosen is None:
        return trial.tiny(sizes[-1]) if trial.is_tiny(sizes[-1]) else trial.default(sizes[-1], LONGER[-1])
    if not chosen.plan.is_long:
        return chosen
    size, count = chosen.options.size, TIMES_EACH * len(shapes)
    fewer = (trial.default(size, minutes) for minutes in SHORTER)
    return next((each for each in fewer if not each.plan.is_long), None) or trial.default(size, images=count)


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
        words += [f"--{name.replace('_', '-')}", str(given)] if given != getattr(DEFAULT_OPTIONS, name) else []
    words += ["--range", *(f"{end:g}" for end in options.range)] if options.range is not None else []
    words += [] if labels else ["--no-labels"]
    words += ["--preset", advice.preset] if advice.preset else []
    words += ["--augment", "0.12"] if advice.preset and count < SMALL_SET else []
    words += ["--minutes", str(advice.minutes)] if advice.minutes is not None else []
    words += ["--images", str(advice.images)] if advice.images is not None else []
    return _shell_line(words)


def _shell_line(words: Sequence[str]) -> str:
    """The words as a line for the shell; those of Windows know no single quotes, and their names no double ones."""
    if not ON_WINDOWS:
        return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)
    return " ".join(word if PLAIN.fullmatch(word) else f'"{_ended_twice(word)}"' for word in words)


def _escaped(word: str) -> str:
    r"""A word with control characters as bash and zsh read it.

    >>> print(_escaped("it's" + chr(27)))
    $'it\x27s\x1b'
    """
    plain = (char if char.isprintable() and char not in "\\'" else None for char in word)
    codes = ("".join(f"\\x{byte:02x}" for byte in os.fsencode(char)) for char in word)
    return "$'" + "".join(char or code for char, code in zip(plain, codes, strict=True)) + "'"


def _ended_twice(word: str) -> str:
    """With backslashes doubled at the end, where one would be taken for a part of the quote."""
    return word + "\\" * (len(word) - len(word.rstrip("\\")))


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


def _sizes(options: ReadOptions, shapes: Sequence[Shape]) -> list[Side]:
    """Sizes to consider, the best first: that which was asked; else that which the images share; else smaller ones."""
    if options.size is not None:
        return [options.size]
    own = {(shape.width, shape.height) for shape in shapes}
    shared: list[Side] = [None] if len(own) == 1 and max(max(own)) <= LARGEST_SIDE else []
    side = suggested_size(shapes)
    smaller = [side >> times for times in range(side.bit_length()) if side >> times >= min(side, LARGEST_TINY)]
    return [*shared, *((side, side) for side in smaller)]


def _empty(count: int, channels: int, width: int, height: int) -> ImageSet:
    """Images of a shape, with nothing in them."""
    one = ImageSet.of(torch.zeros(1, channels, height, width, dtype=torch.uint8))
    return replace(one, rows=np.zeros(count, np.int64))
