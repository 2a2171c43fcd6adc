"""Hostile images beside valid ones."""

from __future__ import annotations

import os
import struct

import numpy as np
from PIL import Image

from hostile.case import EXTRA, GOOD, PICTURE, Case, ignored, linked, shown, skipped, with_folder, with_pipe
from hostile.content import (
    JPEG,
    JPEG_PIXELS,
    SIZE_OF_JPEG,
    TIFF8,
    Trap,
    damaged_frames,
    exif,
    looping_tiff,
    npz,
    patched,
    pickled,
    png_header,
    tiff_of,
    zip_of,
)
from images import encoded, noise, npy, png, tiff

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
    "complex": (npy(np.zeros((8, 8), complex)), "it holds complex128, which are not pixel values"),
    "strings": (npy(np.full((8, 8), "a")), "it holds <U1, which are not pixel values"),
    "dates": (npy(np.zeros((8, 8), "datetime64[s]")), "it holds datetime64[s], which are not pixel values"),
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

IMAGE_CASES: dict[str, Case] = {
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
    "PNG of 65,000 x 65,000": skipped("x.png", png_header(65_000, 65_000), "its header declares 4,"),
    "16-bit PNG of 65,000 x 65,000": skipped("x.png", png_header(65_000, 65_000, 16), "its header declares 4,"),
    "PNG of 2 billion x 1": skipped("x.png", png_header(2**31 - 1, 1)),
    "PNG of no size": skipped("x.png", png_header(0, 8)),
    "GIF of 65,000 x 65,000": skipped(
        "x.gif",
        b"GIF89a" + struct.pack("<HH", 65_000, 65_000) + b"\0\0\0," + bytes(4) + b"\xff\xff\xff\xff\0\x02\0;",
        "its header declares 4,",
    ),
    "TIFF of 65,000 x 65,000": skipped("x.tif", tiff_of(65_000, 65_000, 8), "its header declares 4,"),
    "16-bit TIFF of 65,000 x 65,000": skipped("x.tif", tiff_of(65_000, 65_000, 16), "its header declares 4,"),
    "BMP of 65,000 x 65,000": skipped(
        "x.bmp",
        patched(encoded(PICTURE, "BMP"), struct.pack("<II", 8, 8), struct.pack("<II", 65_000, 65_000)),
        "its header declares 4,",
    ),
    "JPEG of 65,000 x 65,000": skipped(
        "x.jpg", patched(JPEG, SIZE_OF_JPEG, b"\x00\x11\x08\xfd\xe8\xfd\xe8"), "its header declares 4,"
    ),
    "a link to itself": Case(
        linked("x.png", "x.png"), tuple(GOOD.values()), ("x.png (too many levels of symbolic links)",)
    ),
    "a dangling link": Case(linked("x.png", "gone"), tuple(GOOD.values()), ("x.png (no such file or directory)",)),
    "a link to passwords": Case(linked("x.png", "/etc/passwd"), tuple(GOOD.values()), ("x.png (it is not an image",)),
    "folders in a circle": ignored(linked("x", ".")),
    "a folder that is a link to itself": ignored(linked("x", "x")),
    "a folder named like an image": ignored(with_folder("x.png")),
    "a folder named like a table": ignored(with_folder("metadata.csv")),
    "a pipe": ignored(with_pipe),
    **{f"an image whose name has {what}": shown(name, png(EXTRA)) for what, (name, _) in NAMES.items()},
    **{
        f"a broken image whose name has {what}": skipped(name, b"no image", "it is not an image", printed)
        for what, (name, printed) in NAMES.items()
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
}
