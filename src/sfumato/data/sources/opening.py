"""Opens a source by its path or name."""

from __future__ import annotations

import posixpath
import tarfile
import zipfile
from pathlib import Path

from sfumato.data.sources.archives import COMPRESSED, ShardSource, TarSource, ZipSource
from sfumato.data.sources.extensions import ARCHIVES, is_image_name, other_kind
from sfumato.data.sources.folder import FolderSource
from sfumato.data.sources.hub import HubSource
from sfumato.data.sources.idx import IdxSource, is_idx_name
from sfumato.data.sources.numpy_files import ArraySource
from sfumato.data.sources.options import DEFAULT_OPTIONS, ReadOptions
from sfumato.data.sources.parquet import ParquetSource
from sfumato.data.sources.source import Source
from sfumato.data.sources.tables import is_table
from sfumato.errors import DataError
from sfumato.utils.hub import PREFIX, is_hub_name
from sfumato.utils.text import printable

SUPPORTED = "a folder of images, a zip or tar of one, an .npz, .npy or .parquet file, hf:NAME, or digits or shapes"

GIVE_ONE = f"Give {SUPPORTED}."


def open_source(name: str | Path, options: ReadOptions = DEFAULT_OPTIONS) -> Source:
    """Opens a source.

    Args:
        name: Path, or `hf:NAME` or `hf:NAME:SPLIT` for a data set of the Hugging Face Hub.
        options: How the images are read.

    Raises:
        DataError: The source does not exist or is not supported.
    """
    if is_hub_name(name):
        return HubSource(str(name).removeprefix(PREFIX), options)
    path, title = Path(name), printable(str(name))
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise DataError(f"There is no file or folder {title}", GIVE_ONE) from error
    if path.is_dir():
        return _folder(path, options)
    if not path.is_file():
        raise DataError(f"{title} is neither a file nor a folder", GIVE_ONE)
    return _file(path, title, options)


def _folder(path: Path, options: ReadOptions) -> Source:
    """A folder of images, or of files that hold images."""
    source = FolderSource(path, options)
    names = [name for name, _ in source.found]
    if any(is_image_name(name) or is_idx_name(name) for name in names):
        return source
    rows = [name for name in names if name.endswith(".parquet") and not is_table(name)]
    if rows:
        return ParquetSource(path, options)
    archives = [name for name in names if other_kind(posixpath.basename(name)) in ARCHIVES]
    if not archives or any(other_kind(posixpath.basename(name)) is None for name in names):
        return source
    if all(name.lower().endswith(".tar") for name in archives):
        return ShardSource(path, archives, options)
    raise DataError(
        f"{source.title} holds no images, but {len(archives)} archives",
        f"Give one of them: sfumato train {printable(str(path / archives[0]))}",
    )


def _file(path: Path, title: str, options: ReadOptions) -> Source:
    """Opens a file by its extension, or else by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
        is_tar = tarfile.is_tarfile(path) if not start.startswith(tuple(COMPRESSED)) else True
    except OSError as error:
        raise DataError(f"{title} cannot be read ({error.strerror})", "Change its permissions.") from error
    if is_idx_name(path.name):
        return IdxSource(path, options)
    match path.suffix.lower():
        case ".npy" | ".npz":
            return ArraySource(path, options)
        case ".parquet":
            return ParquetSource(path, options)
        case ".zip":
            return ZipSource(path, options)
        case ".tar" | ".tgz" | ".gz" | ".xz" | ".txz" | ".bz2" | ".tbz2":
            return TarSource(path, options)
    if is_image_name(path.name):
        raise DataError(f"{title} is a single image", "Give a folder with at least 2 images.")
    if zipfile.is_zipfile(path):
        return ZipSource(path, options)
    if is_tar:
        return TarSource(path, options)
    raise DataError(f"{title} is a file that holds no images", GIVE_ONE)
