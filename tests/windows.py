"""The file system of Windows, as far as Linux can play it: what is open or mapped stays, and folders cannot be opened.

Only files that this process holds count.
"""

import errno
import fcntl
import mmap
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sfumato.utils import filesystem

ABSENT = (
    *((os, name) for name in ("posix_fallocate", "O_DIRECTORY", "O_CLOEXEC", "sched_getaffinity", "sysconf", "link")),
    *((mmap, name) for name in ("MADV_DONTNEED", "MADV_SEQUENTIAL", "MADV_RANDOM")),
    *((signal, name) for name in ("SIGHUP", "SIGPIPE", "SIGALRM", "pthread_sigmask", "pthread_kill")),
)
"""What Python has on Linux, and not on Windows."""


def held() -> set[str]:
    """The files that this process has open or mapped."""
    process = Path("/proc/self")
    mapped = {line.split(maxsplit=5)[5].rstrip() for line in _lines(process / "maps") if line.count("/")}
    opened = set()
    for descriptor in (process / "fd").iterdir():
        try:
            opened.add(str(descriptor.readlink()))
        except OSError:  # that of the list itself
            continue
    return {name for name in mapped | opened if name.startswith("/")}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()


def play_windows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets this process meet what Windows refuses.

    Returns:
        A list that grows by the names of the files that were in use when they should be replaced or removed.
    """
    refused: list[str] = []
    monkeypatch.setattr(filesystem, "ON_WINDOWS", True)
    monkeypatch.setattr(filesystem, "PAUSES", (0.0,) * 3)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)
    monkeypatch.setattr(tempfile, "TemporaryFile", tempfile.NamedTemporaryFile)  # as Python itself does on Windows
    for module, name in ABSENT:
        monkeypatch.delattr(module, name, raising=False)
    for name in ("replace", "rename", "unlink", "remove"):
        monkeypatch.setattr(os, name, _refusing_held(getattr(os, name), refused))
    monkeypatch.setattr(os, "open", _refusing_folders(os.open))
    monkeypatch.setattr(os, "fsync", _refusing_read_only(os.fsync))
    return refused


def _refusing_held(call: Callable[..., Any], refused: list[str]) -> Callable[..., Any]:
    def guarded(*paths: Any, **rest: Any) -> Any:  # noqa: ANN401
        for path in paths:
            name = os.path.realpath(path)
            if Path(name).is_file() and name in held():
                refused.append(name)
                raise PermissionError(errno.EACCES, "The process cannot access the file: it is in use", name)
        return call(*paths, **rest)

    return guarded


def _refusing_folders(call: Callable[..., int]) -> Callable[..., int]:
    def guarded(path: Any, *rest: Any, **more: Any) -> int:  # noqa: ANN401
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return call(path, *rest, **more)

    return guarded


def _refusing_read_only(call: Callable[[int], None]) -> Callable[[int], None]:
    def guarded(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        call(descriptor)

    return guarded
