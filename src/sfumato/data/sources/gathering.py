"""From the files of a folder or an archive to its listing: images, tables that describe them, and all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sfumato.data.sources.cifar import cifar_listing
from sfumato.data.sources.entry import Entry, Unreadable, first_few
from sfumato.data.sources.extensions import ARCHIVES, is_image_name, other_kind
from sfumato.data.sources.files import Files
from sfumato.data.sources.idx import idx_listing
from sfumato.data.sources.metadata import described
from sfumato.data.sources.names import normalized
from sfumato.data.sources.notice import Notice
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.source import Listing
from sfumato.data.sources.tables import is_table
from sfumato.utils.text import printable


def known_listing(files: Files, options: ReadOptions, spool: Path) -> Listing | None:
    """The listing of a data set that is written as its authors publish it; None if it is none of those.

    Raises:
        DataError: It is one, but cannot be read.
    """
    if any(map(is_image_name, files.names)):
        return None
    return idx_listing(files, options, spool) or cifar_listing(files, options, spool)


def gathered(files: Files, unusable: Sequence[Unreadable] = ()) -> Listing:
    """The images, with what tables beside them say; how many files of each kind are none.

    A file is taken for an image unless its name says that it certainly is none: what cannot be decoded later is
    reported as unreadable.

    Args:
        files: Of the source.
        unusable: What is known of other files.

    Raises:
        DataError: A table cannot be read, or contradicts itself.
    """
    tables: dict[str, Callable[[], bytes]] = {}
    others: dict[str, str] = {}
    entries: list[Entry] = []
    for name in files.names:
        base = name.rpartition("/")[2]
        if is_table(base):
            tables[normalized(name)] = partial(files.content, name)
        elif (kind := other_kind(base)) is not None:
            others[name] = kind
        else:
            entries.append(files.entry(name))
    listing = described(entries, tables, unusable)
    return replace(
        listing,
        notices=[
            *listing.notices,
            *_unread_archives(files, [name for name, kind in others.items() if kind in ARCHIVES]),
        ],
        others=dict(sorted(Counter(others.values()).items())),
    )


def _unread_archives(files: Files, names: Sequence[str]) -> list[Notice]:
    if not names:
        return []
    remedy = "Unpack them first."
    if files.root is not None:
        remedy = f"One is read by: sfumato train {printable(str(files.root / names[0]))}"
    text = f"Files that may hold images were not read: {first_few(names)}. {remedy}"
    return [Notice("archives", text, matters=False)]
