"""Decoding every image of a source into one file, by all cores; what is done stays done if it is interrupted."""

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
from typing import Any

import numpy as np

from sfumato.data.cache.convert import converted
from sfumato.data.cache.digest import digest_of
from sfumato.data.cache.index import Index
from sfumato.data.cache.survey import Layout, conversions, lay_out, survey
from sfumato.data.cache.values import LEAST_USED, WHOLE, Range, SetValues, Values, notices_of, summarized
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
from sfumato.data.sources.decode import Shape, opened, reason_of
from sfumato.data.sources.entry import first_few
from sfumato.data.sources.layout import with_split_column
from sfumato.data.sources.parallel import in_parallel
from sfumato.data.sources.pixels import Dtype
from sfumato.errors import DataError
from sfumato.utils.filesystem import replace_file
from sfumato.utils.text import printable

PIXELS = "pixels.bin"
JOURNAL = "pieces"
SPOOL = "spool"

PIECE_BYTES = 32 << 20
LEAST_IN_PIECE, MOST_IN_PIECE = 8, 256

MANY_PIECES = 256
"""So many keep all cores busy to the end, move the bar, and lose little when they are interrupted."""

SAMPLE = 512
"""Images whose headers tell what the others are likely to be."""

NAMED_REASONS = 5
"""Reasons in a message on images that were skipped."""

SPARE = 64 << 20


@dataclass(frozen=True)
class Piece:
    """Some neighbouring images, to be decoded together.

    Attributes:
        first: The row of the first one.
        entries: The images.
    """

    first: int
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes:
        shape: Of the image before it was resized; None where it could not be decoded.
        reason: Why it has no pixels; None where it has.
        digest: Of its pixels, in hexadecimal digits.
        values: Of its pixels; None where it has none.
    """

    shape: Shape | None
    reason: str | None
    digest: str = ""
    values: Values | None = None


def build(source: Source, options: ReadOptions, folder: Path) -> Index:
    """Decodes the images of a source into `folder`.

    Args:
        source: Where they are.
        options: What is asked of them.
        folder: Made if need be; what an interrupted build left there is used.

    Returns:
        What was found; not yet written.

    Raises:
        DataError: Fewer than 2 images can be read; their sizes differ, and no size is asked; the disk is too small.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listing = with_split_column(with_pages(source.listing(folder / SPOOL), options), options)
    layout = _guessed(source, listing, options)
    outcomes = _decoded(listing.entries, layout, options, folder)
    shapes = [outcome.shape for outcome in outcomes if outcome.shape is not None]
    if shapes and (found := lay_out(source.title, shapes, options)) != layout:
        shutil.rmtree(folder / JOURNAL)
        layout, outcomes = found, _decoded(listing.entries, found, options, folder)
    return _index(source, listing, layout, options, outcomes)


def _guessed(source: Source, listing: Listing, options: ReadOptions) -> Layout:
    """What the images will become if a sample of them is like the others; else every header is read.

    Raises:
        DataError: No image can be read; or sizes differ, and none is asked.
    """
    stride = max(1, len(listing.entries) // SAMPLE)
    sample = [shape for shape in survey(listing.entries[::stride], options) if isinstance(shape, Shape)]
    if sample:
        with suppress(DataError):
            return lay_out(source.title, sample, options)
    every = survey(listing.entries, options)
    shapes = [shape for shape in every if isinstance(shape, Shape)]
    unreadable = [shape for shape in every if isinstance(shape, Unreadable)]
    require_enough(source, listing, len(shapes), [*listing.unusable, *unreadable])
    try:
        return lay_out(source.title, shapes, options)
    except DataError:
        usual = _usual_size(shapes)
        strange = [
            entry
            for entry, shape in zip(listing.entries, every, strict=True)
            if isinstance(shape, Shape) and (shape.width, shape.height) != usual
        ]
        if any(_can_be_decoded(entry, options) for entry in strange):
            raise
    return lay_out(source.title, [shape for shape in shapes if (shape.width, shape.height) == usual], options)


def _usual_size(shapes: Sequence[Shape]) -> tuple[int, int]:
    return Counter((shape.width, shape.height) for shape in shapes).most_common(1)[0][0]


def _can_be_decoded(entry: Entry, options: ReadOptions) -> bool:
    """Whether an image is one: a header alone may promise any size."""
    try:
        opened(entry.read(), options).pixels()
    except Exception:  # decoders meet broken data with whatever their code runs into
        return False
    return True


def _bytes_an_image(layout: Layout) -> int:
    return layout.frame.width * layout.frame.height * layout.kind.channels * np.dtype(layout.dtype).itemsize


def _pieces(entries: Sequence[Entry], layout: Layout) -> list[Piece]:
    length = min(max(len(entries) // MANY_PIECES, LEAST_IN_PIECE), MOST_IN_PIECE)
    length = max(min(length, PIECE_BYTES // _bytes_an_image(layout)), 1)
    return [Piece(start, entries[start : start + length]) for start in range(0, len(entries), length)]


def _make_room(path: Path, count: int, layout: Layout) -> None:
    """Reserves the whole file, so that a disk that is too small is known before the work."""
    wanted = count * _bytes_an_image(layout)
    present = path.stat().st_size if path.exists() else 0
    free = shutil.disk_usage(path.parent).free
    if wanted - present > free - SPARE:
        raise DataError(
            f"{count:,} images of {layout.frame.width} x {layout.frame.height} pixels take {wanted / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free in {path.parent}",
            "Free space, choose a smaller --size, or name another place with --cache.",
        )
    with path.open("ab") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, wanted)
        file.truncate(wanted)


def _decoded(entries: Sequence[Entry], layout: Layout, options: ReadOptions, folder: Path) -> list[Outcome]:
    """What became of every image, in order; pieces that are done already are only checked."""
    (folder / JOURNAL).mkdir(parents=True, exist_ok=True)
    _make_room(folder / PIXELS, len(entries), layout)
    pieces = _pieces(entries, layout)
    done = {piece.first: outcomes for piece in pieces if (outcomes := _finished(piece, layout, folder)) is not None}
    rest = [piece for piece in pieces if piece.first not in done]
    decode = partial(decode_piece, layout=layout, options=options, folder=folder)
    done |= in_parallel(decode, rest, [len(piece.entries) for piece in rest], "Reading images")
    return [outcome for piece in pieces for outcome in done[piece.first]]


def decode_piece(piece: Piece, layout: Layout, options: ReadOptions, folder: Path) -> tuple[int, list[Outcome]]:
    """Decodes some images into their place in the file, and then notes that it did."""
    shape = (len(piece.entries), layout.kind.channels, layout.frame.height, layout.frame.width)
    pixels = np.zeros(shape, layout.dtype)
    outcomes = [_decode(entry, layout, options, place) for entry, place in zip(piece.entries, pixels, strict=True)]
    with (folder / PIXELS).open("r+b") as file:
        file.seek(piece.first * _bytes_an_image(layout))
        file.write(pixels.data)
    note = _note(piece, folder)
    temporary = note.with_suffix(".unfinished")
    temporary.write_text(json.dumps([_noted(outcome) for outcome in outcomes]), encoding="utf-8")
    replace_file(temporary, note)
    return piece.first, outcomes


def _decode(entry: Entry, layout: Layout, options: ReadOptions, place: np.ndarray) -> Outcome:
    shape = None
    try:
        picture = opened(entry.read(), options)
        pixels = picture.pixels(layout.frame)
        shape = picture.shape  # what a header promises counts only once the pixels are there
        place[:], values = converted(picture, pixels, layout, options)
    except Exception as error:  # decoders meet broken data with whatever their code runs into
        return Outcome(shape, reason_of(error))
    return Outcome(shape, None, _hex_digest(place), values)


def _noted(outcome: Outcome) -> list[object]:
    """An outcome for the journal, which `_restored` reads."""
    shape, values = outcome.shape, outcome.values
    return [shape and [*vars(shape).values()], outcome.reason, outcome.digest, values]


def _restored(noted: list[Any]) -> Outcome:
    shape, reason, digest, values = noted
    if values is not None:
        *numbers, labels = values
        values = Values._make([*numbers, labels and tuple(labels)])
    return Outcome(shape and Shape(*shape), reason, digest, values)


def _hex_digest(image: np.ndarray) -> str:
    return digest_of(image).tobytes().hex()


def _note(piece: Piece, folder: Path) -> Path:
    return folder / JOURNAL / f"{piece.first:012d}.json"


def _finished(piece: Piece, layout: Layout, folder: Path) -> list[Outcome] | None:
    """What became of a piece that an interrupted build has finished, if its pixels are what it noted."""
    try:
        notes = json.loads(_note(piece, folder).read_text(encoding="utf-8"))
        outcomes = [_restored(noted) for noted in notes]
        size = _bytes_an_image(layout)
        with (folder / PIXELS).open("rb") as file:
            file.seek(piece.first * size)
            images = [np.frombuffer(file.read(size), np.uint8) for _ in piece.entries]
    except (OSError, ValueError, TypeError):
        return None
    intact = len(outcomes) == len(images) and all(
        outcome.reason is not None or _hex_digest(image) == outcome.digest
        for outcome, image in zip(outcomes, images, strict=True)
    )
    return outcomes if intact else None


def _index(
    source: Source, listing: Listing, layout: Layout, options: ReadOptions, outcomes: Sequence[Outcome]
) -> Index:
    """The index of all images that could be decoded."""
    outcomes, values = _summarized(outcomes, layout)
    names = [printable(entry.name) for entry in listing.entries]
    good = [row for row, outcome in enumerate(outcomes) if outcome.reason is None]
    failed = [Unreadable(name, o.reason) for name, o in zip(names, outcomes, strict=True) if o.reason is not None]
    skipped = sorted([*listing.unusable, *failed], key=lambda file: file.name)
    require_enough(source, listing, len(good), skipped)
    shapes = [shape for row in good if (shape := outcomes[row].shape) is not None]
    return Index(
        shape=(len(outcomes), layout.kind.channels, layout.frame.height, layout.frame.width),
        dtype=layout.dtype,
        opacity=layout.kind.opacity,
        values=values,
        rows=good,
        names=[names[row] for row in good],
        folders=[listing.classes[row] for row in good] if listing.classes else [None] * len(good),
        splits=[listing.splits[row] for row in good] if listing.splits else [None] * len(good),
        digests=[outcomes[row].digest for row in good],
        sizes=[(shape.width, shape.height) for shape in shapes],
        channels=[shape.channels for shape in shapes],
        opacities=[shape.opacity for shape in shapes],
        dtypes=[shape.dtype for shape in shapes],
        columns={
            printable(name): [_printable_cell(cells[row]) for row in good] for name, cells in listing.columns.items()
        },
        unreadable=[(file.name, file.reason) for file in skipped],
        unreadable_folders=sorted(
            {label for label, o in zip(listing.classes, outcomes, strict=False) if label and o.reason}
        ),
        others=dict(listing.others),
        notices=[
            *([_skipping(skipped, len(good))] if skipped else []),
            *conversions(shapes, layout, options),
            *notices_of(values, layout.dtype),
            *listing.notices,
        ],
    )


def _summarized(outcomes: Sequence[Outcome], layout: Layout) -> tuple[Sequence[Outcome], SetValues]:
    """The outcomes and the values of all images.

    Black and white are those of the images of the layout's own dtype. Images of other dtypes that cannot be brought to
    them are skipped.
    """
    native = [o.values for o in outcomes if o.values and o.shape and o.shape.dtype == layout.dtype]
    every = [o.values for o in outcomes if o.values]
    if not every:
        return outcomes, SetValues(0.0, 1.0, WHOLE[layout.dtype])
    reasons = _incomparable(outcomes, summarized(layout.dtype, native).range, layout) if native else {}
    if not reasons:
        return outcomes, summarized(layout.dtype, every)
    kept = [
        replace(o, reason=reasons[o.shape.dtype]) if o.values and o.shape and o.shape.dtype in reasons else o
        for o in outcomes
    ]
    return kept, summarized(layout.dtype, [o.values for o in kept if o.values and o.reason is None])


def _incomparable(outcomes: Sequence[Outcome], black_and_white: Range, layout: Layout) -> dict[Dtype, str]:
    """Why images of other dtypes than the layout's cannot be brought to its black and white, by their dtype.

    Where these are not the usual ones, no other image can. Else those cannot of which all are dark: images of 12 bits
    in files of 16 have another white. Images of 8 bits are as dark as they look.
    """
    low, high = black_and_white
    others = f"the others have {depth_title(layout.dtype)} from {low:g} to {high:g}"
    highest: dict[Dtype, float] = {}
    for o in outcomes:
        if o.values and o.shape and o.shape.dtype != layout.dtype:
            share = o.values.high / WHOLE[layout.dtype][1]
            highest[o.shape.dtype] = max(highest.get(o.shape.dtype, 0.0), share)
    if black_and_white != WHOLE[layout.dtype]:
        return {dtype: f"it has {depth_title(dtype)}, and {others}" for dtype in highest}
    return {
        dtype: f"it has {depth_title(dtype)}, of which all such images use only {share:.1%}, and {others}"
        for dtype, share in highest.items()
        if dtype != "uint8" and share < LEAST_USED
    }


def _skipping(skipped: Sequence[Unreadable], good: int) -> Notice:
    text = f"{len(skipped)} of {good + len(skipped)} images were skipped: {named(skipped)}."
    return Notice("unreadable", text)


def _printable_cell(cell: Cell) -> Cell:
    return printable(cell) if isinstance(cell, str) else cell


def require_enough(source: Source, listing: Listing, readable: int, skipped: Sequence[Unreadable]) -> None:
    """Raises `DataError` unless at least 2 images can be read.

    Args:
        source: Where they are.
        listing: What it holds.
        readable: How many images can be read.
        skipped: Those that cannot, with the reasons.
    """
    if readable == 0 and not skipped:
        others = f", only {_counted(listing.others)}" if listing.others else ""
        problem = f"{source.title[0].upper()}{source.title[1:]} holds no images{others}"
        raise DataError(problem, "Name one that holds image files, such as PNG or JPEG.")
    if readable == 0:
        raise DataError(
            f"None of the {len(skipped)} images in {source.title} can be read: {named(skipped)}",
            "Check that they are whole images, in a format that sfumato reads (docs/images.md).",
        )
    if readable == 1:
        but = f" ({len(skipped)} cannot be read: {named(skipped)})" if skipped else ""
        raise DataError(f"Only 1 image can be read in {source.title}{but}, but at least 2 are needed", "Add images.")


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} files of the kind {kind}" for kind, count in kinds.items())


def named(skipped: Sequence[Unreadable]) -> str:
    """Some of the skipped images for each reason, and how many more there are."""
    by_reason: dict[str, list[str]] = {}
    for file in skipped:
        by_reason.setdefault(file.reason, []).append(file.name)
    groups = [f"{first_few(names)} ({reason})" for reason, names in list(by_reason.items())[:NAMED_REASONS]]
    more = sum(map(len, list(by_reason.values())[NAMED_REASONS:]))
    return ", ".join(groups) + (f" and {more:,} more" if more else "")
