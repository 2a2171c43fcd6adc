"""Kills a process, as far as files can tell, before any change that it makes to a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sfumato.training.checkpoints import LOCK, LOG
from sfumato.utils.files import UNFINISHED


class Killed(BaseException):
    """What stands where the process is dead: it is raised by each later change, too."""


class Kill:
    """Counts the changes to a folder, and kills before one of them.

    Changes are the moments after which a reader sees something else: a file is renamed, removed, made, emptied or
    appended to. What is written to temporary files is not seen until they are renamed, and only people read the log.
    """

    def __init__(self, folder: Path, at: int) -> None:
        self.folder = str(folder)
        self.at = at
        self.changes: list[str] = []

    @property
    def is_dead(self) -> bool:
        """Whether the process was killed."""
        return len(self.changes) > self.at

    def _is_visible(self, event: str, path: Path) -> bool:
        if self.is_dead:
            return path.name != LOCK
        if event == "os.rename":
            return True
        if path.name in (LOG, LOCK) or path.name.startswith(UNFINISHED):
            return False
        return path.exists() == (event == "os.remove") or event == "open"

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Takes note of an audit event of Python."""
        if event == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_APPEND):
                return
        elif event in ("os.rename", "os.remove", "os.mkdir"):
            path = arguments[0]
        else:
            return
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if not name.startswith(self.folder) or not self._is_visible(event, Path(name)):
            return
        if not self.is_dead:
            self.changes.append(f"{event} {name.removeprefix(self.folder)}")
        if self.is_dead:
            raise Killed


_active: list[Kill] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    for kill in _active:
        kill.see(event, arguments)


sys.addaudithook(_audit)  # for ever: Python cannot remove one


@contextmanager
def killed_at(folder: Path, change: int) -> Iterator[Kill]:
    """Within it, the process is dead for `folder` from the change of this number on."""
    kill = Kill(folder, change)
    _active.append(kill)
    try:
        yield kill
    except Killed:
        pass
    finally:
        _active.remove(kill)
