"""Drift: differences in colour, contrast and detail between samples and data, with their standard errors."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import NormalDist

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sfumato.errors import DataError

SIGNIFICANCE = 0.01
"""Significance level: probability that sets of one distribution have a significant change in any quantity."""

NEGLIGIBLE_CHANGE = 1e-9
"""Change that is attributed to rounding."""

RGB = (" in red", " in green", " in blue")
CHANNEL_PHRASES = {1: ("",), 3: RGB, 4: (*RGB, " in channel 4")}
"""Names of channels in sentences, such as "darker in red"."""

BAND_NAMES = ("coarse structure", "structure", "detail", "fine detail")
"""Octaves of spatial frequency: up to 1/16, 1/8, 1/4 and all cycles per pixel. The first has all lower frequencies."""

BAND_EDGES = (0.0, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Cycles per pixel."""


@dataclass(frozen=True)
class Appearance:
    """Measured values of each image of a set. Black is 0 and white is 1.

    Attributes:
        image_shape: (C, H, W).
        means: Mean of each channel.
        squares: Mean square of each channel.
        contrast: Standard deviation of the grey image, which is the mean of the colours.
        saturation: Mean over pixels of the largest minus the smallest colour (chroma of HSV); None unless RGB or RGBA.
        powers: Mean power of the grey image in each band of `BAND_NAMES`.
    """

    image_shape: tuple[int, int, int]
    means: Float64[Tensor, "n c"]
    squares: Float64[Tensor, "n c"]
    contrast: Float64[Tensor, " n"]
    saturation: Float64[Tensor, " n"] | None
    powers: Float64[Tensor, "n bands"]


@dataclass(frozen=True)
class Change:
    """Change of one quantity from data to samples.

    Attributes:
        quantity: Name, such as "brightness in blue".
        samples: Value of the samples.
        data: Value of the data.
        change: Difference for brightness and saturation; for other quantities, difference divided by the data's value.
        error: Standard error of `change`, from the sampling of both sets.
        significant: Whether the change is significant, with the level shared by all quantities.
        words: Description, such as "are 4.0 % darker in blue".
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
    """All changes from data to samples, and a sentence. `dataclasses.asdict` converts it to JSON."""

    changes: tuple[Change, ...]
    sentence: str


@dataclass(frozen=True)
class _Estimate:
    """Value of a set, and the influence of each image on it, with mean 0."""

    value: float
    influence: Float64[Tensor, " n"]

    @property
    def variance(self) -> float:
        count = len(self.influence)
        return self.influence.square().sum().item() / (count * (count - 1))


@dataclass(frozen=True)
class _Quantity:
    """Compared quantity; `words` is a format string for the amount and the direction of the change."""

    name: str
    words: str
    directions: tuple[str, str] = ("less", "more")
    is_relative: bool = True


def appearance(batches: Iterable[Float[Tensor, "_ _ _ _"]]) -> Appearance:
    """Measures the appearance of images, batch by batch, in float64.

    Args:
        batches: Images in [-1, 1] of equal shape. All channels are colours, except the fourth of four.

    Raises:
        DataError: There are fewer than 2 images, their shapes differ, or they are NaN or infinite.
    """
    shapes, parts = set(), []
    for batch in batches:
        shapes.add(tuple(batch.shape[1:]))
        images = (batch.cpu().double() + 1) / 2
        colours = images[:, :3]
        grey = colours.mean(1)
        parts.append(
            (
                images.mean((2, 3)),
                images.square().mean((2, 3)),
                grey.flatten(1).std(1, correction=0),
                (colours.amax(1) - colours.amin(1)).mean((1, 2)),
                band_powers(grey),
            )
        )
    count = sum(len(part[0]) for part in parts)
    if count < 2 or len(shapes) > 1:
        raise DataError(
            f"{count} image(s) of {len(shapes)} shape(s) cannot be measured together",
            "Give at least 2 images of one shape.",
        )
    means, squares, contrast, saturation, powers = (torch.cat(each) for each in zip(*parts, strict=True))
    if not squares.isfinite().all():
        raise DataError("The images contain NaN or infinite values", "Check the program that generated them.")
    ((channels, height, width),) = shapes
    coloured = saturation if channels in (3, 4) else None
    return Appearance((channels, height, width), means, squares, contrast, coloured, powers)


def band_powers(grey: Float64[Tensor, "n h w"]) -> Float64[Tensor, "n bands"]:
    """Mean power of each frequency band of images, without their mean; 0 if an image is too small for a band.

    By Parseval's theorem, the variance of an image is the sum over its bands.
    """
    height, width = grey.shape[1:]
    power = torch.fft.fft2(grey).abs().square() / (height * width) ** 2
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)).to(grey)
    pairs = pairwise(BAND_EDGES)
    return torch.stack([power[:, (frequency > low) & (frequency <= high)].sum(1) for low, high in pairs], 1)


def drift(samples: Appearance, data: Appearance) -> Drift:
    """Compares samples with data in brightness, spread, contrast, saturation and detail.

    Standard errors follow from the influence of each image on each value (delta method, central limit theorem). The
    level `SIGNIFICANCE` is shared by all quantities (Bonferroni). A relative quantity that is 0 in the data, such as
    the contrast of constant images, is left out.

    Raises:
        DataError: The image shapes differ.
    """
    if samples.image_shape != data.image_shape:
        one, other = ("x".join(map(str, each.image_shape)) for each in (samples, data))
        raise DataError(
            f"Samples of shape {one} (channels, height, width) are compared with data of shape {other}",
            "Convert both to the same size and channels.",
        )
    found, expected = _estimates(samples), _estimates(data)
    compared = [what for what in expected if expected[what].value > 0 or not what.is_relative]
    bound = NormalDist().inv_cdf(1 - SIGNIFICANCE / (2 * len(compared)))
    changes = tuple(_change(what, found[what], expected[what], bound) for what in compared)
    return Drift(changes, _sentence(changes))


def _estimates(of: Appearance) -> dict[_Quantity, _Estimate]:
    channels = of.image_shape[0]
    names = CHANNEL_PHRASES.get(channels) or tuple(f" in channel {1 + number}" for number in range(channels))
    found = {}
    for name, means, squares in zip(names, of.means.T, of.squares.T, strict=True):
        brightness = _Quantity(f"brightness{name}", f"are {{}} {{}}{name}", ("darker", "brighter"), is_relative=False)
        found[brightness] = _mean(means)
        mean = means.mean()
        variance = (squares.mean() - mean.square()).clamp(min=0).item()
        influence = squares - squares.mean() - 2 * mean * (means - mean)
        found[_Quantity(f"spread{name}", f"vary {{}} {{}}{name}")] = _root(_Estimate(variance, influence))
    found[_Quantity("contrast", "have {} {} contrast")] = _mean(of.contrast)
    if of.saturation is not None:
        found[_Quantity("saturation", "are {} {} saturated", is_relative=False)] = _mean(of.saturation)
    for name, powers in zip(BAND_NAMES, of.powers.T, strict=True):
        found[_Quantity(name, f"have {{}} {{}} {name}")] = _root(_mean(powers))
    return found


def _mean(values: Float64[Tensor, " n"]) -> _Estimate:
    return _Estimate(values.mean().item(), values - values.mean())


def _root(of: _Estimate) -> _Estimate:
    root = sqrt(of.value)
    return _Estimate(root, of.influence / (2 * root) if root else torch.zeros_like(of.influence))


def _change(what: _Quantity, samples: _Estimate, data: _Estimate, bound: float) -> Change:
    change, variance = samples.value - data.value, samples.variance + data.variance
    if what.is_relative:
        ratio = samples.value / data.value
        change = ratio - 1
        variance = (samples.variance + ratio**2 * data.variance) / data.value**2
    error = sqrt(variance)
    words = what.words.format(_percent(change), what.directions[change > 0])
    significant = abs(change) > bound * error + NEGLIGIBLE_CHANGE
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
