"""File names: Unicode normalization, and decoding of the names in archives."""

from __future__ import annotations

import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence

from sfumato.data.sources.encodings import detected_encoding
from sfumato.data.sources.options import ReadOptions
from sfumato.data.sources.source import Notice
from sfumato.errors import DataError

UTF8 = "utf-8"

IS_UTF8 = 0x800
"""Flag of a zip member whose name is UTF-8."""

UNICODE_PATH = 0x7075
"""Extra field of Info-ZIP that holds the name of a member in UTF-8."""


def normalized(text: str) -> str:
    """Converts `text` to the composed form of Unicode (NFC), so that names that look the same are equal.

    macOS stores names decomposed (NFD), with a letter and its accent as two characters; most programs compose them.

    >>> normalized("e" + chr(0x301)) == chr(0xE9)
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def zip_names(
    title: str, members: Sequence[zipfile.ZipInfo], options: ReadOptions
) -> tuple[list[str], tuple[Notice, ...]]:
    """Names of the members of a zip file; backslashes, which Windows may have written, become slashes.

    Args:
        title: Name of the zip file for messages.
        members: Members as listed by `zipfile`.
        options: `name_encoding` is the encoding of names that are not marked as UTF-8.

    Raises:
        DataError: `name_encoding` is unknown, or cannot decode the names.
    """
    marked = [member.orig_filename if member.flag_bits & IS_UTF8 else _unicode_path(member) for member in members]
    raw = [
        b"" if name is not None else m.orig_filename.encode("cp437") for name, m in zip(marked, members, strict=True)
    ]
    decoded, notices = _decoded_together(title, raw, options)
    names = [name if name is not None else text for name, text in zip(marked, decoded, strict=True)]
    return [name.partition("\0")[0].replace("\\", "/") for name in names], notices


def tar_names(title: str, names: Sequence[str], options: ReadOptions) -> tuple[list[str], tuple[Notice, ...]]:
    """Names of the members of a tar file.

    Args:
        title: Name of the tar file for messages.
        names: Names decoded by `tarfile` as UTF-8 with the error handler "surrogateescape".
        options: `name_encoding` is the encoding of names that are not ASCII.

    Raises:
        DataError: `name_encoding` is unknown, or cannot decode the names.
    """
    decoded, notices = _decoded_together(title, [name.encode(UTF8, "surrogateescape") for name in names], options)
    return [name.replace("\\", "/") for name in decoded], notices


def _decoded_together(title: str, names: Sequence[bytes], options: ReadOptions) -> tuple[list[str], tuple[Notice, ...]]:
    """Decodes all names with the requested encoding, or with the most plausible one."""
    if all(name.isascii() for name in names):
        return [name.decode("ascii") for name in names], ()
    if options.name_encoding is not None:
        return [_decoded(title, name, options.name_encoding) for name in names], ()
    encoding = detected_encoding(names)
    text = f"The names in {title} are decoded as {encoding}."
    notices = () if encoding == UTF8 else (Notice("names", text, "--name-encoding NAME"),)
    return [name.decode(encoding, "surrogateescape") for name in names], notices


def _decoded(title: str, name: bytes, encoding: str) -> str:
    try:
        return name.decode(encoding)
    except LookupError as error:
        raise DataError(
            f"the encoding {encoding!r} is unknown", "Choose one that Python supports, such as cp437, cp932 or gbk."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"the names in {title} are not {encoding}: {name!r} cannot be decoded",
            "Choose another encoding, or leave out --name-encoding.",
        ) from error


def _unicode_path(member: zipfile.ZipInfo) -> str | None:
    """Name in the extra field of Info-ZIP, if its checksum matches the name of the member."""
    extra = member.extra
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and len(field) > 5 and field[0] == 1:
            checksum = int.from_bytes(field[1:5], "little")
            if checksum == zlib.crc32(member.orig_filename.encode("cp437")):
                return field[5:].decode(UTF8, "replace")
    return None
