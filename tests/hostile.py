"""Broken and hostile inputs, made by the tests, each with what must become of it."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from images import encoded, noise, npy, png, tiff, write

SIDE = 8
"""Of every image; what is larger or smaller is brought to it."""

GOOD = {f"good{number}.png": noise(SIDE, SIDE, 3, seed=number) for number in range(4)}
"""Four images that are as they should be."""

EXTRA = noise(SIDE, SIDE, 3, seed=99)
"""What a hostile file that can be read shows."""

PICTURE = Image.fromarray(EXTRA)


@dataclass(frozen=True)
class Case:
    """An input, and what must become of it.

    Attributes:
        make: makes it below a folder, and returns what a person names.
        loads: the images that come out, in order, if any do; None for those that are not compared.
        says: pieces of the notices, or of the error if nothing loads.
    """

    make: Callable[[Path], Path | str]
    loads: tuple[np.ndarray | None, ...] = ()
    says: tuple[str, ...] = ()


def good_files() -> dict[str, bytes]:
    return {name: png(pixels) for name, pixels in GOOD.items()}


def beside(files: Mapping[str, bytes]) -> Callable[[Path], Path]:
    """Files beside the good images."""
    return lambda at: write(at / "data", good_files() | dict(files))


def only(files: Mapping[str, bytes]) -> Callable[[Path], Path]:
    """A folder of these files."""
    return lambda at: write(at / "data", files)


def one_file(name: str, content: bytes) -> Callable[[Path], Path]:
    """A file that is named itself."""
    return lambda at: write(at, {name: content}) / name


def shown(name: str, content: bytes, pixels: np.ndarray | None = EXTRA, *says: str) -> Case:
    """A strange file that is an image nevertheless."""
    images = sorted((GOOD | {name: pixels}).items())
    return Case(beside({name: content}), tuple(image for _, image in images), says)


def skipped(name: str, content: bytes, reason: str = "", told: str | None = None) -> Case:
    """A file that is skipped, counted and named beside the good ones."""
    says = ("1 of 5 images were skipped: " + (told or name) + " (" + reason,)
    return Case(beside({name: content}), tuple(GOOD.values()), says)


def passed_over(make: Callable[[Path], Path | str], *says: str) -> Case:
    """Something beside the good images that is none, and changes nothing."""
    return Case(make, tuple(GOOD.values()), says)


def refused(make: Callable[[Path], Path | str], *says: str) -> Case:
    """A source that cannot be used."""
    return Case(make, (), says)


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    """A chunk of a PNG."""
    checksum = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png_header(width: int, height: int, depth: int = 8) -> bytes:
    """A PNG that is hardly more than its header."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def patched(content: bytes, old: bytes, new: bytes) -> bytes:
    """The content with other bytes in a place that it has."""
    assert old in content
    return content.replace(old, new, 1)


JPEG = encoded(PICTURE, "JPEG", quality=100, subsampling="4:4:4")
JPEG_PIXELS = np.asarray(Image.open(io.BytesIO(JPEG)))
SIZE_OF_JPEG = b"\x00\x11\x08" + struct.pack(">HH", SIDE, SIDE)
TIFF8, TIFF16 = encoded(PICTURE, "TIFF"), tiff(noise(SIDE, SIDE, 3, dtype="uint16"))


def tiff_of(width: int, height: int, bits: int) -> bytes:
    """A TIFF that promises grey pixels of this size, and has sixteen bytes."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, 16)]
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags
    )
    return b"II*\0" + struct.pack("<I", 24) + bytes(16) + directory + bytes(4)


def looping_tiff() -> bytes:
    """A TIFF whose directory names itself as the next."""
    at = struct.unpack("<I", TIFF8[4:8])[0]
    count = struct.unpack("<H", TIFF8[at : at + 2])[0]
    end = at + 2 + 12 * count
    return TIFF8[:end] + struct.pack("<I", at) + TIFF8[end + 4 :]


def exif(orientation: int, next_directory: int = 0) -> bytes:
    """EXIF with an orientation; the next directory may be the same again."""
    return (
        b"Exif\0\0II*\0\x08\0\0\0\x01\0"
        + struct.pack("<HHII", 274, 3, 1, orientation)
        + struct.pack("<I", next_directory)
    )


def damaged_frames(kind: str) -> bytes:
    """An animation whose second frame is cut off."""
    frames = [PICTURE, Image.fromarray(EXTRA[::-1].copy())]
    if kind == "GIF":
        frames = [frame.convert("L") for frame in frames]
    whole = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    return whole[: len(whole) - 40]


class Trap:
    """Once unpickled, it makes a folder named `planted` in the working directory."""

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
    """The good images, and one that promises to become four gigabytes."""
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


def linked(name: str, target: str) -> Callable[[Path], Path]:
    """A link beside the good images."""

    def make(at: Path) -> Path:
        folder = beside({})(at)
        (folder / name).symlink_to(target)
        return folder

    return make


def with_folder(name: str) -> Callable[[Path], Path]:
    """An empty folder beside the good images."""

    def make(at: Path) -> Path:
        (beside({})(at) / name).mkdir()
        return at / "data"

    return make


def with_pipe(at: Path) -> Path:
    os.mkfifo(beside({})(at) / "x.png")
    return at / "data"


def described(content: bytes, name: str = "metadata.csv") -> Callable[[Path], Path]:
    """A metadata file beside the good images."""
    return beside({name: content})


TRUNCATED = {
    "x.png": png(noise(64, 64, 3)),
    "deep.png": png(noise(64, 64, 3, dtype="uint16")),
    "x.jpg": encoded(Image.fromarray(noise(64, 64, 3)), "JPEG"),
    "x.gif": encoded(Image.fromarray(noise(64, 64)), "GIF"),
    "x.bmp": encoded(Image.fromarray(noise(64, 64, 3)), "BMP"),
    "x.tif": encoded(Image.fromarray(noise(64, 64, 3)), "TIFF"),
    "deep.tif": tiff(noise(64, 64, 3, dtype="uint16")),
    "x.webp": encoded(Image.fromarray(noise(64, 64, 3)), "WEBP"),
    "x.npy": npy(noise(64, 64, 3)),
}

NAMES = {
    "a newline": ("a\nb.png", r"a\nb.png"),
    "quotes": ("'a\" b`.png", "'a\" b`.png"),
    "a leading dash": ("--size.png", "--size.png"),
    "an emoji": ("🙂é.png", "🙂é.png"),
    "an emoji's code": (":smile:.png", ":smile:.png"),
    "markup": ("[red]a[blink].png", "[red]a[blink].png"),
    "ANSI escapes": ("\x1b[31mred\x1b[0m.png", r"\x1b[31mred\x1b[0m.png"),
    "bytes that are no UTF-8": (os.fsdecode(b"caf\xe9.png"), r"caf\udce9.png"),
    "255 bytes": ("x" * 251 + ".png", "x" * 251 + ".png"),
    "braces and percents": ("{0} %s $HOME.png", "{0} %s $HOME.png"),
    "direction marks": ("\u202egnp.png", r"\u202egnp.png"),
}

GREY = EXTRA[:, :, :1]
NAN = np.full(EXTRA.shape, np.nan)
NUMBERS = {
    "NaN": (npy(NAN), "it has no data"),
    "infinite": (npy(np.full((8, 8), np.inf, np.float32)), "it has no data"),
    "too large for floats": (npy(np.full((8, 8), 1e300)), "its values are too large for 32-bit floats"),
    "objects": (pickled(np.array([[Trap()]], object)), "it holds Python objects, which are never unpickled"),
    "ragged": (pickled(np.array([[1, 2], [3]], object)), "it holds Python objects, which are never unpickled"),
    "a pickle by the name of an array": (b"\x80\x04cos\nmkdir\n(X\x07\0\0\0plantedtR.", "it is not a NumPy array"),
    "an archive by the name of an array": (npz(images=EXTRA), "it is not a NumPy array"),
    "no numbers": (npy(np.zeros((0,), np.uint8)), "its array has the shape (0,)"),
    "no rows": (npy(np.zeros((0, 8, 3), np.uint8)), "its array has the shape (0, 8, 3)"),
    "a number": (npy(np.array(7)), "its array has the shape ()"),
    "a line": (npy(np.arange(8)), "its array has the shape (8,)"),
    "five axes": (npy(np.zeros((1, 1, 2, 2, 3))), "its array has the shape (1, 1, 2, 2, 3)"),
    "complex": (npy(np.zeros((8, 8), complex)), "it holds complex128, which are no pixels"),
    "strings": (npy(np.full((8, 8), "a")), "it holds <U1, which are no pixels"),
    "dates": (npy(np.zeros((8, 8), "datetime64[s]")), "it holds datetime64[s], which are no pixels"),
    "structured": (npy(np.zeros((8, 8), [("r", "u1"), ("g", "u1")])), "it holds [('r', 'u1'), ('g', 'u1')]"),
    "negative": (
        npy(np.full((8, 8), -1, np.int16)),
        "it holds numbers outside 0..1, and most of the images have 8 bits",
    ),
    "more than 16 bits": (
        npy(np.full((8, 8), 70_000)),
        "it holds numbers outside 0..1, and most of the images have 8 bits",
    ),
    "a head that lies": (
        patched(npy(EXTRA), b"(8, 8, 3), }" + b" " * 18, b"(88888888, 88888888, 3), }    "),
        "it has more than 1024 MiB",
    ),
    "floats of unknown white": (npy(np.full((8, 8, 3), 3.5)), "it holds numbers outside 0..1"),
    "many channels": (npy(noise(8, 8, 7)), "it has 7 channels, and most of the images have RGB"),
}

EACH = "file_name,a\n" + "".join(f"{name},1\n" for name in GOOD)

TABLES: dict[str, tuple[str, bytes, str]] = {
    "no file_name": (
        "metadata.csv",
        b"name,label\nother.png,a\n",
        "metadata.csv has no column file_name, only: name, label",
    ),
    "missing cells": ("metadata.csv", b"file_name,label\ngood0.png\n", "line 2 of metadata.csv has 1 cells"),
    "extra cells": ("metadata.csv", b"file_name,label\ngood0.png,a,b\n", "line 2 of metadata.csv has 3 cells"),
    "a header twice": ("metadata.csv", b"file_name,a,a\ngood0.png,1,2\n", "metadata.csv has more than one column a"),
    "rows that differ": (
        "metadata.csv",
        b"file_name,a\ngood0.png,1\ngood0.png,2\n",
        "line 3 of metadata.csv says something else of good0.png",
    ),
    "empty": ("metadata.csv", b"", "metadata.csv has no rows"),
    "only a header": ("metadata.csv", b"file_name,a\n", "metadata.csv has no rows"),
    "NUL bytes": ("metadata.csv", b"\0\0\0\0,\0\n\0,\0\n", "metadata.csv is not text"),
    "UTF-16 without its mark": ("metadata.csv", EACH.encode("utf-16-le"), "metadata.csv is not text"),
    "half of UTF-16": ("metadata.csv", EACH.encode("utf-16")[:-1], "metadata.csv is not text"),
    "bytes of no letter": (
        "metadata.csv",
        b"file_name,a\ngood0.png,\x81\x98\n",
        "metadata.csv is not text in UTF-8, UTF-16",
    ),
    "an image": ("metadata.csv", png(EXTRA), "metadata.csv is not text"),
    "an open quote": ("metadata.csv", b'file_name,a\ngood0.png,"x\n', "metadata.csv is not CSV"),
    "a huge field": ("metadata.csv", b"file_name,a\ngood0.png," + b"x" * 200_000, "metadata.csv is not CSV"),
    "a row of no file": ("metadata.csv", b"file_name,a\n,1\n", "line 2 of metadata.csv names no file"),
    "half a line": ("metadata.jsonl", b'{"file_name": "good0.png"}\n{"file_na', "line 2 of metadata.jsonl is not JSON"),
    "a list": ("metadata.jsonl", b'["good0.png"]\n', "line 1 of metadata.jsonl is no JSON object"),
    "a number for a name": ("metadata.jsonl", b'{"file_name": 3}\n', "line 1 of metadata.jsonl names no file"),
    "a nested name": ("metadata.jsonl", b'{"file_name": {"a": 1}}\n', "metadata.jsonl has no column file_name"),
    "brackets without end": ("metadata.jsonl", b"[" * 200_000, "line 1 of metadata.jsonl is not JSON"),
    "a number without end": (
        "metadata.jsonl",
        b'{"file_name": "good0.png", "a": ' + b"9" * 9999 + b"}",
        "metadata.jsonl is not JSON",
    ),
    "no Parquet": ("metadata.parquet", b"PAR1 no table PAR1", "metadata.parquet is not a Parquet file"),
}
"""Metadata files that are refused: the name, the content, and what is said."""

CASES: dict[str, Case] = {
    **{
        f"{name} cut at {share:.0%}": skipped(name, content[: int(share * len(content))])
        for name, content in TRUNCATED.items()
        for share in (0.05, 0.6, 0.97)
    },
    "zero bytes": skipped("x.png", b"", "the file is empty)"),
    "zero bytes of an array": skipped("x.npy", b"", "it is not a NumPy array"),
    "a JPEG named PNG": shown("x.png", JPEG, JPEG_PIXELS),
    "a PNG named JPEG": shown("x.jpg", png(EXTRA)),
    "a TIFF named GIF": shown("x.gif", TIFF8),
    "a PNG named TIFF": shown("x.tif", png(EXTRA)),
    "a PNG named array": skipped("x.npy", png(EXTRA), "it is not a NumPy array"),
    "an array named PNG": skipped("x.png", npy(EXTRA), "it is not an image that can be read)"),
    "text as PNG": skipped("x.png", b"hello\n", "it is not an image that can be read)"),
    "HTML as JPEG": skipped("x.jpg", b"<!DOCTYPE html><html>404", "it is a web page, which is not read"),
    "SVG as PNG": skipped("x.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is an SVG drawing"),
    "random bytes as JPEG": skipped("x.jpg", b"\xff\xd8\xff" + noise(500).tobytes()),
    "PNG of 65,000 x 65,000": skipped("x.png", png_header(65_000, 65_000), "it promises 4,"),
    "16-bit PNG of 65,000 x 65,000": skipped("x.png", png_header(65_000, 65_000, 16), "it promises 4,"),
    "PNG of 2 billion x 1": skipped("x.png", png_header(2**31 - 1, 1)),
    "PNG of no size": skipped("x.png", png_header(0, 8)),
    "GIF of 65,000 x 65,000": skipped(
        "x.gif",
        b"GIF89a" + struct.pack("<HH", 65_000, 65_000) + b"\0\0\0," + bytes(4) + b"\xff\xff\xff\xff\0\x02\0;",
        "it promises 4,",
    ),
    "TIFF of 65,000 x 65,000": skipped("x.tif", tiff_of(65_000, 65_000, 8), "it promises 4,"),
    "16-bit TIFF of 65,000 x 65,000": skipped("x.tif", tiff_of(65_000, 65_000, 16), "it promises 4,"),
    "BMP of 65,000 x 65,000": skipped(
        "x.bmp",
        patched(encoded(PICTURE, "BMP"), struct.pack("<II", 8, 8), struct.pack("<II", 65_000, 65_000)),
        "it promises 4,",
    ),
    "JPEG of 65,000 x 65,000": skipped(
        "x.jpg", patched(JPEG, SIZE_OF_JPEG, b"\x00\x11\x08\xfd\xe8\xfd\xe8"), "it promises 4,"
    ),
    "a link to itself": Case(
        linked("x.png", "x.png"), tuple(GOOD.values()), ("x.png (too many levels of symbolic links)",)
    ),
    "a dangling link": Case(linked("x.png", "gone"), tuple(GOOD.values()), ("x.png (no such file or directory)",)),
    "a link to passwords": Case(linked("x.png", "/etc/passwd"), tuple(GOOD.values()), ("x.png (it is not an image",)),
    "folders in a circle": passed_over(linked("x", ".")),
    "a folder that is a link to itself": passed_over(linked("x", "x")),
    "a folder named like an image": passed_over(with_folder("x.png")),
    "a folder named like a table": passed_over(with_folder("metadata.csv")),
    "a pipe": passed_over(with_pipe),
    **{f"an image whose name has {what}": shown(name, png(EXTRA)) for what, (name, _) in NAMES.items()},
    **{
        f"a broken image whose name has {what}": skipped(name, b"no image", "it is not an image", told)
        for what, (name, told) in NAMES.items()
    },
    **{f"an array that is {what}": skipped("x.npy", content, reason) for what, (content, reason) in NUMBERS.items()},
    "an array in Fortran order": shown("x.npy", npy(np.asfortranarray(EXTRA))),
    "an array of floats": shown("x.npy", npy(EXTRA / 255), EXTRA, "1 of 5 images were converted from floats to 8 bits"),
    "an array of truths": shown("x.npy", npy(EXTRA > 99), np.where(EXTRA > 99, 255, 0).astype(np.uint8)),
    "a grey image": shown(
        "x.png", png(GREY[:, :, 0]), GREY.repeat(3, 2), "1 of 5 images were converted from grey to RGB"
    ),
    "an image of 16 bits": shown(
        "x.png", png(EXTRA.astype(np.uint16) * 257), EXTRA, "converted from 16 bits to 8 bits"
    ),
    "a TIFF of five channels": skipped(
        "x.tif", tiff(noise(8, 8, 5), photometric="minisblack", planarconfig="contig"), "it has 5 channels"
    ),
    "a TIFF of NaN": skipped("x.tif", tiff(NAN.astype(np.float32), photometric="rgb"), "it has no data"),
    "an APNG without its end": shown("x.png", damaged_frames("PNG")),
    "a GIF without its end": shown("x.gif", damaged_frames("GIF"), None),
    "a JPEG that promises more": skipped("x.jpg", patched(JPEG, SIZE_OF_JPEG, b"\x00\x11\x08\x01\x00\x01\x00")),
    "a JPEG of no size": skipped("x.jpg", patched(JPEG, SIZE_OF_JPEG, b"\x00\x11\x08\0\0\0\0")),
    "a JPEG followed by more": shown("x.jpg", JPEG + b"PK\x03\x04 a zip", JPEG_PIXELS),
    "a PNG followed by a zip": shown("x.png", png(EXTRA) + zip_of({"a": b"b"})),
    "a PNG of a wrong checksum": skipped("x.png", patched(png(EXTRA), b"IDAT", b"IDAU")),
    "a PNG whose pixels have a wrong checksum": shown("x.png", png(EXTRA)[:-16] + b"\1\2\3\4" + png(EXTRA)[-12:]),
    "a colour profile of random bytes": shown("x.png", encoded(PICTURE, "PNG", icc_profile=noise(400).tobytes())),
    "a colour profile that lies about its size": shown(
        "x.png", encoded(PICTURE, "PNG", icc_profile=b"\xff\xff\xff\xff" + bytes(32) + b"acsp" + bytes(88))
    ),
    "EXIF that is turned by 99": shown(
        "x.jpg", encoded(PICTURE, "JPEG", quality=100, subsampling="4:4:4", exif=exif(99)), JPEG_PIXELS
    ),
    "EXIF in a circle": shown(
        "x.jpg", encoded(PICTURE, "JPEG", quality=100, subsampling="4:4:4", exif=exif(1, 8)), JPEG_PIXELS
    ),
    "EXIF that ends too soon": shown(
        "x.jpg", encoded(PICTURE, "JPEG", quality=100, subsampling="4:4:4", exif=exif(1)[:18]), JPEG_PIXELS
    ),
    "EXIF of random bytes": shown("x.png", encoded(PICTURE, "PNG", exif=b"Exif\0\0" + noise(80).tobytes())),
    "a TIFF in a circle": shown("x.tif", looping_tiff()),
    "a TIFF whose directory is beyond its end": skipped("x.tif", b"II*\0\xff\xff\xff\x7f" + bytes(40)),
    **{
        f"a table with {what}": refused(described(content, name), says)
        for what, (name, content, says) in TABLES.items()
    },
    "a table with a byte order mark": passed_over(described(("\ufeff" + EACH).encode())),
    "a table in UTF-16": passed_over(described(EACH.encode("utf-16"))),
    "a table in Windows-1252": passed_over(
        described(EACH.replace("1", "é").encode("cp1252")),
        "metadata.csv is not UTF-8, and is read as cp1252, such as é",
    ),
    "a table with equal rows": passed_over(described((EACH + "good0.png,1\n").encode())),
    "a table with empty rows": passed_over(described((EACH + "\n ,\n\n").encode())),
    "a table with rows for absent files": passed_over(
        described((EACH + "gone.png,1\n").encode()), "1 rows of metadata.csv name files that are not there: gone.png"
    ),
    "a table of one row": passed_over(
        described(b"file_name,a\ngood0.png,1\n"), "metadata.csv says nothing of 3 images"
    ),
    "a table of nested values": passed_over(
        described(b"".join(b'{"file_name": "%s", "box": [1, {}]}\n' % name.encode() for name in GOOD), "metadata.jsonl")
    ),
    "a table of lone surrogates": passed_over(
        described(b"".join(b'{"file_name": "%s", "a": "\\ud800"}\n' % name.encode() for name in GOOD), "metadata.jsonl")
    ),
    "a table that leads out": passed_over(
        described((EACH + "../../etc/passwd,1\n").encode()), "name files that are not there: ../../etc/passwd"
    ),
    "nothing": refused(lambda at: at / "nowhere", "There is no file or folder", "nowhere"),
    "a name with a NUL": refused(lambda _: "a\0b", "There is no file or folder"),
    "a name without end": refused(lambda _: "x" * 10_000, "There is no file or folder"),
    "an empty folder": refused(only({}), "holds no images"),
    "a folder of texts": refused(only({"a.txt": b"a"}), "holds no images"),
    "a folder of hidden images": refused(only({".a.png": png(EXTRA), ".b/c.png": png(EXTRA)}), "holds no images"),
    "a folder of archives": refused(only({"a.zip": zip_of(good_files())}), "holds no images"),
    "a folder of broken images": refused(
        only({"a.png": b"", "b.jpg": b"x"}), "None of the 2 images", "a.png (the file is empty), b.jpg (it is not"
    ),
    "a folder of one image": refused(only({"a.png": png(EXTRA)}), "Only 1 image can be read", "at least 2"),
    "a single image": refused(one_file("a.png", png(EXTRA)), "a.png is a single image"),
    "a text": refused(one_file("a.txt", b"text"), "a.txt is a file that holds no images"),
    "an empty file": refused(one_file("a", b""), "is a file that holds no images"),
    **{
        f"an image named .{suffix}": refused(one_file(f"x.{suffix}", png(EXTRA)), f"x.{suffix} ")
        for suffix in ("zip", "tar", "tar.gz", "npz", "npy", "parquet")
    },
    "a device": refused(lambda _: "/dev/zero", "/dev/zero is neither a file nor a folder"),
    "a zip that leads out": Case(
        one_file("x.zip", zip_of(good_files() | {"../x.png": png(EXTRA)})),
        tuple(GOOD.values()),
        ("../x.png (its path leads out of the archive)",),
    ),
    "a zip bomb": Case(one_file("x.zip", zip_bomb()), tuple(GOOD.values()), ("x.png (it has more than 1024 MiB)",)),
    "a zip with a bomb of an array": Case(
        one_file("x.zip", zip_of(good_files() | {"x.npy": NUMBERS["a head that lies"][0]})),
        tuple(GOOD.values()),
        ("x.npy (it has more than 1024 MiB)",),
    ),
    "an empty zip": refused(one_file("x.zip", zip_of({})), "x.zip holds no images"),
    "a zip of texts": refused(one_file("x.zip", zip_of({"a.txt": b"a"})), "x.zip holds no images"),
    "half a zip": refused(one_file("x.zip", zip_of(good_files())[:-30]), "x.zip is not a zip, or only a part"),
    "a zip in a zip": refused(one_file("x.zip", zip_of({"a.zip": zip_of(good_files())})), "x.zip holds no images"),
    "a tar with a link out": Case(
        one_file("x.tar", tar_of(good_files(), "/etc/passwd")), tuple(GOOD.values()), ("link.png (it is a link",)
    ),
    "half a tar": refused(one_file("x.tar", tar_of(good_files())[:300]), "x.tar is not a tar, or only a part of one"),
    "half a compressed tar": refused(
        one_file("x.tar.gz", tar_of(good_files(), mode="w:gz")[:-30]), "x.tar.gz is damaged"
    ),
    "a damaged tar.bz2": refused(
        one_file("x.tar.bz2", patched(tar_of(good_files(), mode="w:bz2"), b"1AY&SY", b"1AY&SX")), "x.tar.bz2 is damaged"
    ),
    "an empty tar": refused(one_file("x.tar", tar_of({})), "x.tar holds no images"),
    "an npz of objects": refused(
        one_file("x.npz", npz(images=EXTRA[None], labels=np.array([Trap()], object))), "never unpickled"
    ),
    "half an npz": refused(one_file("x.npz", npz(images=EXTRA[None].repeat(9, 0))[:-40]), "x.npz cannot be read"),
    "an npz of too few labels": refused(
        one_file("x.npz", npz(images=np.stack(list(GOOD.values())), labels=np.arange(3))),
        "has 4 images, but its labels",
    ),
    "an npz without images": refused(
        one_file("x.npz", npz(a=EXTRA[0], b=EXTRA[1])), "x.npz has no array images, only: a (8, 3), b (8, 3)"
    ),
    "an npz of several images": refused(
        one_file("x.npz", npz(a=EXTRA, b=EXTRA)), "x.npz has several arrays that may be the images: a (8, 8, 3) or b"
    ),
    "one array of five axes": refused(
        one_file("x.npy", npy(np.zeros((2, 2, 2, 2, 2)))), "has the shape (2, 2, 2, 2, 2)"
    ),
    "one array of which a row is NaN": Case(
        one_file("x.npy", npy(np.stack([np.zeros((8, 8)), np.ones((8, 8)), np.full((8, 8), np.nan)]))),
        (None, None),
        ("1 of 3 images were skipped: #2 (it has no data)",),
    ),
    "half a Parquet file": refused(
        one_file("x.parquet", table({"image": [b"a"]})[:-9]), "x.parquet is not a Parquet file"
    ),
    "a Parquet file without images": refused(one_file("x.parquet", table({"a": [1]})), "has no columns of images (a)"),
    "a Parquet file with gaps": Case(
        one_file("x.parquet", table({"image": [None, *good_files().values(), b"no image"]})),
        tuple(GOOD.values()),
        ("2 of 6 images were skipped: x.parquet#0 (the row holds no image), x.parquet#5 (it is not an image",),
    ),
    "a data set that nobody knows": refused(lambda at: f"hf:{at}/nowhere", "nowhere", "cannot be loaded"),
}
