"""A folder that cannot be written to, whoever runs the tests: permissions do not hold root back."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_folders: list[str] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _folders or event not in ("open", "os.mkdir", "os.rename", "os.remove"):
        return
    path = arguments[0]
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_APPEND):
        return
    if isinstance(path, str | bytes | os.PathLike) and any(os.fsdecode(path).startswith(folder) for folder in _folders):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fsdecode(path))


sys.addaudithook(_audit)  # for ever: Python cannot remove one


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within it, nothing in `folder` can be made, changed, renamed or removed."""
    _folders.append(str(folder))
    try:
        yield
    finally:
        _folders.remove(str(folder))
