"""Metadata files next to the images."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from images import noise, png, write
from sfumato.data.sources import Cell, Listing
from sfumato.errors import DataError

from .containers import listing

IMAGE = png(noise(4, 4, 3))


@pytest.fixture
def described(tmp_path: Path) -> Callable[..., Listing]:
    """Listing of a folder of images with a metadata file."""

    def listed(content: bytes | str, name: str = "metadata.csv", images: str = "a.png b.png") -> Listing:
        encoded = content.encode() if isinstance(content, str) else content
        return listing(write(tmp_path / "x", dict.fromkeys(images.split(), IMAGE) | {name: encoded}), tmp_path)

    return listed


Described = Callable[..., Listing]


def parquet_bytes(columns: Mapping[str, object]) -> bytes:
    content = io.BytesIO()
    parquet.write_table(pa.table(columns), content)
    return content.getvalue()


COLUMNS = {"text": ["red", "blue"], "whole": [3, -1], "part": [0.5, 2.0]}


def csv_of(separator: str = ",", end: str = "\n") -> str:
    rows = ["file_name text whole part", "b.png blue -1 2", "a.png red 3 0.5"]
    return "".join(separator.join(row.split()) + end for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", csv_of()),
        ("metadata.csv", csv_of(";")),
        ("metadata.csv", csv_of("\t", "\r\n")),
        ("metadata.csv", "\ufeff" + csv_of()),
        ("metadata.csv", csv_of(end="\n\n") + " , , ,\n"),
        ("metadata.csv", csv_of(" , ".strip(" ")).replace("red", '"red"')),
        (
            "metadata.jsonl",
            '{"file_name": "b.png", "text": "blue", "whole": -1, "part": 2.0}\n\n'
            '{"part": 0.5, "whole": 3, "text": "red", "file_name": "a.png", "box": [1, 2], "more": {"a": 1}}\r\n',
        ),
        (
            "metadata.parquet",
            parquet_bytes(
                {"file_name": ["b.png", "a.png"], "text": ["blue", "red"], "whole": [-1, 3], "part": [2.0, 0.5]}
                | {"box": [[1], [2]]}
            ),
        ),
    ],
    ids=["CSV", "semicolons", "tabs and CRLF", "BOM", "empty rows", "quotes", "JSON lines", "Parquet"],
)
def test_every_type_of_table_gives_the_same_columns(name: str, content: bytes | str, described: Described) -> None:
    found = described(content, name)
    assert found.columns == COLUMNS
    assert not found.notices


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-2"], [1, -2]),
        (["1", "2.5"], [1.0, 2.5]),
        (["1", ""], [1, None]),
        (["", "x"], [None, "x"]),
        (["007", "12"], ["007", "12"]),
        (["1_0", "2.5"], ["1_0", "2.5"]),
        (["0", "0.5"], [0.0, 0.5]),
        (["1", "x"], ["1", "x"]),
        (["1e-3", "2"], [0.001, 2.0]),
        (["true", "false"], ["true", "false"]),
        (["  x ", "y"], ["x", "y"]),
        (["9" * 5000, "1"], [float("inf"), 1.0]),
        (["inf", "1"], ["inf", "1"]),
    ],
)
def test_csv_columns_of_numbers_are_numeric(cells: list[str], expected: list[Cell], described: Described) -> None:
    found = described(f"file_name,column\na.png,{cells[0]}\nb.png,{cells[1]}\n")
    assert found.columns == {"column": expected}
    assert list(map(type, found.columns["column"])) == list(map(type, expected))


def test_each_folder_can_have_its_own_table(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "x",
        {
            "1/a.png": IMAGE,
            "1/metadata.csv": b"file_name,colour\na.png,red\n",
            "2/a.png": IMAGE,
            "2/metadata.jsonl": b'{"file_name": "a.png", "size": 3}\n',
        },
    )
    assert listing(folder, tmp_path).columns == {"colour": ["red", None], "size": [None, 3]}


@pytest.mark.parametrize("name", ["1/a.png", "./1/a.png", "1//a.png", "1/../1/a.png", "1\\a.png"])
def test_names_are_relative_to_the_table(name: str, described: Described) -> None:
    found = described(json.dumps({"file_name": name, "colour": "red"}), "metadata.jsonl", images="1/a.png")
    assert found.columns == {"colour": ["red"]}


def test_rows_without_files_and_files_without_rows_are_reported(described: Described) -> None:
    found = described(
        "file_name,colour\na.png,red\n" + "".join(f"gone{n}.png,blue\n" for n in range(5)), images="a.png b.png c.png"
    )
    assert found.columns == {"colour": ["red", None, None]}
    assert [str(notice) for notice in found.notices] == [
        'metadata.csv describes 1 of 3 images, by its column "file_name". 5 of its 6 rows match no image: gone0.png, '
        "gone1.png, gone2.png, ...."
    ]


def test_a_repeated_row_counts_once(described: Described) -> None:
    found = described("file_name,colour,weight\na.png,red,nan\nb.png,blue,1\na.png,red,nan\n")
    assert found.columns["colour"] == ["red", "blue"]


def test_line_breaks_within_cells_are_kept(described: Described) -> None:
    lines = [{"file_name": "a.png", "text": "one\u2028two\x85three"}, {"file_name": "b.png", "text": "\x0b"}]
    content = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    assert described(content, "metadata.jsonl").columns == {"text": ["one\u2028two\x85three", "\x0b"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.csv", "", r"no column of metadata\.csv names images\. .*file_name"),
        ("metadata.csv", "file_name,colour\n", r"no column of metadata\.csv names images"),
        ("metadata.csv", "name,colour\nx.png,red\n", r"no column of metadata\.csv names images"),
        ("metadata.csv", "file_name,colour\na.png\n", r"line 2 of metadata\.csv has 1 cells, .* names 2 columns"),
        ("metadata.csv", "file_name,colour\na.png,red,x\n", r"line 2 of metadata\.csv has 3 cells"),
        ("metadata.csv", "file_name,a,a\na.png,1,2\n", r"metadata\.csv has more than one column a\. Rename"),
        ("metadata.csv", "file_name,,\na.png,1,2\n", r"more than one column \(unnamed\)"),
        ("metadata.csv", "file_name,a\n,1\n", r"no column of metadata\.csv names images"),
        (
            "metadata.csv",
            "a.png,red\nb.png,blue\n",
            r"the first line of metadata\.csv names the image a\.png\. Add a line",
        ),
        ("metadata.csv", "file_name,a\na.png,1\na.png,2\n", r"the metadata of a\.png have two values of a: 1 and 2\."),
        ("metadata.csv", 'file_name,a\na.png,"x\n', r"of metadata\.csv is not CSV"),
        ("metadata.csv", f"file_name,a\na.png,{'x' * 200_000}\n", r"of metadata\.csv is not CSV: field larger"),
        ("metadata.csv", b"file_name,a\na.png,caf\x8f\n", r"metadata\.csv is not text in .*Save it as UTF-8"),
        ("metadata.csv", csv_of().encode("utf-16-le"), r"metadata\.csv is not text in"),
        ("metadata.csv", b"\0" * 20, r"metadata\.csv is not text in"),
        ("metadata.jsonl", "", r"no column of metadata\.jsonl names images"),
        ("metadata.jsonl", '{"file_name": "a.png"}\n{"file', r"line 2 of metadata\.jsonl is not JSON"),
        ("metadata.jsonl", "[1, 2]", r"line 1 of metadata\.jsonl is not a JSON object"),
        ("metadata.jsonl", '{"file_name": 3}', r"no column of metadata\.jsonl names images"),
        ("metadata.jsonl", '{"file_name": null}', r"no column of metadata\.jsonl names images"),
        ("metadata.jsonl", '{"file_name": "a.png", "a": ' + "9" * 5000 + "}", r"line 1 of metadata\.jsonl is not JSON"),
        ("metadata.jsonl", "[" * 100_000, r"line 1 of metadata\.jsonl is not JSON"),
        ("metadata.parquet", b"no table", r"metadata\.parquet is not a Parquet file"),
        ("metadata.parquet", parquet_bytes({"file_name": [""]}), r"no column of metadata\.parquet names images"),
    ],
)
def test_an_inconsistent_table_is_rejected(name: str, content: bytes | str, message: str, described: Described) -> None:
    with pytest.raises(DataError, match=message) as caught:
        described(content, name)
    assert caught.value.remedy


def test_an_unreadable_table_is_reported(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"a.png": IMAGE})
    (folder / "metadata.csv").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"metadata\.csv cannot be read \(No such file or directory\)"):
        listing(folder, tmp_path)
