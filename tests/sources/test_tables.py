"""Tables with other names than `metadata`, found by the column that names the images."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from images import noise, png, write
from sfumato.data.sources import Cell, Listing
from sfumato.data.sources.tables import is_metadata, is_table
from sfumato.errors import DataError

from .containers import listing, tarred, zipped

IMAGE = png(noise(4, 4, 3))


def of(path: Path, images: str, **tables: str | bytes) -> Listing:
    """Listing of a folder of these images and tables; "_csv" at the end of a name means ".csv"."""
    named = {f"{name[: name.rindex('_')]}.{name[name.rindex('_') + 1 :]}": content for name, content in tables.items()}
    content = {name: text.encode() if isinstance(text, str) else text for name, text in named.items()}
    return listing(write(path / "x", dict.fromkeys(images.split(), IMAGE) | content), path)


def notice_texts(found: Listing, topic: str = "table") -> list[str]:
    return [notice.text for notice in found.notices if notice.topic == topic]


@pytest.mark.parametrize(
    ("name", "table", "metadata"),
    [
        *[(f"{stem}.csv", True, stem == "metadata") for stem in ("labels", "train", "metadata", "a.b")],
        *[("Metadata.CSV", True, True), ("metadata.tsv", True, True), ("a/metadata.jsonl", True, True)],
        *[("x.ndjson", True, False), ("metadata.parquet", True, True), ("Labels.parquet", True, False)],
        *[("train-00000-of-00001.parquet", False, False), ("train.parquet", False, False)],
        *[("a.png", False, False), ("csv", False, False), ("metadata", False, False), ("a.csv/b", False, False)],
    ],
)
def test_tables_are_recognised_by_their_extension(name: str, table: bool, metadata: bool) -> None:
    assert (is_table(name), is_metadata(name)) == (table, metadata)


@pytest.mark.parametrize(
    ("images", "table"),
    [
        ("a.png b.png", "image,size\na.png,1\nb.png,2\n"),
        ("a.png b.png", "size;image\n1;a.png\n2;b.png\n"),
        ("a.png b.png", "size\tid\n1\ta\n2\tb\n"),
        ("a.png b.png", "size|id\n1|a\n2|b\n"),
        ("a.png b.png", "id,size,name\n17,1,a.png\n18,2,b.png\n"),
        ("a.png b.png", ",path,size\n0,./a.png,1\n1,/data/in/b.png,2\n"),
        ("a.png b.png", "path,size\nC:\\data\\a.png,1\nb.png,2\n"),
        ("0001.png 0002.png", "id,size\n0001,1\n0002,2\n"),
        ("1.png 2.png", "id,size\n1,1\n2,2\n"),
        ("in/a.png in/b.png", "image,size\nin/a.png,1\nin/b.png,2\n"),
        ("in/a.png in/b.png", "image,size\na.png,1\nb.png,2\n"),
        ("in/a.png in/b.png", "image,size\na,1\nb,2\n"),
        ("in/a.png out/b.png", "image,size\na,1\nx/in/a,1\nout/b,2\n"),
        ("a/1.png b/1.png", "image,size\na/1.png,1\nb/1,2\n"),
        ("a.v1.png b.v1.png", "image,size\na.v1,1\nb.v1,2\n"),
        ("a.png e\u0301.png", "image,size\na.png,1\n\u00e9.png,2\n"),
        ("a.png \u00e9.png", "image,size\na.png,1\ne\u0301,2\n"),
        ("a.png b.png", "image,label,size\na.png,b,1\nb.png,b,2\n"),
        ("a.png b.png", "image,x,size\na.png,5,1\na.png,6,1\nb.png,7,2\n"),
    ],
)
def test_the_column_that_matches_most_images_is_used(images: str, table: str, tmp_path: Path) -> None:
    assert of(tmp_path, images, labels_csv=table).columns["size"] == [1, 2]


@pytest.mark.parametrize("pack", ["folder", "zip", "tar"])
@pytest.mark.parametrize("name", ["labels.csv", "LABELS.CSV", "Metadata.csv", "all/train.csv", "labels.tsv"])
def test_every_container_can_have_a_table(name: str, pack: str, tmp_path: Path) -> None:
    separator = "\t" if name.endswith("tsv") else ","
    rows = separator.join(["image", "age"]) + "\n" + separator.join(["a.png", '"0,5"']) + "\n"
    files = {"all/a.png": IMAGE, "all/b.png": IMAGE, name: rows.encode()}
    made = {"folder": write, "zip": zipped, "tar": tarred}[pack](tmp_path / "x", files)
    found = listing(made, tmp_path / "scratch")
    assert found.columns == {"age": [0.5, None]}
    assert notice_texts(found, "columns") == ["age: decimal comma."]


@pytest.mark.parametrize("name", ["labels_jsonl", "labels_ndjson", "labels_parquet"])
def test_typed_values_are_kept(name: str, tmp_path: Path) -> None:
    rows = [{"image_id": 7, "size": 1, "code": "12"}, {"image_id": 8, "size": 2, "code": "13"}]
    content = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), content)
    lines = "\n".join(map(json.dumps, rows))
    found = of(tmp_path, "7.png 8.png", **{name: content.getvalue() if "parquet" in name else lines})
    assert found.columns == {"size": [1, 2], "code": ["12", "13"]}


def test_used_tables_and_unmatched_rows_are_reported(tmp_path: Path) -> None:
    table = "Image,a\na.png,1\nb.png,2\n" + "".join(f"gone{index},3\n" for index in range(2)) + ",4\n"
    found = of(tmp_path, "a.png b.png c.png d.png", labels_csv=table)
    assert [(notice.text, notice.matters) for notice in found.notices] == [
        (
            'labels.csv describes 2 of 4 images, by its column "Image". '
            "3 of its 5 rows match no image: gone0, gone1, (empty).",
            True,
        )
    ]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("x,y\n7,8\n9,4\n", "no column of it names images"),
        ("", "no column of it names images"),
        ("id,name\n0,cat\n1,dog\n", 'its column "id" names few of the images'),
        ("image,y\n" + "a.png,1\n" + "gone.png,1\n" * 5, 'its column "image" names few of the images'),
        ("a.png,1\n0.png,2\n", "the first line of other.csv names the image a.png"),
        ("image,y\na.png\n", "line 2 of other.csv has 1 cells"),
        ('image,y\na.png,"1\n', "line 2 of other.csv is not CSV"),
        ("image,y,y\na.png,1,2\n", "other.csv has more than one column y"),
        (b"\0\1\2", "other.csv is not text"),
        (b"image,y\n\x81\x98,1\n", "other.csv is not text"),
    ],
)
def test_an_unrelated_table_is_reported_and_not_used(table: str | bytes, says: str, tmp_path: Path) -> None:
    images = "a.png 0.png 1.png 2.png 3.png"
    found = of(tmp_path, images, other_csv=table, metadata_csv="file_name,a\na.png,1\n")
    assert found.columns == {"a": [None, None, None, None, 1]}
    (notice,) = [text for text in notice_texts(found) if "other.csv" in text]
    assert notice.startswith(f"other.csv is not used: {says}")


def test_a_table_of_a_split_matches_the_images_of_the_split(tmp_path: Path) -> None:
    images = "train/1.png train/2.png test/1.png test/2.png"
    tables = {"train_labels_csv": "id,age\n1,7\n2,8\n", "test_csv": "id,age\n1,9\n"}
    assert of(tmp_path, images, **tables).columns == {"age": [9, None, 7, 8]}


def test_metadata_can_have_another_column_of_images(tmp_path: Path) -> None:
    for index, table in enumerate(
        ["image,a\na.png,1\nb.png,2\n", "file_name,a\na,1\nb,2\n", "file_name,a\nx/a.png,1\nb,2\n"]
    ):
        found = of(tmp_path / str(index), "a.png b.png", metadata_csv=table)
        assert found.columns == {"a": [1, 2]}
        assert notice_texts(found) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    content = (mark + "who,image\nZoë €,a.png\nñ,b.png\n").encode(encoding)
    found = of(tmp_path, "a.png b.png", labels_csv=content)
    assert found.columns == {"who": ["Zoë €", "ñ"]}
    windows = [text for text in notice_texts(found) if "is not UTF-8" in text]
    assert bool(windows) == (encoding == "cp1252")
    assert not windows or windows[0].startswith("labels.csv is not UTF-8. It is read as cp1252, for example ")


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1251", ["кошка", "собака"]),
        ("gbk", ["小猫咪", "小狗图片"]),
        ("cp932", ["ねこ写真", "いぬ写真"]),
        ("cp949", ["고양이", "강아지"]),
        ("big5", ["貓咪圖片", "小狗圖片"]),
        ("cp1252", ["don’t", "Größe"]),
        ("cp1252", ["à la carte", "naïve"]),
        ("cp1252", ["“quoted”", "…"]),
    ],
)
def test_tables_with_other_encodings_are_decoded(encoding: str, words: list[str], tmp_path: Path) -> None:
    content = f"image,label\na.png,{words[0]}\nb.png,{words[1]}\n".encode(encoding)
    found = of(tmp_path, "a.png b.png", labels_csv=content)
    assert found.columns == {"label": words}
    assert f"is read as {encoding}, for example " in notice_texts(found)[0]


@pytest.mark.parametrize("labels", ['[["00/a.png", 7], ["00/b.png", 0]]', '{"00/a.png": 7, "00/b.png": 0}'])
def test_the_labels_of_stylegan_and_edm_are_read(labels: str, tmp_path: Path) -> None:
    found = of(tmp_path, "00/a.png 00/b.png", dataset_json=f'{{"labels": {labels}}}')
    assert found.columns == {"label": [7, 0]}


@pytest.mark.parametrize("content", ['{"labels": null}', '{"labels": [3]}', "[]", "{", '{"images": []}'])
def test_another_dataset_json_is_not_used(content: str, tmp_path: Path) -> None:
    found = of(tmp_path, "a.png b.png", dataset_json=content)
    assert found.columns == {}
    assert len(notice_texts(found)) == 1
    assert notice_texts(found)[0].startswith("dataset.json is not used: ")


@pytest.mark.parametrize("cells", [("A.PNG", "B.Png"), ("a.jpg", "b.jpeg"), ("A.JPG", "B")])
def test_case_and_extension_can_differ_from_the_files(cells: tuple[str, str], tmp_path: Path) -> None:
    found = of(tmp_path, "a.png b.png", labels_csv=f"image,label\n{cells[0]},cat\n{cells[1]},dog\n")
    assert found.columns == {"label": ["cat", "dog"]}


def test_names_that_differ_only_in_case_are_distinguished(tmp_path: Path) -> None:
    found = of(tmp_path, "a.png A.png b.png", labels_csv="image,label\na.png,cat\nA.png,dog\nB.PNG,owl\n")
    assert found.columns == {"label": ["dog", "cat", "owl"]}


def test_columns_with_contradicting_rows_are_not_used(tmp_path: Path) -> None:
    boxes = "image,kind,left\na.png,cat,1\na.png,cat,2\nb.png,dog,3\n"
    found = of(tmp_path, "a.png b.png", annotations_csv=boxes)
    assert found.columns == {"kind": ["cat", "dog"]}
    assert notice_texts(found)[-1:] == ["Column left: not used, since rows for one image differ (1 times)."]
    assert all(notice.matters for notice in found.notices)


def test_two_metadata_tables_of_one_image_must_agree(tmp_path: Path) -> None:
    tables = {"metadata_csv": "file_name,a\na.png,1\n", "metadata_jsonl": '{"file_name": "a.png", "a": 1}'}
    assert of(tmp_path / "1", "a.png b.png", **tables).columns == {"a": [1, None]}
    with pytest.raises(DataError, match=r"the metadata of a\.png have two values of a: 1 and 3\. Keep one row"):
        of(tmp_path / "2", "a.png b.png", **tables | {"metadata_jsonl": '{"file_name": "a.png", "a": 3}'})


def test_metadata_has_priority_over_other_tables(tmp_path: Path) -> None:
    tables = {"metadata_csv": "file_name,a\na.png,1\nb.png,\n", "extra_csv": "image,a,b\na.png,5,6\nb.png,7,8\n"}
    found = of(tmp_path, "a.png b.png", **tables)
    assert found.columns == {"a": [1, 7], "b": [6, 8]}
    assert notice_texts(found)[-1] == "Column a: other tables differ from the metadata table, which is used (1 times)."
    assert all(notice.matters for notice in found.notices)


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"1": "NA", "2": "3"}, [None, 3]),
        ({"1": "1", "2": "2.5"}, [1.0, 2.5]),
        ({"1": "0,5", "2": '"1,000"'}, [0.5, 1.0]),
        ({"1": "5", "2": '"1,000"'}, ["5", "1,000"]),
    ],
)
def test_a_column_of_several_tables_has_one_type(
    tables: Mapping[str, str], expected: Sequence[Cell], tmp_path: Path
) -> None:
    content = {f"{name}/metadata.csv": f"file_name;age\na.png;{cell}\n".encode() for name, cell in tables.items()}
    found = listing(write(tmp_path / "x", {"1/a.png": IMAGE, "2/a.png": IMAGE} | content), tmp_path)
    assert found.columns == {"age": expected}


def test_a_folder_of_parquet_files_can_have_tables(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"statistics.csv": b"a,b\n1,2\n"})
    parquet.write_table(pa.table({"image": [IMAGE, IMAGE]}), folder / "train.parquet")
    assert len(listing(folder, tmp_path).entries) == 2
