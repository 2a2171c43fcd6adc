"""Lists the images of a folder or an archive, with their tables and the counts of other files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sfumato.data.sources.cifar import cifar_listing
from sfumato.data.sources.entry import Entry, Unreadable
from sfumato.data.sources.extensions import ARCHIVES, is_image_name, other_kind
from sfumato.data.sources.file_names import normalized
from sfumato.data.sources.file_set import Files
from sfumato.data.sources.idx import idx_listing
from sfumato.data.sources.metadata import with_tables
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.source import Listing, Notice
from sfumato.data.sources.tables import is_table
from sfumato.utils.text import listed, printable


def known_dataset(files: Files, options: ReadOptions, scratch: Path) -> Listing | None:
    """Lists a data set in the original files of its authors; None for other files.

    Raises:
        DataError: It is such a data set, but cannot be read.
    """
    if any(map(is_image_name, files.names)):
        return None
    return idx_listing(files, options, scratch) or cifar_listing(files, options, scratch)


def list_images(files: Files, unusable: Sequence[Unreadable] = ()) -> Listing:
    """Lists the images with the columns of their tables, and counts the other files by type.

    Every file whose name does not show another type is listed as an image. Files that cannot be decoded later are
    reported as unreadable.

    Args:
        files: Files of the source.
        unusable: Files that are known to be unusable.

    Raises:
        DataError: A table cannot be read, or is inconsistent.
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
    listing = with_tables(entries, tables, unusable)
    notices = list(listing.notices)
    if archives := [name for name, kind in others.items() if kind in ARCHIVES]:
        remedy = "Unpack them first."
        if files.root is not None:
            remedy = f"To read one of them: sfumato train {printable(str(files.root / archives[0]))}"
        text = f"Files that may hold images were not read: {listed(archives)}. {remedy}"
        notices.append(Notice("archives", text, matters=False))
    return replace(listing, notices=notices, others=dict(sorted(Counter(others.values()).items())))
