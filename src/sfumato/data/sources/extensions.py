"""File types by name: image, other known type, or system file.

Files of unknown type are opened, since only their content shows whether they are images.
"""

from __future__ import annotations

from PIL import Image

from sfumato.data.sources.pillow import SAFE_FORMATS

JUNK = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini"})
"""Files of operating systems and viewers; hidden files are ignored as well."""

JUNK_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information"})
"""Folders of macOS, Synology and Windows for thumbnails and deleted files."""

SIDECARS = frozenset(["xmp", "aae", "thm", "pp3", "dop", "modd", "moff", "lrcat", "lrdata"])
"""Sidecar files of photo programs."""

TEXTS = frozenset(
    {"readme", "license", "licence", "copying", "changelog", "authors", "notice", "makefile", "dockerfile"}
)
"""Names of text files without an extension."""

ARCHIVES = frozenset("zip tar tgz gz bz2 tbz2 xz txz zst 7z rar npz parquet arrow".split())  # noqa: SIM905
"""Archives and data files that may hold images."""

TABLES = frozenset(["csv", "tsv", "json", "jsonl", "ndjson", "parquet"])
"""Tables that may describe images."""

PACKED_IMAGES = (".nii.gz", ".svgz")
"""Compressed formats that are not archives."""

OTHERS = """
    txt md rst log geojson xml yaml yml toml ini cfg conf lock html htm css
    pdf doc docx odt rtf tex bib xls xlsx ods ppt pptx odp epub
    py pyc pyi ipynb c h cc cpp cu java js ts r m jl go rs rb sh bash bat ps1 exe dll so whl
    mp4 m4v mov avi mkv webm wmv flv mpg mpeg 3gp mts m2ts
    mp3 wav flac ogg m4a aac wma mid
    pt pth ckpt safetensors onnx pb tflite keras gguf pkl pickle joblib
    h5 hdf5 hdf mat nc lmdb mdb tfrecord tfrecords idx rec db sqlite sqlite3 feather
    ttf otf woff woff2 torrent url lnk part crdownload tmp bak md5 sha1 sha256 cls
"""

NO_IMAGES = ARCHIVES | TABLES | frozenset(OTHERS.split())
"""Extensions of files that are not images: text, tables, documents, code, video, audio, models and data."""


IMAGE_EXTENSIONS = frozenset(
    {extension for extension, kind in Image.registered_extensions().items() if kind in SAFE_FORMATS}
    | {".npy", ".heic", ".heif", ".hif"}
)
"""Extensions of all supported image formats; lower case, with the dot."""


def is_image_name(name: str) -> bool:
    """Whether a file has the extension of a supported image format."""
    return name[name.rfind(".") :].lower() in IMAGE_EXTENSIONS


def is_junk(base: str) -> bool:
    """Whether a file with this base name is ignored."""
    return base.startswith(".") or base.lower() in JUNK or _extension(base) in SIDECARS


def is_junk_folder(base: str) -> bool:
    """Whether a folder with this name is ignored."""
    return base.startswith(".") or base.lower() in JUNK_FOLDERS


def other_kind(base: str) -> str | None:
    """Type of a file that is not an image, such as "txt"; None if its content must be examined.

    Args:
        base: Name of the file without folders.

    >>> other_kind("labels.CSV"), other_kind("a.png"), other_kind("0001")
    ('csv', None, None)
    """
    kind = _extension(base)
    if kind in NO_IMAGES:
        return None if base.lower().endswith(PACKED_IMAGES) else kind
    return "txt" if base.lower() in TEXTS else None


def may_matter(base: str) -> bool:
    """Whether a file with this name can change the images or their labels."""
    kind = other_kind(base)
    return kind is None or kind in TABLES or kind in ARCHIVES


def _extension(base: str) -> str:
    stem, dot, extension = base.rpartition(".")
    return extension.lower() if stem and dot else ""
