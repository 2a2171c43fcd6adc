"""Hostile metadata, folders and archives."""

from __future__ import annotations

import numpy as np

from hostile.case import EXTRA, GOOD, Case, described, good_files, ignored, one_file, only, rejected
from hostile.content import Trap, npz, patched, table, tar_of, zip_bomb, zip_of
from hostile.image_cases import NUMBERS
from images import npy, png

EACH = "file_name,a\n" + "".join(f"{name},1\n" for name in GOOD)

TABLES: dict[str, tuple[str, bytes, str]] = {
    "no file_name": (
        "metadata.csv",
        b"name,label\nother.png,a\n",
        "no column of metadata.csv names images",
    ),
    "missing cells": ("metadata.csv", b"file_name,label\ngood0.png\n", "line 2 of metadata.csv has 1 cells"),
    "extra cells": ("metadata.csv", b"file_name,label\ngood0.png,a,b\n", "line 2 of metadata.csv has 3 cells"),
    "a header twice": ("metadata.csv", b"file_name,a,a\ngood0.png,1,2\n", "metadata.csv has more than one column a"),
    "rows that differ": (
        "metadata.csv",
        b"file_name,a\ngood0.png,1\ngood0.png,2\n",
        "the metadata of good0.png have two values of a: 1 and 2",
    ),
    "no header line": ("metadata.csv", b"good0.png,1\ngood1.png,2\n", "the first line of metadata.csv names the image"),
    "empty": ("metadata.csv", b"", "no column of metadata.csv names images"),
    "only a header": ("metadata.csv", b"file_name,a\n", "no column of metadata.csv names images"),
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
    "a row of no file": ("metadata.csv", b"file_name,a\n,1\n", "no column of metadata.csv names images"),
    "half a line": ("metadata.jsonl", b'{"file_name": "good0.png"}\n{"file_na', "line 2 of metadata.jsonl is not JSON"),
    "a list": ("metadata.jsonl", b'["good0.png"]\n', "line 1 of metadata.jsonl is not a JSON object"),
    "a number for a name": ("metadata.jsonl", b'{"file_name": 3}\n', "no column of metadata.jsonl names images"),
    "a nested name": ("metadata.jsonl", b'{"file_name": {"a": 1}}\n', "no column of metadata.jsonl names images"),
    "brackets without end": ("metadata.jsonl", b"[" * 200_000, "line 1 of metadata.jsonl is not JSON"),
    "a number without end": (
        "metadata.jsonl",
        b'{"file_name": "good0.png", "a": ' + b"9" * 9999 + b"}",
        "metadata.jsonl is not JSON",
    ),
    "no Parquet": ("metadata.parquet", b"PAR1 no table PAR1", "metadata.parquet is not a Parquet file"),
}
"""Metadata files that are rejected: name, content, and substring of the error."""

SOURCE_CASES: dict[str, Case] = {
    **{
        f"a table with {what}": rejected(described(content, name), says)
        for what, (name, content, says) in TABLES.items()
    },
    "a table with a byte order mark": ignored(described(("\ufeff" + EACH).encode())),
    "a table in UTF-16": ignored(described(EACH.encode("utf-16"))),
    "a table in Windows-1252": ignored(
        described(EACH.replace("1", "é").encode("cp1252")),
        "metadata.csv is not UTF-8. It is read as cp1252, for example é",
    ),
    "a table with equal rows": ignored(described((EACH + "good0.png,1\n").encode())),
    "a table with empty rows": ignored(described((EACH + "\n ,\n\n").encode())),
    "a table with rows for absent files": ignored(
        described((EACH + "gone.png,1\n").encode()), "1 of its 5 rows match no image: gone.png"
    ),
    "a table of one row": ignored(described(b"file_name,a\ngood0.png,1\n"), "metadata.csv describes 1 of 4 images"),
    "a table of nested values": ignored(
        described(b"".join(b'{"file_name": "%s", "box": [1, {}]}\n' % name.encode() for name in GOOD), "metadata.jsonl")
    ),
    "a table of lone surrogates": ignored(
        described(b"".join(b'{"file_name": "%s", "a": "\\ud800"}\n' % name.encode() for name in GOOD), "metadata.jsonl")
    ),
    "a table that leads out": ignored(
        described((EACH + "../../etc/passwd,1\n").encode()), "1 of its 5 rows match no image: ../../etc/passwd"
    ),
    "nothing": rejected(lambda at: at / "nowhere", "There is no file or folder", "nowhere"),
    "a name with a NUL": rejected(lambda _: "a\0b", "There is no file or folder"),
    "a name without end": rejected(lambda _: "x" * 10_000, "There is no file or folder"),
    "an empty folder": rejected(only({}), "holds no images"),
    "a folder of texts": rejected(only({"a.txt": b"a"}), "holds no images"),
    "a folder of hidden images": rejected(only({".a.png": png(EXTRA), ".b/c.png": png(EXTRA)}), "holds no images"),
    "a folder of archives": rejected(only({"a.zip": zip_of(good_files())}), "holds no images"),
    "a folder of broken images": rejected(
        only({"a.png": b"", "b.jpg": b"x"}), "None of the 2 images", "a.png (the file is empty), b.jpg (it is not"
    ),
    "a folder of one image": rejected(only({"a.png": png(EXTRA)}), "Only 1 image can be read", "at least 2"),
    "a single image": rejected(one_file("a.png", png(EXTRA)), "a.png is a single image"),
    "a text": rejected(one_file("a.txt", b"text"), "a.txt is a file that holds no images"),
    "an empty file": rejected(one_file("a", b""), "is a file that holds no images"),
    **{
        f"an image named .{suffix}": rejected(one_file(f"x.{suffix}", png(EXTRA)), f"x.{suffix} ")
        for suffix in ("zip", "tar", "tar.gz", "npz", "npy", "parquet")
    },
    "a device": rejected(lambda _: "/dev/zero", "/dev/zero is neither a file nor a folder"),
    "a zip that leads out": Case(
        one_file("x.zip", zip_of(good_files() | {"../x.png": png(EXTRA)})),
        tuple(GOOD.values()),
        ("../x.png (its path is outside the archive)",),
    ),
    "a zip bomb": Case(one_file("x.zip", zip_bomb()), tuple(GOOD.values()), ("x.png (it has more than 1024 MiB)",)),
    "a zip with a bomb of an array": Case(
        one_file("x.zip", zip_of(good_files() | {"x.npy": NUMBERS["a head that lies"][0]})),
        tuple(GOOD.values()),
        ("x.npy (it has more than 1024 MiB)",),
    ),
    "an empty zip": rejected(one_file("x.zip", zip_of({})), "x.zip holds no images"),
    "a zip of texts": rejected(one_file("x.zip", zip_of({"a.txt": b"a"})), "x.zip holds no images"),
    "half a zip": rejected(one_file("x.zip", zip_of(good_files())[:-30]), "x.zip is not a zip, or it is truncated"),
    "a zip in a zip": rejected(one_file("x.zip", zip_of({"a.zip": zip_of(good_files())})), "x.zip holds no images"),
    "a tar with a link out": Case(
        one_file("x.tar", tar_of(good_files(), "/etc/passwd")), tuple(GOOD.values()), ("link.png (it is a link",)
    ),
    "half a tar": rejected(one_file("x.tar", tar_of(good_files())[:300]), "x.tar is not a tar, or it is truncated"),
    "half a compressed tar": rejected(
        one_file("x.tar.gz", tar_of(good_files(), mode="w:gz")[:-30]), "x.tar.gz is damaged"
    ),
    "a damaged tar.bz2": rejected(
        one_file("x.tar.bz2", patched(tar_of(good_files(), mode="w:bz2"), b"1AY&SY", b"1AY&SX")), "x.tar.bz2 is damaged"
    ),
    "an empty tar": rejected(one_file("x.tar", tar_of({})), "x.tar holds no images"),
    "an npz of objects": rejected(
        one_file("x.npz", npz(images=EXTRA[None], labels=np.array([Trap()], object))), "never unpickled"
    ),
    "half an npz": rejected(one_file("x.npz", npz(images=EXTRA[None].repeat(9, 0))[:-40]), "x.npz cannot be read"),
    "an npz of too few labels": rejected(
        one_file("x.npz", npz(images=np.stack(list(GOOD.values())), labels=np.arange(3))),
        "has 4 images, but its labels",
    ),
    "an npz without images": rejected(
        one_file("x.npz", npz(a=EXTRA[0], b=EXTRA[1])), "x.npz has no array images, only: a (8, 3), b (8, 3)"
    ),
    "an npz of several images": rejected(
        one_file("x.npz", npz(a=EXTRA, b=EXTRA)), "x.npz has several arrays that may be the images: a (8, 8, 3) or b"
    ),
    "one array of five axes": rejected(
        one_file("x.npy", npy(np.zeros((2, 2, 2, 2, 2)))), "has the shape (2, 2, 2, 2, 2)"
    ),
    "one array of which a row is NaN": Case(
        one_file("x.npy", npy(np.stack([np.zeros((8, 8)), np.ones((8, 8)), np.full((8, 8), np.nan)]))),
        (None, None),
        ("1 of 3 images was skipped: #2 (it has no data)",),
    ),
    "half a Parquet file": rejected(
        one_file("x.parquet", table({"image": [b"a"]})[:-9]), "x.parquet is not a Parquet file"
    ),
    "a Parquet file without images": rejected(one_file("x.parquet", table({"a": [1]})), "has no columns of images (a)"),
    "a Parquet file with gaps": Case(
        one_file("x.parquet", table({"image": [None, *good_files().values(), b"no image"]})),
        tuple(GOOD.values()),
        ("2 of 6 images were skipped: x.parquet#0 (the row holds no image), x.parquet#5 (it is not an image",),
    ),
    "a data set that nobody knows": rejected(lambda at: f"hf:{at}/nowhere", "nowhere", "cannot be loaded"),
}
