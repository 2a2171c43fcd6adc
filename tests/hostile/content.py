"""Contents of invalid and hostile files."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

from hostile.case import EXTRA, PICTURE, SIDE, good_files
from images import encoded, noise, tiff


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    """A chunk of a PNG."""
    checksum = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png_header(width: int, height: int, depth: int = 8) -> bytes:
    """A PNG with a header of any size and little data."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def patched(content: bytes, old: bytes, new: bytes) -> bytes:
    """The content with the first occurrence of some bytes replaced."""
    assert old in content
    return content.replace(old, new, 1)


JPEG = encoded(PICTURE, "JPEG", quality=100, subsampling="4:4:4")
JPEG_PIXELS = np.asarray(Image.open(io.BytesIO(JPEG)))
SIZE_OF_JPEG = b"\x00\x11\x08" + struct.pack(">HH", SIDE, SIDE)
TIFF8, TIFF16 = encoded(PICTURE, "TIFF"), tiff(noise(SIDE, SIDE, 3, dtype="uint16"))


def tiff_of(width: int, height: int, bits: int) -> bytes:
    """A TIFF with a header of this size and sixteen bytes of data."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, 16)]
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags
    )
    return b"II*\0" + struct.pack("<I", 24) + bytes(16) + directory + bytes(4)


def looping_tiff() -> bytes:
    """A TIFF whose directory links to itself."""
    at = struct.unpack("<I", TIFF8[4:8])[0]
    count = struct.unpack("<H", TIFF8[at : at + 2])[0]
    end = at + 2 + 12 * count
    return TIFF8[:end] + struct.pack("<I", at) + TIFF8[end + 4 :]


def exif(orientation: int, next_directory: int = 0) -> bytes:
    """EXIF with an orientation and a link to the next directory."""
    return (
        b"Exif\0\0II*\0\x08\0\0\0\x01\0"
        + struct.pack("<HHII", 274, 3, 1, orientation)
        + struct.pack("<I", next_directory)
    )


def damaged_frames(kind: str) -> bytes:
    """An animation with a truncated second frame."""
    frames = [PICTURE, Image.fromarray(EXTRA[::-1].copy())]
    if kind == "GIF":
        frames = [frame.convert("L") for frame in frames]
    whole = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    return whole[: len(whole) - 40]


class Trap:
    """Creates a folder named `planted` in the working directory when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("planted",)


def pickled(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def zip_bomb() -> bytes:
    """The valid images, and one whose header gives a size of four gigabytes."""
    content = bytearray(zip_of(good_files() | {"x.png": bytes(1000)}))
    for magic, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.rindex(magic) + place
        content[at : at + 4] = b"\xfe\xff\xff\xff"
    return bytes(content)


def tar_of(files: Mapping[str, bytes], link: str | None = None, mode: str = "w:") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        if link is not None:
            member = tarfile.TarInfo("link.png")
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return content.getvalue()


def table(columns: Mapping[str, object]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    content = io.BytesIO()
    parquet.write_table(pa.table(columns), content)
    return content.getvalue()
