"""Recommends a `train` command for a data set and a device: a size and a budget without warnings."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sfumato.data import ImageSet
from sfumato.data.cache import suggested_size
from sfumato.data.cache.target_format import CHANNEL_MODES, channel_mode
from sfumato.data.sources import DEFAULT_OPTIONS, ImageInfo, ReadOptions
from sfumato.models import build_on_meta
from sfumato.training.architecture import model_for
from sfumato.training.autoconfig import Plan, batch_bytes, measured_rate, resolve_config
from sfumato.training.config import TrainConfig
from sfumato.training.presets import DEFAULT_PRESETS, preset_for
from sfumato.utils.filesystem import ON_WINDOWS

TrialSize = tuple[int, int] | None
"""(width, height), or None for the size of the images."""

MAX_NATIVE_SIDE = 128
"""Images of one common size up to this side are not resized, if the device is fast enough."""

LARGEST_TINY = 16
"""Maximum side for the preset `tiny`."""

FEW_IMAGES = 5000
"""Number of images below which augmentation is recommended; the preset `default` chooses it automatically."""

PLAIN = re.compile(r"[\w.:/\\=+-]+")
"""Words that need no quotes in the shells of Windows."""

MINUTES = 30
"""Default training time."""

LONGER, SHORTER = (60, 120), (10, 5, 2)
"""Training times in minutes to try if the default is too short for the device, or too long for the number of images."""

TIMES_EACH = 1000
"""Epochs to train if all times are too long."""

BYTES_A_WEIGHT = 16
"""Bytes per parameter: weights, their EMA and Adam's two moments, in float32."""


@dataclass(frozen=True)
class Recommendation:
    """Recommended settings for a data set.

    Attributes:
        options: reading options, including the size.
        plan: resolved configuration.
        preset: "tiny", or empty for the default preset of the source.
        minutes: training time in minutes, or None.
        images: training length in images, or None.
    """

    options: ReadOptions
    plan: Plan
    preset: str = ""
    minutes: int | None = None
    images: int | None = None


@dataclass(frozen=True)
class _Trial:
    """Resolves configurations for a data set and a device with different sizes and budgets."""

    source: str
    options: ReadOptions
    like: ImageSet  # empty images of the original size, as many as in the data set
    device: torch.device
    rate: float | None = None  # speed of the device in training, in FLOP/s, if it is needed

    def default(self, size: TrialSize, minutes: int | None = None, images: int | None = None) -> Recommendation:
        """The preset `default` with a budget."""
        plan = resolve_config(self._config(minutes, images), self._sized(size), self.device, self.rate)
        return Recommendation(replace(self.options, size=size), plan, minutes=minutes, images=images)

    def tiny(self, size: TrialSize) -> Recommendation:
        """The preset of a built-in data set, or else `tiny`, with its default budget."""
        name = None if self.source in DEFAULT_PRESETS else "tiny"
        plan = resolve_config(preset_for(self.source, name), self._sized(size), self.device)
        return Recommendation(replace(self.options, size=size), plan, name or "")

    def measured(self, size: TrialSize) -> "_Trial":
        """A copy with the speed of the device measured at this size."""
        return replace(self, rate=measured_rate(self._config(MINUTES), self._sized(size), self.device))

    def is_tiny(self, size: TrialSize) -> bool:
        """Whether the preset `tiny` suits images of this size."""
        return max(size or self.like.image_shape[1:]) <= LARGEST_TINY

    def _config(self, minutes: int | None, images: int | None = None) -> TrainConfig:
        config = preset_for(self.source, "default")
        budget = replace(config.optimization, minutes=minutes and float(minutes), images=images)
        return replace(config, optimization=budget)

    def _sized(self, size: TrialSize) -> ImageSet:
        return self.like if size is None else _empty(len(self.like), self.like.image_shape[0], *size)


def recommend(source: str, options: ReadOptions, shapes: Sequence[ImageInfo], device: torch.device) -> Recommendation:
    """Recommends the largest size that the device can train in half an hour, and shorter training for few images."""
    kind = CHANNEL_MODES.get(options.channels) or Counter(map(channel_mode, shapes)).most_common(1)[0][0]
    trial = _Trial(source, options, _empty(len(shapes), kind.channels, shapes[0].width, shapes[0].height), device)
    sizes = _sizes(options, shapes)
    if source in DEFAULT_PRESETS or trial.is_tiny(sizes[0]):
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
    """The recommended command as a line for the shell."""
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
    words += ["--augment", "0.12"] if advice.preset and count < FEW_IMAGES else []
    words += ["--minutes", str(advice.minutes)] if advice.minutes is not None else []
    words += ["--images", str(advice.images)] if advice.images is not None else []
    return _shell_line(words)


def _shell_line(words: Sequence[str]) -> str:
    """The words as a line for the shell; shells of Windows do not support single quotes."""
    if not ON_WINDOWS:
        return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)
    return " ".join(word if PLAIN.fullmatch(word) else f'"{_double_final_backslashes(word)}"' for word in words)


def _escaped(word: str) -> str:
    r"""A word with control characters, quoted for bash and zsh.

    >>> print(_escaped("it's" + chr(27)))
    $'it\x27s\x1b'
    """
    plain = (char if char.isprintable() and char not in "\\'" else None for char in word)
    codes = ("".join(f"\\x{byte:02x}" for byte in os.fsencode(char)) for char in word)
    return "$'" + "".join(char or code for char, code in zip(plain, codes, strict=True)) + "'"


def _double_final_backslashes(word: str) -> str:
    """Doubles backslashes at the end, which would escape the closing quote."""
    return word + "\\" * (len(word) - len(word.rstrip("\\")))


def memory_of(advice: Recommendation, images: ImageSet) -> dict[str, int]:
    """Memory in bytes: of the images, of the network in training, and of the activations of a batch, in float32."""
    network = build_on_meta(model_for(advice.plan.config, images))
    return {
        "images": len(images) * images.pixels.bytes_an_image,
        "network": BYTES_A_WEIGHT * sum(parameter.numel() for parameter in network.parameters()),
        "batch": batch_bytes(advice.plan.config, images),
    }


def _sizes(options: ReadOptions, shapes: Sequence[ImageInfo]) -> list[TrialSize]:
    """Sizes to try, best first: the given size; otherwise the common size of the images, then smaller ones."""
    if options.size is not None:
        return [options.size]
    own = {(shape.width, shape.height) for shape in shapes}
    shared: list[TrialSize] = [None] if len(own) == 1 and max(max(own)) <= MAX_NATIVE_SIDE else []
    side = suggested_size(shapes)
    smaller = [side >> times for times in range(side.bit_length()) if side >> times >= min(side, LARGEST_TINY)]
    return [*shared, *((side, side) for side in smaller)]


def _empty(count: int, channels: int, width: int, height: int) -> ImageSet:
    """Empty images of a shape."""
    one = ImageSet.of(torch.zeros(1, channels, height, width, dtype=torch.uint8))
    return replace(one, rows=np.zeros(count, np.int64))
