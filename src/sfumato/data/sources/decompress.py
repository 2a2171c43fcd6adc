"""Decompresses files to a scratch folder for random access."""

from __future__ import annotations

import lzma
import shutil
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BufferedIOBase
from pathlib import Path

from sfumato.data.sources.parallel import progress_bar
from sfumato.errors import DataError

PIECE_BYTES = 1 << 20
LARGE_MEMBER = 1 << 26
UNSUSPICIOUS = 1 << 29
"""Sizes in bytes of an archive member and of an archive below which the compression ratio is not checked."""

LARGEST_RATIO = 100
SPARE_DISK = 256 << 20


def decompress(origin: Path, opened: Callable[[], AbstractContextManager[BufferedIOBase]], target: Path) -> Path:
    """Decompresses a file to `target`.

    Args:
        origin: Compressed file, for messages and for the compression ratio.
        opened: Function that opens its decompressed content.
        target: File to write.

    Returns:
        `target`.

    Raises:
        DataError: The content is damaged, is a decompression bomb, or does not fit on the disk.
    """
    packed = max(origin.stat().st_size, 1)
    target.parent.mkdir(parents=True, exist_ok=True)
    room = shutil.disk_usage(target.parent).free - SPARE_DISK
    written = 0
    try:
        with opened() as content, target.open("wb") as file, progress_bar(f"Unpacking {origin.name}") as on_bytes:
            while piece := content.read(PIECE_BYTES):
                written += len(piece)
                if written > UNSUSPICIOUS and written > LARGEST_RATIO * packed:
                    raise DataError(
                        f"{origin} unpacks to more than {LARGEST_RATIO} times its size, as a decompression bomb does",
                        "If you trust it, unpack it yourself and use the folder.",
                    )
                if written > room:
                    problem = f"{origin} unpacks to more than the {room / 1e9:.1f} GB that are free"
                    raise DataError(problem, "Free space, or choose another --cache.")
                file.write(piece)
                on_bytes(len(piece))
    except (EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # an error of the disk
            raise
        raise DataError(f"{origin} is damaged or truncated", "Copy it again.") from error
    return target
