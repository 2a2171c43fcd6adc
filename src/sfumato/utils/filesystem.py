"""Differences between file systems: flushing to disk, and files that are open in another program."""

import os
import time
from pathlib import Path

ON_WINDOWS = os.name == "nt"

PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between attempts to replace a file on Windows that another program has open, usually for a short time."""


def flush_file(path: Path) -> None:
    """Waits until the content of a file is on disk."""
    with path.open("r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Waits until the entries of a folder are on disk; does nothing on Windows, which cannot open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(source: Path, target: Path) -> None:
    """Renames `source` to `target`, replacing an existing file.

    This fails on Windows while a program has `target` open; it is retried for about a second.
    """
    for pause in PAUSES if ON_WINDOWS else ():
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    source.replace(target)


def remove_file(path: Path) -> None:
    """Removes a file if it exists. On Windows, a file that a program has open is not removed."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        if not ON_WINDOWS:
            raise
