"""Images in the rows of Parquet files, as on the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from images import PHOTOS, noise, photo_files, png
from sfumato.data.sources import BadImageError, open_source
from sfumato.data.sources.parquet import ParquetSource
from sfumato.errors import DataError

from .containers import hub_table, listing, pixels, write_parquet

FILES = photo_files()


def test_columns_of_bytes_are_images(tmp_path: Path) -> None:
    path = write_parquet(pa.table({"picture": list(FILES.values())}), tmp_path / "x.parquet")
    found = listing(path, tmp_path)
    assert [entry.name for entry in found.entries] == [f"x.parquet#{row}" for row in range(4)]
    assert all(map(np.array_equal, pixels(found.entries), PHOTOS.values()))


def test_structs_are_preferred_to_bytes(tmp_path: Path) -> None:
    table = hub_table(FILES, ["cat", "dog"]).append_column("thumbnail", pa.array([b"small"] * 4))
    found = listing(write_parquet(table, tmp_path / "x.parquet"), tmp_path)
    assert all(map(np.array_equal, pixels(found.entries), PHOTOS.values()))


def test_columns_of_text_and_numbers_describe_the_images(tmp_path: Path) -> None:
    columns = {
        "text": ["a", None, "c", "ü"],
        "whole": [1, 2, None, 4],
        "part": [0.5, None, 1.0, float("inf")],
        "truth": [True, False, None, True],
    }
    others = {"list": [[1]] * 4, "time": pa.array([1, 2, 3, 4], pa.timestamp("s"))}
    table = pa.table({"image": list(FILES.values())} | columns | others)
    assert listing(write_parquet(table, tmp_path / "x.parquet"), tmp_path).columns == columns


def test_missing_columns_are_filled_with_none(tmp_path: Path) -> None:
    one, two = list(FILES.values())[:2]
    write_parquet(pa.table({"image": [one], "a": [1]}), tmp_path / "x" / "0.parquet")
    write_parquet(pa.table({"image": [two, one], "b": ["x", "y"]}), tmp_path / "x" / "1.parquet")
    write_parquet(pa.table({"image": [two], "a": [4]}), tmp_path / "x" / "2.parquet")
    found = listing(tmp_path / "x", tmp_path)
    assert found.columns == {"a": [1, None, None, 4], "b": [None, "x", "y", None]}
    assert [entry.read() for entry in found.entries] == [one, two, one, two]


def test_a_class_index_without_a_name_is_missing(tmp_path: Path) -> None:
    table = hub_table(FILES, ["cat", "dog"]).set_column(1, "label", pa.array([-1, 0, 1, 2]))
    assert listing(write_parquet(table, tmp_path / "x.parquet"), tmp_path).columns == {
        "label": [None, "cat", "dog", None]
    }


@pytest.mark.parametrize(
    "metadata", ["no JSON", "[]", '{"info": 3}', '{"info": {"features": {"label": 1}}}', '{"info": {"features": []}}']
)
def test_a_schema_without_class_names_keeps_the_indices(metadata: str, tmp_path: Path) -> None:
    table = hub_table(FILES, ["cat", "dog"]).replace_schema_metadata({"huggingface": metadata})
    assert listing(write_parquet(table, tmp_path / "x.parquet"), tmp_path).columns == {"label": [0, 0, 1, 1]}


def test_rows_without_an_image_are_rejected(tmp_path: Path) -> None:
    table = pa.table({"image": [png(noise(4, 4, 3)), None, b""]})
    first, *others = listing(write_parquet(table, tmp_path / "x.parquet"), tmp_path).entries
    assert np.array_equal(pixels([first])[0], noise(4, 4, 3))
    for entry, reason in zip(others, ["the row holds no image", "the file is empty"], strict=True):
        with pytest.raises(BadImageError, match=reason):
            entry.read()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"a": [1]}), r"has no columns of images \(a\)"),
        (pa.table({"a": [b"x"], "b": [b"y"]}), r"has 2 columns of images \(a, b\)"),
        (pa.table({"a": [{"path": "x"}]}), r"has no columns of images"),
    ],
)
def test_a_table_needs_exactly_one_image_column(table: pa.Table, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        listing(write_parquet(table, tmp_path / "x.parquet"), tmp_path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_rejected(share: float, tmp_path: Path) -> None:
    path = write_parquet(hub_table(FILES, ["cat", "dog"]), tmp_path / "x.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"x\.parquet is not a Parquet file, or it is truncated"):
        listing(path, tmp_path)


def test_damage_within_a_file_is_reported(tmp_path: Path) -> None:
    path = write_parquet(hub_table(FILES, ["cat", "dog"]), tmp_path / "x.parquet")
    whole, outcomes = path.read_bytes(), set()
    for place in range(4, len(whole), 150):
        path.write_bytes(whole[:place] + b"\xff" * 40 + whole[place + 40 :])
        try:
            for entry in listing(path, tmp_path).entries:
                entry.read()
        except (DataError, BadImageError) as error:
            outcomes.add(type(error))
    assert DataError in outcomes


def test_a_broken_link_among_the_files_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "gone.parquet").symlink_to(tmp_path / "nowhere")
    source = open_source(tmp_path / "x")
    assert source.signature()
    with pytest.raises(DataError, match=r"gone\.parquet is not a Parquet file"):
        source.listing(tmp_path)


@pytest.mark.parametrize("change", ["add", "replace", "remove"])
def test_the_signature_of_a_folder_detects_every_change(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "x"
    for number in range(2):
        write_parquet(hub_table(FILES, ["cat", "dog"]), folder / f"{number}.parquet")
    before = ParquetSource(folder).signature()
    match change:
        case "add":
            write_parquet(hub_table(FILES, ["cat", "dog"]), folder / "a" / "2.parquet")
        case "replace":
            write_parquet(hub_table(FILES, ["cow", "cat", "dog"]), folder / "1.parquet")
        case "remove":
            (folder / "1.parquet").unlink()
    assert ParquetSource(folder).signature() != before


def test_missing_pyarrow_suggests_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(hub_table(FILES, ["cat", "dog"]), tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'without pyarrow\. Install it: pip install "sfumato\[hub\]"'):
        open_source(path)
