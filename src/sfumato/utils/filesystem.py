"""What file systems do differently: waiting for the disk, and files that another program has open."""

import os
import time
from pathlib import Path

ON_WINDOWS = os.name == "nt"

PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Seconds between attempts to replace a file that is open on Windows: scanners and readers need it only briefly."""


def flush_file(path: Path) -> None:
    """Waits until the disk has the content of a file.

    Raises:
        OSError: the disk failed.
    """
    with path.open("r+b") as file:  # Windows flushes only files that are open for writing
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Waits until the disk has the names of a folder, where the operating system can open folders; Windows cannot.

    Raises:
        OSError: the disk failed.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(source: Path, target: Path) -> None:
    """Gives `source` the name `target`, in place of the file of that name.

    Windows refuses that while a program has `target` open; then it is tried again for about a second.

    Raises:
        OSError: it could not be renamed.
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
    """Removes a file, if it is there. One that a program has open stays on Windows.

    Raises:
        OSError: it could not be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        if not ON_WINDOWS:
            raise
