"""Statistics of pixel values, and the value range that all images of a data set share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from sfumato.data.sources import Notice
from sfumato.data.sources.pixel_arrays import Dtype

Range = tuple[float, float]
"""Pixel values of black and white."""

DEFAULT_RANGES: dict[Dtype, tuple[Range, ...]] = {
    "uint8": ((0.0, 255.0),),
    "uint16": ((0.0, 65535.0),),
    "float32": ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)),
}
"""Usual ranges of each dtype, the default first."""

FULL_RANGES: dict[Dtype, Range] = {dtype: ranges[0] for dtype, ranges in DEFAULT_RANGES.items()}
"""Default range of each dtype."""

LEAST_USED = 0.5
"""Fraction of the largest value of a usual range that the pixel values must reach."""

LEAST_NEGATIVE = 0.25
"""Fraction of the (negative) smallest value of a usual range that the pixel values must reach."""

INNER = (0.001, 0.999)
"""Quantiles of the pixels of an image; values between them are not outliers."""

TYPICAL = (0.05, 0.95)
"""Quantiles over the images that define the typical values."""

FAR = 0.5
"""Values are outliers if their distance from the typical values is more than this fraction of the typical range."""

MOST_MASK_LABELS = 32
"""Largest number of different values of a label mask."""

PIXELS_A_LABEL = 16
"""Smallest number of pixels per value of a label mask."""

LOOKED_AT = 128
"""Number of pixels of the first test, which excludes most images that are not label masks."""

SENTINELS = (-9999.0, -99999.0, -32768.0, -32767.0, float(np.finfo(np.float32).min), -1e30, -999.0)
"""Common values for missing data."""

LEAST_BRIGHT = 100.0
"""If white is at least this value, images with values from 0 to 1 are almost black."""

COUNTED_PIXELS = 1 << 20
"""Pixels that are counted at a time; each becomes an index of 8 bytes."""

ISOLATED = 1.0
"""An extreme value is isolated if its distance from the next value exceeds this multiple of the range of the others."""


class ImageStatistics(NamedTuple):
    """Statistics of the pixels of one image.

    Attributes:
        low: Smallest value.
        high: Largest value.
        inner_low: 0.1 % quantile; of 8-bit images the smallest value.
        inner_high: 99.9 % quantile; of 8-bit images the largest value.
        next_low: Smallest value above `low`; `low` if there is none, and for 8-bit images.
        next_high: Largest value below `high`; `high` if there is none, and for 8-bit images.
        missing: Fraction of pixels without data, which were filled.
        labels: Sorted different values if the image may be a label mask; see `mask_labels`.
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
class DatasetStatistics:
    """Statistics of the pixels of all images.

    Attributes:
        low: Smallest value.
        high: Largest value.
        range: Values of black and white, unless others are given.
        outside: Number of images with pixels outside `range`.
        missing: Number of images with pixels without data, which were filled.
        missing_share: Fraction of such pixels in all images.
        unit: Number of float images with values from 0 to 1 only, if white is 100 or more.
        isolated: Smallest and largest value if they are within `range` but far from all other values.
        labels: All values if the images are label masks: few integers in one channel; else None.
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


def image_statistics(image: np.ndarray, missing: float = 0.0) -> ImageStatistics:
    """Statistics of an image (H, W, C) before resizing; 8-bit images have no outliers."""
    labels = mask_labels(image)
    low, high = float(image.min()), float(image.max())
    if image.dtype == np.uint8:
        return ImageStatistics(low, high, low, high, low, high, missing, labels)
    ranks = [round(quantile * (image.size - 1)) for quantile in INNER]
    inner_low, inner_high = np.partition(image, ranks, axis=None)[ranks].tolist()  # three times faster than np.quantile
    next_low = float(np.min(image, where=image > low, initial=high))
    next_high = float(np.max(image, where=image < high, initial=low))
    return ImageStatistics(low, high, inner_low, inner_high, next_low, next_high, missing, labels)


def mask_labels(pixels: np.ndarray) -> tuple[int, ...] | None:
    """Sorted different values of an image (H, W, C) with one channel of few integers; None for other images."""
    if pixels.dtype.kind != "u" or pixels.shape[2] != 1:
        return None
    flat = pixels.ravel()
    if len(set(flat[:: max(1, flat.size // LOOKED_AT)].tolist())) > MOST_MASK_LABELS:
        return None
    is_present = np.zeros(int(flat.max()) + 1, bool)
    for start in range(0, flat.size, COUNTED_PIXELS):
        is_present[flat[start : start + COUNTED_PIXELS]] = True
    present = np.flatnonzero(is_present)
    is_mask = len(present) <= min(MOST_MASK_LABELS, pixels.size / PIXELS_A_LABEL)
    return tuple(present.tolist()) if is_mask else None


def dataset_statistics(dtype: Dtype, images: Sequence[ImageStatistics]) -> DatasetStatistics:
    """Statistics of at least one image."""
    low, high = min(image.low for image in images), max(image.high for image in images)
    labels = _shared_labels(images)
    chosen = choose_range(dtype, images, is_mask=labels is not None)
    is_bright = dtype == "float32" and chosen[1] >= LEAST_BRIGHT
    return DatasetStatistics(
        low,
        high,
        chosen,
        outside=sum(image.low < chosen[0] or image.high > chosen[1] for image in images),
        missing=sum(image.missing > 0 for image in images),
        missing_share=sum(image.missing for image in images) / len(images),
        unit=sum(image.low >= 0 and 0 < image.high <= 1 for image in images) if is_bright else 0,
        isolated=() if labels else _isolated(images, low, high, chosen),
        labels=labels,
    )


def statistics_notices(values: DatasetStatistics, dtype: Dtype) -> list[Notice]:
    """Notices about the pixel values, except the range, which the options may still change."""
    found = []
    if values.missing:
        text = (
            f"Pixels without data ({values.missing_share:.2%} of all, in {values.missing:,} images) have the mean of "
            "the other pixels of their image and channel."
        )
        found.append(Notice("nodata", text, "--nodata VALUE"))
    if values.unit:
        text = f"{values.unit:,} images have values from 0 to 1 only, and are nearly black in the range of the others."
        found.append(Notice("range", text))
    for value in values.isolated or ((values.low,) if values.low in SENTINELS else ()):
        which = "lowest" if value == values.low else "highest"
        often = "often stands" if value in SENTINELS else "is far from all others, and may stand"
        text = f"The {which} value is {value:g}, which {often} for missing data."
        found.append(Notice("nodata", text, f"--nodata {str(np.float32(value)).removesuffix('.0')}"))
    white = FULL_RANGES[dtype][1]
    if dtype != "float32" and values.labels and len(values.labels) > 1 and values.labels != (0, white):
        text = (
            f"The images have only the values {', '.join(map(str, values.labels))}, as label masks have. They are "
            "used as brightness, and resizing them creates values between labels."
        )
        found.append(Notice("labels", text, matters=False))
    return found


def range_notices(chosen: Range, values: DatasetStatistics, dtype: Dtype) -> list[Notice]:
    """Notice about the range if it is not a usual one of the dtype."""
    if chosen in DEFAULT_RANGES[dtype] and values.low >= chosen[0] and values.high <= chosen[1]:
        return []
    low, high = (f"{value:,.6g}" for value in chosen)
    text = f"Values from {low} to {high} are taken as black and white."
    if values.low < chosen[0] or values.high > chosen[1]:
        text += f" Others, from {values.low:,.6g} to {values.high:,.6g}, are clipped"
        text += f" (in {values.outside:,} images)." if chosen == values.range else "."
    return [Notice("range", text, "--range LOW HIGH")]


def choose_range(dtype: Dtype, images: Sequence[ImageStatistics], is_mask: bool = False) -> Range:
    """Range of the images: a usual range of the dtype if the values fill it, else the extreme values.

    8-bit images have the full range even if they are dark, unless they are label masks. Outliers (hot pixels and single
    unusual images) are ignored: the values of an image are two quantiles of its pixels, the typical values are
    two quantiles over the images, and values farther away than half of the typical range are clipped.
    """
    if dtype == "uint8" and not is_mask:
        return FULL_RANGES[dtype]
    low, high = _without_outliers(images)
    holding = [usual for usual in DEFAULT_RANGES[dtype] if usual[0] <= low and high <= usual[1]]
    for usual in holding:
        has_no_black = usual[0] < 0 and low > LEAST_NEGATIVE * usual[0]
        if low == high or (not has_no_black and max(abs(low), abs(high)) >= LEAST_USED * usual[1]):
            return usual
    return (low, high) if low < high else (low, low + 1)


def _without_outliers(images: Sequence[ImageStatistics]) -> Range:
    """Smallest and largest value without outliers."""
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


def _isolated(images: Sequence[ImageStatistics], low: float, high: float, chosen: Range) -> tuple[float, ...]:
    """Smallest and largest value if they are within the range but far from all other values."""
    rest_low = min((v for image in images for v in (image.low, image.next_low) if v > low), default=low)
    rest_high = max((v for image in images for v in (image.high, image.next_high) if v < high), default=high)
    found = []
    if chosen[0] <= low < rest_low < high and rest_low - low > ISOLATED * (high - rest_low):
        found.append(low)
    if low < rest_high < high <= chosen[1] and high - rest_high > ISOLATED * (rest_high - low):
        found.append(high)
    return tuple(found)


def _shared_labels(images: Sequence[ImageStatistics]) -> tuple[int, ...] | None:
    found: set[int] = set()
    for image in images:
        found.update(image.labels or ())
        if image.labels is None or len(found) > MOST_MASK_LABELS:
            return None
    return tuple(sorted(found))
