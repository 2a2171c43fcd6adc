"""Finding the images of a folder."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from sfumato.errors import DataError


def find_images(root: Path) -> list[Path]:
    """Every file below `root` that carries an extension Pillow can read, in whatever case.

    Hidden files and folders, whose names begin with a dot, are ignored. Linked folders are followed, after all others;
    a folder reached twice is read once, so links may form loops.

    Args:
        root: A folder.

    Returns:
        Paths that begin with `root`, sorted by their parts relative to it.

    Raises:
        DataError: A folder cannot be listed.
    """
    try:
        return sorted(_walk(root), key=lambda path: path.relative_to(root).as_posix())
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror})", f"Change its permissions, or move it out of {root}."
        ) from error


def printable_path(path: Path, root: Path) -> str:
    """`path` relative to `root`, with slashes; bytes that are no UTF-8 become question marks."""
    return path.relative_to(root).as_posix().encode(errors="replace").decode()


def _walk(root: Path) -> Iterator[Path]:
    extensions = _readable_extensions()
    visited: set[Path] = set()
    pending = deque([root])
    while pending:
        folder = pending.popleft()
        if folder.resolve() in visited:
            continue
        visited.add(folder.resolve())
        for child in sorted(folder.iterdir()):
            if child.name.startswith("."):
                continue
            if child.is_dir() and not _is_made_by_sfumato(child):
                (pending.append if child.is_symlink() else pending.appendleft)(child)
            elif not child.is_dir() and child.suffix.lower() in extensions and _is_file(child):
                yield child


def _is_made_by_sfumato(folder: Path) -> bool:
    """Whether a folder is a run, or samples: pictures that a model drew are not data because they lie beside data."""
    try:
        is_run = (folder / "config.toml").read_text(errors="replace").startswith('format = "sfumato-run"')
    except OSError:
        is_run = False
    return is_run or ((folder / "grid.png").is_file() and (folder / "images" / "000000.png").is_file())


def _readable_extensions() -> set[str]:
    extensions = Image.registered_extensions()
    return {extension for extension, kind in extensions.items() if kind in Image.OPEN}


def _is_file(path: Path) -> bool:
    """Whether to open `path`: a broken link counts, and is reported as unreadable; a pipe or a device does not."""
    return path.is_file() or not path.exists()
