"""Builds a cache entry: decodes all images of a source into one file, on all cores; interrupted builds are resumed."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sfumato.data.cache.convert import convert_image
from sfumato.data.cache.image_arrays import digest_of
from sfumato.data.cache.index import Index
from sfumato.data.cache.pixel_statistics import (
    FULL_RANGES,
    LEAST_USED,
    DatasetStatistics,
    ImageStatistics,
    Range,
    dataset_statistics,
    statistics_notices,
)
from sfumato.data.cache.target_format import TargetFormat, choose_format, conversions, read_headers
from sfumato.data.sources import (
    Cell,
    Entry,
    Listing,
    Notice,
    ReadOptions,
    Source,
    Unreadable,
    depth_title,
    with_pages,
)
from sfumato.data.sources.decode import ImageInfo, failure_reason, open_image
from sfumato.data.sources.folder_labels import with_split_column
from sfumato.data.sources.multipage import release_files
from sfumato.data.sources.parallel import in_parallel
from sfumato.data.sources.pixel_arrays import Dtype
from sfumato.errors import DataError
from sfumato.utils.filesystem import replace_file
from sfumato.utils.text import listed, printable

PIXELS_FILE = "pixels.bin"
JOURNAL = "pieces"
SCRATCH = "scratch"

CHUNK_BYTES = 32 << 20
LEAST_IN_CHUNK, MOST_IN_CHUNK = 8, 256

MANY_CHUNKS = 256
"""Number of chunks: enough to keep all cores busy, to update the progress bar and to lose little when interrupted."""

SAMPLE = 512
"""Number of images whose headers are read to guess the target format."""

NAMED_REASONS = 5
"""Number of reasons that a message about skipped images lists."""

SPARE_BYTES = 64 << 20


class Chunk(NamedTuple):
    """Row of the first image, and the images, of a chunk that is decoded together."""

    first: int
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Outcome:
    """Result of decoding one image.

    Attributes:
        info: Properties of the original image; None if it could not be decoded.
        reason: Reason why the image was skipped; None if it was decoded.
        digest: Hash of its pixels, in hexadecimal digits.
        values: Statistics of its pixels; None if it was skipped.
    """

    info: ImageInfo | None
    reason: str | None
    digest: str = ""
    values: ImageStatistics | None = None


def build(source: Source, options: ReadOptions, folder: Path) -> Index:
    """Decodes the images of a source into `folder`.

    Args:
        source: Source of the images.
        options: How the images are read.
        folder: Created if necessary; the journal of an interrupted build is used.

    Returns:
        Index of the cache entry; it is not written yet.

    Raises:
        DataError: Fewer than 2 images can be read; their sizes differ and no size is given; the disk is too small.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listing = with_split_column(with_pages(source.listing(folder / SCRATCH), options), options)
    target = _guess_format(source, listing, options)
    outcomes = _decode_all(listing.entries, target, options, folder)
    infos = [outcome.info for outcome in outcomes if outcome.info is not None]
    if infos and (found := choose_format(source.title, infos, options)) != target:
        shutil.rmtree(folder / JOURNAL)
        target, outcomes = found, _decode_all(listing.entries, found, options, folder)
    release_files()
    return _index(source, listing, target, options, outcomes)


def _guess_format(source: Source, listing: Listing, options: ReadOptions) -> TargetFormat:
    """Target format from a sample of the headers; if this is not possible, from all headers.

    Raises:
        DataError: No image can be read, or the sizes differ and no size is given.
    """
    stride = max(1, len(listing.entries) // SAMPLE)
    sample = [info for info in read_headers(listing.entries[::stride], options) if isinstance(info, ImageInfo)]
    if sample:
        with suppress(DataError):
            return choose_format(source.title, sample, options)
    every = read_headers(listing.entries, options)
    infos = [info for info in every if isinstance(info, ImageInfo)]
    unreadable = [info for info in every if isinstance(info, Unreadable)]
    check_enough_images(source, listing, len(infos), [*listing.unusable, *unreadable])
    size, _ = Counter((info.width, info.height) for info in infos).most_common(1)[0]
    others = [
        entry
        for entry, info in zip(listing.entries, every, strict=True)
        if isinstance(info, ImageInfo) and (info.width, info.height) != size
    ]
    if options.size is None and not any(_can_be_decoded(entry, options) for entry in others):
        infos = [info for info in infos if (info.width, info.height) == size]
    return choose_format(source.title, infos, options)


def _can_be_decoded(entry: Entry, options: ReadOptions) -> bool:
    """Whether the pixels can be decoded; a valid header does not guarantee it."""
    try:
        open_image(entry.read(), options).pixels()
    except Exception:  # broken files raise many types of exceptions
        return False
    return True


def _bytes_an_image(target: TargetFormat) -> int:
    return target.frame.width * target.frame.height * target.mode.channels * np.dtype(target.dtype).itemsize


def _chunks(entries: Sequence[Entry], target: TargetFormat) -> list[Chunk]:
    length = min(max(len(entries) // MANY_CHUNKS, LEAST_IN_CHUNK), MOST_IN_CHUNK)
    length = max(min(length, CHUNK_BYTES // _bytes_an_image(target)), 1)
    return [Chunk(start, entries[start : start + length]) for start in range(0, len(entries), length)]


def _reserve_space(path: Path, count: int, target: TargetFormat) -> None:
    """Allocates the whole file, so that a lack of disk space is found before decoding."""
    wanted = count * _bytes_an_image(target)
    present = path.stat().st_size if path.exists() else 0
    free = shutil.disk_usage(path.parent).free
    if wanted - present > free - SPARE_BYTES:
        raise DataError(
            f"{count:,} images of {target.frame.width} x {target.frame.height} pixels take {wanted / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free in {path.parent}",
            "Free space, choose a smaller --size, or choose another folder with --cache.",
        )
    with path.open("ab") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, wanted)
        file.truncate(wanted)


def _decode_all(entries: Sequence[Entry], target: TargetFormat, options: ReadOptions, folder: Path) -> list[Outcome]:
    """Decodes all images, in order; chunks in the journal are only verified."""
    (folder / JOURNAL).mkdir(parents=True, exist_ok=True)
    _reserve_space(folder / PIXELS_FILE, len(entries), target)
    chunks = _chunks(entries, target)
    done = {chunk.first: outcomes for chunk in chunks if (outcomes := _read_journal(chunk, target, folder)) is not None}
    rest = [chunk for chunk in chunks if chunk.first not in done]
    decode = partial(decode_chunk, target=target, options=options, folder=folder)
    done |= in_parallel(decode, rest, [len(chunk.entries) for chunk in rest], "Reading images")
    return [outcome for chunk in chunks for outcome in done[chunk.first]]


def decode_chunk(chunk: Chunk, target: TargetFormat, options: ReadOptions, folder: Path) -> tuple[int, list[Outcome]]:
    """Decodes a chunk, writes its pixels into the file, and then writes its journal."""
    shape = (len(chunk.entries), target.mode.channels, target.frame.height, target.frame.width)
    pixels = np.zeros(shape, target.dtype)
    outcomes = [_decode(entry, target, options, place) for entry, place in zip(chunk.entries, pixels, strict=True)]
    with (folder / PIXELS_FILE).open("r+b") as file:
        file.seek(chunk.first * _bytes_an_image(target))
        file.write(pixels.data)
    note = _journal_file(chunk, folder)
    temporary = note.with_suffix(".unfinished")
    records = [[o.info and [*vars(o.info).values()], o.reason, o.digest, o.values] for o in outcomes]
    temporary.write_text(json.dumps(records), encoding="utf-8")
    replace_file(temporary, note)
    return chunk.first, outcomes


def _decode(entry: Entry, target: TargetFormat, options: ReadOptions, place: np.ndarray) -> Outcome:
    info = None
    try:
        picture = open_image(entry.read(), options)
        pixels = picture.pixels(target.frame)
        info = picture.info  # set after decoding, since a header alone may be wrong
        place[:], values = convert_image(picture, pixels, target, options)
    except Exception as error:  # broken files raise many types of exceptions
        return Outcome(info, failure_reason(error))
    return Outcome(info, None, _hex_digest(place), values)


def _from_json(noted: list[Any]) -> Outcome:
    """Outcome of one image from the journal."""
    info, reason, digest, values = noted
    if values is not None:
        *numbers, labels = values
        values = ImageStatistics._make([*numbers, labels and tuple(labels)])
    return Outcome(info and ImageInfo(*info), reason, digest, values)


def _hex_digest(image: np.ndarray) -> str:
    return digest_of(image).tobytes().hex()


def _journal_file(chunk: Chunk, folder: Path) -> Path:
    return folder / JOURNAL / f"{chunk.first:012d}.json"


def _read_journal(chunk: Chunk, target: TargetFormat, folder: Path) -> list[Outcome] | None:
    """Outcomes of a chunk from the journal of an interrupted build, if the pixels match their digests."""
    try:
        records = json.loads(_journal_file(chunk, folder).read_text(encoding="utf-8"))
        outcomes = [_from_json(record) for record in records]
        size = _bytes_an_image(target)
        with (folder / PIXELS_FILE).open("rb") as file:
            file.seek(chunk.first * size)
            images = [np.frombuffer(file.read(size), np.uint8) for _ in chunk.entries]
    except (OSError, ValueError, TypeError):
        return None
    intact = len(outcomes) == len(images) and all(
        outcome.reason is not None or _hex_digest(image) == outcome.digest
        for outcome, image in zip(outcomes, images, strict=True)
    )
    return outcomes if intact else None


def _index(
    source: Source, listing: Listing, target: TargetFormat, options: ReadOptions, outcomes: Sequence[Outcome]
) -> Index:
    """Index of all decoded images."""
    outcomes, values = _statistics(outcomes, target)
    names = [printable(entry.name) for entry in listing.entries]
    good = [row for row, outcome in enumerate(outcomes) if outcome.reason is None]
    failed = [Unreadable(name, o.reason) for name, o in zip(names, outcomes, strict=True) if o.reason is not None]
    skipped = sorted([*listing.unusable, *failed], key=lambda file: file.name)
    check_enough_images(source, listing, len(good), skipped)
    infos = [info for row in good if (info := outcomes[row].info) is not None]
    were = "was" if len(skipped) == 1 else "were"
    skipping = f"{len(skipped)} of {len(good) + len(skipped)} images {were} skipped: {skipped_names(skipped)}."
    return Index(
        shape=(len(outcomes), target.mode.channels, target.frame.height, target.frame.width),
        dtype=target.dtype,
        opacity=target.mode.opacity,
        values=values,
        rows=good,
        names=[names[row] for row in good],
        folders=[listing.classes[row] for row in good] if listing.classes else [None] * len(good),
        splits=[listing.splits[row] for row in good] if listing.splits else [None] * len(good),
        digests=[outcomes[row].digest for row in good],
        sizes=[(info.width, info.height) for info in infos],
        channels=[info.channels for info in infos],
        opacities=[info.opacity for info in infos],
        dtypes=[info.dtype for info in infos],
        columns=_printable_columns(listing.columns, good),
        unreadable=[(file.name, file.reason) for file in skipped],
        unreadable_folders=sorted(
            {label for label, o in zip(listing.classes, outcomes, strict=False) if label and o.reason}
        ),
        others=dict(listing.others),
        notices=[
            *([Notice("unreadable", skipping)] if skipped else []),
            *conversions(infos, target, options),
            *statistics_notices(values, target.dtype),
            *listing.notices,
        ],
    )


def _statistics(outcomes: Sequence[Outcome], target: TargetFormat) -> tuple[Sequence[Outcome], DatasetStatistics]:
    """Outcomes and statistics of all images.

    The range comes from the images that have the dtype of the target. Images of other dtypes that cannot be converted
    to this range are skipped.
    """
    native = [o.values for o in outcomes if o.values and o.info and o.info.dtype == target.dtype]
    reasons = _incomparable(outcomes, dataset_statistics(target.dtype, native).range, target) if native else {}
    kept = [
        replace(o, reason=reasons[o.info.dtype]) if o.values and o.info and o.info.dtype in reasons else o
        for o in outcomes
    ]
    values = [o.values for o in kept if o.values and o.reason is None]
    found = (
        dataset_statistics(target.dtype, values) if values else DatasetStatistics(0.0, 1.0, FULL_RANGES[target.dtype])
    )
    return kept, found


def _incomparable(outcomes: Sequence[Outcome], black_and_white: Range, target: TargetFormat) -> dict[Dtype, str]:
    """Reasons by dtype why images of other dtypes than the target's cannot be converted to its range.

    If the range is not the full range of the dtype, none can be converted. Otherwise, dtypes whose images are all dark
    cannot: 12-bit images in 16-bit files have a different white. 8-bit images are always converted.
    """
    highest: dict[Dtype, float] = {}
    for o in outcomes:
        if o.values and o.info and o.info.dtype != target.dtype:
            share = o.values.high / FULL_RANGES[target.dtype][1]
            highest[o.info.dtype] = max(highest.get(o.info.dtype, 0.0), share)
    low, high = black_and_white
    others = f"and the others have {depth_title(target.dtype)} from {low:g} to {high:g}"
    if black_and_white != FULL_RANGES[target.dtype]:
        return {dtype: f"it has {depth_title(dtype)}, {others}" for dtype in highest}
    return {
        dtype: f"it has {depth_title(dtype)}, of which all such images use only {share:.1%}, {others}"
        for dtype, share in highest.items()
        if dtype != "uint8" and share < LEAST_USED
    }


def _printable_columns(columns: Mapping[str, Sequence[Cell]], rows: Sequence[int]) -> dict[str, list[Cell]]:
    """Names and cells of some rows with printable text."""
    return {
        printable(name): [printable(cell) if isinstance(cell := cells[row], str) else cell for row in rows]
        for name, cells in columns.items()
    }


def check_enough_images(source: Source, listing: Listing, readable: int, skipped: Sequence[Unreadable]) -> None:
    """Raises `DataError` unless at least 2 images can be read.

    Args:
        source: Source of the images.
        listing: Listing of the source.
        readable: Number of readable images.
        skipped: Images that cannot be read, with reasons.
    """
    if readable == 0 and not skipped:
        kinds = ", ".join(f"{count} files of type {kind}" for kind, count in listing.others.items())
        others = f", only {kinds}" if kinds else ""
        problem = f"{source.title[0].upper()}{source.title[1:]} holds no images{others}"
        raise DataError(problem, "Choose one that holds image files, such as PNG or JPEG.")
    if readable == 0:
        raise DataError(
            f"None of the {len(skipped)} images in {source.title} can be read: {skipped_names(skipped)}",
            "Check that the files are complete, and that sfumato supports their format (docs/images.md).",
        )
    if readable == 1:
        but = f" ({len(skipped)} cannot be read: {skipped_names(skipped)})" if skipped else ""
        raise DataError(f"Only 1 image can be read in {source.title}{but}, but at least 2 are needed", "Add images.")


def skipped_names(skipped: Sequence[Unreadable]) -> str:
    """Names of some of the skipped images for each reason, and the number of the others."""
    by_reason: dict[str, list[str]] = {}
    for file in skipped:
        by_reason.setdefault(file.reason, []).append(file.name)
    groups = [f"{listed(names)} ({reason})" for reason, names in list(by_reason.items())[:NAMED_REASONS]]
    more = sum(map(len, list(by_reason.values())[NAMED_REASONS:]))
    return ", ".join(groups) + (f" and {more:,} more" if more else "")
