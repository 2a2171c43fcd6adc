"""Do samples have the colours, the contrast and the detail of the data? Differences, each with its sampling error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sfumato.errors import DataError
from sfumato.metrics.spectrum import BANDS, band_powers

SURE = 0.01
"""A drift is significant if sets of one law show one of such a size, in any quantity, less often than this."""

ROUNDING = 1e-9
"""A change that is no change."""

CHANNELS = {1: ("",), 3: (" in red", " in green", " in blue"), 4: (" in red", " in green", " in blue", " in channel 4")}
"""What channels are called after "darker"."""


@dataclass(frozen=True)
class Appearance:
    """What is measured of each image of a set. Black is 0 and white 1.

    Attributes:
        image_shape: (C, H, W).
        means: Of each channel.
        squares: The mean square of each channel.
        contrast: The standard deviation of the grey image, the mean of the colours.
        saturation: The mean of the largest less the smallest colour of a pixel (HSV's chroma); only of RGB and RGBA.
        powers: Of the grey image, its mean power in each band of `spectrum.BANDS`.
    """

    image_shape: tuple[int, int, int]
    means: Float64[Tensor, "n c"]
    squares: Float64[Tensor, "n c"]
    contrast: Float64[Tensor, " n"]
    saturation: Float64[Tensor, " n"] | None
    powers: Float64[Tensor, "n bands"]

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True)
class Change:
    """One quantity of samples beside that of the data.

    Attributes:
        quantity: Such as "brightness in blue".
        samples: Its value.
        data: Its value.
        change: Of brightness and saturation, the difference; of all else, the difference as a share of the data's.
        error: The standard error of `change`, as both sets are finite.
        significant: Whether chance is unlikely to give it, all quantities considered.
        words: What samples do, such as "are 4.0 % darker in blue".
    """

    quantity: str
    samples: float
    data: float
    change: float
    error: float
    significant: bool
    words: str


@dataclass(frozen=True)
class Drift:
    """How samples differ from the data, as `dataclasses.asdict` makes it JSON: each quantity, and a sentence."""

    changes: tuple[Change, ...]
    sentence: str


@dataclass(frozen=True)
class _Estimate:
    """A value of a set, and how much each image moves it (its influence, of mean 0)."""

    value: float
    influence: Float64[Tensor, " n"]

    @property
    def variance(self) -> float:
        """Of the value, over sets of as many images."""
        count = len(self.influence)
        return self.influence.square().sum().item() / (count * (count - 1))


@dataclass(frozen=True)
class _Quantity:
    """What is compared, and how its change is told.

    Attributes:
        name: In a table.
        words: With a gap for how much, and one for which way.
        ways: The words for less and for more.
        relative: Whether the change is a share of the data's value.
    """

    name: str
    words: str
    ways: tuple[str, str] = ("less", "more")
    relative: bool = True


def appearance(batches: Iterable[Float[Tensor, "_ _ _ _"]]) -> Appearance:
    """Measures images, a batch at a time, in float64; a few numbers of each image are kept.

    Args:
        batches: Images in [-1, 1], all of one shape. Of 2 channels or more than 4, all count as colours.

    Raises:
        DataError: There are fewer than 2 images, they differ in shape, or hold NaN or infinities.
    """
    shapes, parts = set(), []
    for images in batches:
        shapes.add(tuple(images.shape[1:]))
        parts.append(_measured((images.cpu().double() + 1) / 2))
    count = sum(len(part[0]) for part in parts)
    if count < 2 or len(shapes) > 1:
        raise DataError(
            f"{count} image(s) of {len(shapes)} shape(s) have no common spread", "Give at least 2 images of one shape."
        )
    means, squares, contrast, saturation, powers = (torch.cat(each) for each in zip(*parts, strict=True))
    if not squares.isfinite().all():
        raise DataError("The images hold NaN or infinities", "Look at what made them.")
    ((channels, height, width),) = shapes
    coloured = saturation if channels in (3, 4) else None
    return Appearance((channels, height, width), means, squares, contrast, coloured, powers)


def _measured(images: Float64[Tensor, "n c h w"]) -> tuple[Tensor, ...]:
    """The columns of `Appearance`, of images in [0, 1]."""
    colours = images[:, :3]
    grey = colours.mean(1)
    return (
        images.mean((2, 3)),
        images.square().mean((2, 3)),
        grey.flatten(1).std(1, correction=0),
        (colours.amax(1) - colours.amin(1)).mean((1, 2)),
        band_powers(grey),
    )


def drift(samples: Appearance, data: Appearance) -> Drift:
    """How samples differ from the data in brightness, spread, contrast, saturation and detail.

    The errors are those of the central limit theorem, by the influence of each image on each value (the delta method).
    A change is significant if it exceeds its error by what `SURE`, shared by all quantities (Bonferroni), allows. A
    quantity that the data lack, as constant images lack contrast, is left out unless its change is a difference.

    Raises:
        DataError: The two are of different sizes or channels.
    """
    if samples.image_shape != data.image_shape:
        one, other = ("x".join(map(str, each.image_shape)) for each in (samples, data))
        raise DataError(
            f"Samples of {one} (channels, height, width) are compared with data of {other}",
            "Bring both to the same size and channels.",
        )
    found, expected = _estimates(samples), _estimates(data)
    compared = [what for what in expected if expected[what].value > 0 or not what.relative]
    bound = NormalDist().inv_cdf(1 - SURE / (2 * len(compared)))
    changes = tuple(_change(what, found[what], expected[what], bound) for what in compared)
    return Drift(changes, _sentence(changes))


def _estimates(of: Appearance) -> dict[_Quantity, _Estimate]:
    channels = of.image_shape[0]
    names = CHANNELS.get(channels) or tuple(f" in channel {1 + number}" for number in range(channels))
    found = {}
    for name, means, squares in zip(names, of.means.T, of.squares.T, strict=True):
        brightness = _Quantity(f"brightness{name}", f"are {{}} {{}}{name}", ("darker", "brighter"), relative=False)
        found[brightness] = _mean(means)
        found[_Quantity(f"spread{name}", f"vary {{}} {{}}{name}")] = _deviation(means, squares)
    found[_Quantity("contrast", "have {} {} contrast")] = _mean(of.contrast)
    if of.saturation is not None:
        found[_Quantity("saturation", "are {} {} saturated", relative=False)] = _mean(of.saturation)
    for name, powers in zip(BANDS, of.powers.T, strict=True):
        found[_Quantity(name, f"have {{}} {{}} {name}")] = _root(_mean(powers))
    return found


def _mean(values: Float64[Tensor, " n"]) -> _Estimate:
    return _Estimate(values.mean().item(), values - values.mean())


def _deviation(means: Float64[Tensor, " n"], squares: Float64[Tensor, " n"]) -> _Estimate:
    """The standard deviation of all pixels of all images, from each image's mean and mean square."""
    mean = means.mean()
    value = (squares.mean() - mean.square()).clamp(min=0).item()
    return _root(_Estimate(value, squares - squares.mean() - 2 * mean * (means - mean)))


def _root(of: _Estimate) -> _Estimate:
    root = sqrt(of.value)
    return _Estimate(root, of.influence / (2 * root) if root else torch.zeros_like(of.influence))


def _change(what: _Quantity, samples: _Estimate, data: _Estimate, bound: float) -> Change:
    change, variance = samples.value - data.value, samples.variance + data.variance
    if what.relative:
        ratio = samples.value / data.value
        change = ratio - 1
        variance = (samples.variance + ratio**2 * data.variance) / data.value**2
    error = sqrt(variance)
    words = what.words.format(_percent(change), what.ways[change > 0])
    significant = abs(change) > bound * error + ROUNDING
    return Change(what.name, samples.value, data.value, change, error, significant, words)


def _sentence(changes: tuple[Change, ...]) -> str:
    significant = sorted((each for each in changes if each.significant), key=lambda each: -abs(each.change))
    if not significant:
        return "No drift: samples differ from the data in colour, contrast and detail by no more than chance."
    largest = significant[0]
    others = f", the largest of {len(significant)} significant changes" if len(significant) > 1 else ""
    return f"Samples {largest.words} than the data (standard error {_percent(largest.error)}){others}."


def _percent(share: float) -> str:
    return f"{100 * abs(share):.1f} %"
