"""The values of pixels: those of one image, and the range that all images of a set share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from sfumato.data.sources import Notice
from sfumato.data.sources.pixels import Dtype

Range = tuple[float, float]
"""The values that are black and white."""

DEFAULT_RANGES: dict[Dtype, tuple[Range, ...]] = {
    "uint8": ((0.0, 255.0),),
    "uint16": ((0.0, 65535.0),),
    "float32": ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)),
}
"""Ranges that images of a dtype usually have, black first."""

WHOLE: dict[Dtype, Range] = {dtype: ranges[0] for dtype, ranges in DEFAULT_RANGES.items()}
"""Black and white where nothing else is known."""

LEAST_USED = 0.5
"""How near to the ends of a usual range the values must come, as a share of the greatest number in it."""

LEAST_NEGATIVE = 0.25
"""How far below 0 the values of a usual range with negative numbers must come, as a share of its least number."""

INNER = (0.001, 0.999)
"""Quantiles of the pixels of an image between which no outlier lies."""

TYPICAL = (0.05, 0.95)
"""Quantiles of the inner values of all images between which the typical images lie."""

FAR = 0.5
"""Values are outliers if they lie beyond the typical ones by more than this share of their span."""

MOST_LABELS = 32
"""A label mask has at most this many different values."""

PIXELS_A_LABEL = 16
"""A label mask has at least this many pixels for each of its values."""

LOOKED_AT = 128
"""Pixels that usually suffice to see that an image is no label mask."""

SENTINELS = (-9999.0, -99999.0, -32768.0, -32767.0, float(np.finfo(np.float32).min), -1e30, -999.0)
"""Values that often stand for missing data."""

LEAST_BRIGHT = 100.0
"""Where white is at least this, an image of values from 0 to 1 is black."""

BLOCK = 1 << 20
"""Pixels that are counted at once: each becomes an index of 8 bytes."""

ISOLATED = 1.0
"""An extreme is isolated if it is farther from the next value than this share of the span of all others."""


class Values(NamedTuple):
    """The values of the pixels of one image.

    Attributes:
        low: The least.
        high: The greatest.
        inner_low: The 0.1 % quantile; of 8-bit images the least.
        inner_high: The 99.9 % quantile; of 8-bit images the greatest.
        next_low: The least but for `low`; `low` itself where there is none, and in 8-bit images.
        next_high: The greatest but for `high`; `high` itself where there is none, and in 8-bit images.
        missing: The share of pixels without data, which were filled.
        labels: Its different values, in order, if they may be labels; see `labels_of`.
    """

    low: float
    high: float
    inner_low: float
    inner_high: float
    next_low: float
    next_high: float
    missing: float = 0.0
    labels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SetValues:
    """The values of the pixels of all images.

    Attributes:
        low: The least.
        high: The greatest.
        range: Black and white, if nobody says otherwise.
        outside: How many images have pixels outside `range`.
        missing: How many images have pixels without data, which were filled.
        missing_share: The share of such pixels in all images.
        unit: How many images of floats have values from 0 to 1 alone, where white is 100 or more.
        isolated: The least or the greatest value, if it lies within `range` but far from all others.
        labels: All values, if they are few integers in one channel, as in label masks; else None.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    low: float
    high: float
    range: tuple[float, float]
    outside: int = 0
    missing: int = 0
    missing_share: float = 0.0
    unit: int = 0
    isolated: tuple[float, ...] = ()
    labels: tuple[int, ...] | None = None


def values_of(image: np.ndarray, missing: float = 0.0) -> Values:
    """The values of an image (H, W, C), before it is resized; of 8 bits there are no outliers."""
    labels = labels_of(image)
    low, high = float(image.min()), float(image.max())
    if image.dtype == np.uint8:
        return Values(low, high, low, high, low, high, missing, labels)
    ranks = [round(quantile * (image.size - 1)) for quantile in INNER]
    inner_low, inner_high = np.partition(image, ranks, axis=None)[ranks].tolist()  # a third of np.quantile's time
    next_low = float(np.min(image, where=image > low, initial=high))
    next_high = float(np.max(image, where=image < high, initial=low))
    return Values(low, high, inner_low, inner_high, next_low, next_high, missing, labels)


def labels_of(pixels: np.ndarray) -> tuple[int, ...] | None:
    """The different values of an image (H, W, C), if it has one channel of few integers; else None."""
    if pixels.dtype.kind != "u" or pixels.shape[2] != 1:
        return None
    flat = pixels.ravel()
    if len(set(flat[:: max(1, flat.size // LOOKED_AT)].tolist())) > MOST_LABELS:
        return None
    is_present = np.zeros(int(flat.max()) + 1, bool)
    for start in range(0, flat.size, BLOCK):
        is_present[flat[start : start + BLOCK]] = True
    present = np.flatnonzero(is_present)
    is_mask = len(present) <= min(MOST_LABELS, pixels.size / PIXELS_A_LABEL)
    return tuple(present.tolist()) if is_mask else None


def summarized(dtype: Dtype, images: Sequence[Values]) -> SetValues:
    """The values of all images, of which there is at least one."""
    low, high = min(image.low for image in images), max(image.high for image in images)
    labels = _shared_labels(images)
    chosen = range_of(dtype, images, is_mask=labels is not None)
    return SetValues(
        low,
        high,
        chosen,
        outside=sum(image.low < chosen[0] or image.high > chosen[1] for image in images),
        missing=sum(image.missing > 0 for image in images),
        missing_share=sum(image.missing for image in images) / len(images),
        unit=sum(image.low >= 0 and 0 < image.high <= 1 for image in images)
        if dtype == "float32" and chosen[1] >= LEAST_BRIGHT
        else 0,
        isolated=() if labels else _isolated(images, chosen),
        labels=labels,
    )


def notices_of(values: SetValues, dtype: Dtype) -> list[Notice]:
    """What was decided about the values, apart from their range, which a person may still choose."""
    found = []
    if values.missing:
        text = (
            f"Pixels without data ({values.missing_share:.2%} of all, in {values.missing:,} images) have the mean of "
            "the other pixels of their image and channel."
        )
        found.append(Notice("nodata", text, "--nodata VALUE"))
    if values.unit:
        text = f"{values.unit:,} images have values from 0 to 1 alone, and are nearly black in the range of the others."
        found.append(Notice("range", text))
    for value in values.isolated or ((values.low,) if values.low in SENTINELS else ()):
        which = "lowest" if value == values.low else "highest"
        often = "often stands" if value in SENTINELS else "is far from all others, and may stand"
        text = f"The {which} value is {value:g}, which {often} for missing data."
        found.append(Notice("nodata", text, f"--nodata {str(np.float32(value)).removesuffix('.0')}"))
    if (
        values.labels is not None
        and dtype != "float32"
        and values.labels != (0, WHOLE[dtype][1])
        and len(values.labels) > 1
    ):
        text = (
            f"The images have only the values {', '.join(map(str, values.labels))}, as label masks have. They are "
            "learned as brightness, and resizing them makes values between labels."
        )
        found.append(Notice("labels", text, matters=False))
    return found


def range_notice(chosen: Range, values: SetValues, dtype: Dtype) -> Notice | None:
    """The sentence on black and white, if they are not the usual ones of the dtype."""
    if chosen in DEFAULT_RANGES[dtype] and values.low >= chosen[0] and values.high <= chosen[1]:
        return None
    low, high = (f"{value:,.6g}" for value in chosen)
    text = f"Values from {low} to {high} are taken as black and white."
    if values.low < chosen[0] or values.high > chosen[1]:
        text += f" Others, from {values.low:,.6g} to {values.high:,.6g}, are clipped"
        text += f" (in {values.outside:,} images)." if chosen == values.range else "."
    return Notice("range", text, "--range LOW HIGH")


def range_of(dtype: Dtype, images: Sequence[Values], is_mask: bool = False) -> Range:
    """Black and white of images: a usual range that they make use of, else their own extremes.

    Images of 8 bits have the whole range, however dark they are, unless they are label masks. Outliers do not count:
    hot pixels, and images unlike all others. The values of an image lie between two quantiles of its pixels, those of
    the set between two quantiles of these; what is farther away than half of that span is clipped.
    """
    if dtype == "uint8" and not is_mask:
        return WHOLE[dtype]
    low, high = _without_outliers(images)
    holding = [usual for usual in DEFAULT_RANGES[dtype] if usual[0] <= low and high <= usual[1]]
    for usual in holding:
        has_no_black = usual[0] < 0 and low > LEAST_NEGATIVE * usual[0]
        if low == high or (not has_no_black and max(abs(low), abs(high)) >= LEAST_USED * usual[1]):
            return usual
    return (low, high) if low < high else (low, low + 1)


def _without_outliers(images: Sequence[Values]) -> Range:
    """The least and the greatest value that are no outliers."""
    lows, highs = np.array([[image.inner_low, image.inner_high] for image in images]).T
    typical_low, typical_high = np.quantile(lows, TYPICAL[0]), np.quantile(highs, TYPICAL[1])
    margin = FAR * (typical_high - typical_low)
    low, high = min(image.low for image in images), max(image.high for image in images)
    if margin <= 0:
        return low, high
    least, most = float(typical_low - margin), float(typical_high + margin)
    if low < least:
        low = min(value for image in images for value in (image.low, image.inner_low) if value >= least)
    if high > most:
        high = max(value for image in images for value in (image.high, image.inner_high) if value <= most)
    return low, high


def _isolated(images: Sequence[Values], chosen: Range) -> tuple[float, ...]:
    """The least and the greatest value, where they lie within the range but far from all others."""
    low, high = min(image.low for image in images), max(image.high for image in images)
    rest_low = min((v for image in images for v in (image.low, image.next_low) if v > low), default=low)
    rest_high = max((v for image in images for v in (image.high, image.next_high) if v < high), default=high)
    found = []
    if chosen[0] <= low < rest_low < high and rest_low - low > ISOLATED * (high - rest_low):
        found.append(low)
    if low < rest_high < high <= chosen[1] and high - rest_high > ISOLATED * (rest_high - low):
        found.append(high)
    return tuple(found)


def _shared_labels(images: Sequence[Values]) -> tuple[int, ...] | None:
    found: set[int] = set()
    for image in images:
        found.update(image.labels or ())
        if image.labels is None or len(found) > MOST_LABELS:
            return None
    return tuple(sorted(found))
