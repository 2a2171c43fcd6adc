"""Compressed files as plain ones for a while, so that any part of them can be read at once."""

from __future__ import annotations

import lzma
import shutil
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BufferedIOBase
from pathlib import Path

from sfumato.data.sources.progress import byte_bar
from sfumato.errors import DataError

PIECE = 1 << 20
LARGE = 1 << 26
UNSUSPICIOUS = 1 << 29
"""Bytes of a member, and of a whole archive, from which the ratio counts: what is smaller is soon unpacked."""

LARGEST_RATIO = 100
SPARE = 256 << 20


def decompress(origin: Path, opened: Callable[[], AbstractContextManager[BufferedIOBase]], target: Path) -> Path:
    """Writes the unpacked content to `target` as one plain file.

    Args:
        origin: The compressed file, for messages and to measure the ratio.
        opened: Opens its content.
        target: The file to write.

    Returns:
        `target`.

    Raises:
        DataError: The content is damaged, larger than is plausible, or larger than the disk.
    """
    packed = max(origin.stat().st_size, 1)
    target.parent.mkdir(parents=True, exist_ok=True)
    room = shutil.disk_usage(target.parent).free - SPARE
    written = 0
    try:
        with opened() as content, target.open("wb") as file, byte_bar(f"Unpacking {origin.name}") as on_bytes:
            while piece := content.read(PIECE):
                written += len(piece)
                _refuse(origin, written, packed, room)
                file.write(piece)
                on_bytes(len(piece))
    except (EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the content
            raise
        raise DataError(f"{origin} is damaged, or only a part of an archive", "Copy it anew.") from error
    return target


def _refuse(origin: Path, written: int, packed: int, room: int) -> None:
    if written > UNSUSPICIOUS and written > LARGEST_RATIO * packed:
        raise DataError(
            f"{origin} unpacks to more than {LARGEST_RATIO} times its size, as a decompression bomb does",
            "Unpack it yourself if you trust it, and name the folder.",
        )
    if written > room:
        raise DataError(
            f"{origin} unpacks to more than the {room / 1e9:.1f} GB that are free", "Free space, or name --cache."
        )
