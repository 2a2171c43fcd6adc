"""Labels from folders and from table columns."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from sfumato.data.conditions import Category, Number
from sfumato.data.labels import (
    Labelling,
    column_notices,
    encoded,
    label_by_folder,
    label_by_table,
    name_and_kind,
    requested_columns,
)
from sfumato.data.sources import Cell, Notice
from sfumato.errors import DataError


def label(*names: str, unreadable: tuple[str, ...] = ()) -> Labelling:
    """Labels of images with these names in the folder root."""
    parts = [PurePosixPath(name).parts for name in names]
    return label_by_folder("the folder root", [part[0] if len(part) > 1 else None for part in parts], unreadable)


def test_the_first_level_of_folders_gives_the_labels() -> None:
    labelling = label("a/1.png", "a/b/2.png", "b/a/1.png", "b/2.png")
    assert labelling.label_names == ("a", "b")
    assert labelling.labels is not None
    assert labelling.labels.tolist() == [0, 0, 1, 1]
    assert labelling.notices == ()


def test_class_names_are_in_natural_order() -> None:
    labelling = label("10/a", "10/b", "9/a", "9/b", "x2/a", "x2/b", "x10/a", "x10/b")
    assert labelling.label_names == ("9", "10", "x2", "x10")
    assert labelling.labels is not None
    assert labelling.labels.tolist() == [1, 1, 0, 0, 2, 2, 3, 3]


def test_a_flat_folder_has_no_labels_and_no_notice() -> None:
    labelling = label("1.png", "2.png")
    assert labelling.labels is None
    assert labelling.notices == ()


def test_an_image_outside_the_folders_disables_labels() -> None:
    labelling = label("1.png", "a/1.png", "a/2.png")
    assert labelling.labels is None
    assert labelling.label_names == ()
    assert "1 of the images are in the folder root itself" in labelling.notices[0].text


def test_a_single_class_gives_no_labels() -> None:
    labelling = label("cats/1.png", "cats/2.png")
    assert labelling.labels is None
    assert labelling.label_names == ()
    assert "one class (cats)" in labelling.notices[0].text


def test_a_class_without_readable_images_is_dropped() -> None:
    labelling = label("a/1", "a/2", "c/1", "c/2", unreadable=("b10", "b9", "a"))
    assert labelling.label_names == ("a", "c")
    assert tuple(map(str, labelling.notices)) == ("Classes without any readable image were dropped: b9, b10.",)


def test_classes_of_a_single_image_are_rejected() -> None:
    with pytest.raises(DataError, match=r"only 1 in: b, c\. .*--no-labels"):
        label("a/1", "a/2", "b/1", "c/1", unreadable=("b",))


def test_equal_labels_are_reported_and_not_used() -> None:
    found = label_by_table({"label": ["cat", None, "cat"]})
    assert found.labels is None
    assert tuple(map(str, found.notices)) == ("All labels are the same (cat), so they are not used.",)


AGES: list[Cell] = list(range(20, 50))


@pytest.mark.parametrize(
    ("requested", "name", "kind"),
    [
        ("age", "age", None),
        ("age:number", "age", "number"),
        ("age:class", "age", "class"),
        ("age:Number", "age:Number", None),
        ("age:", "age:", None),
        (":class", ":class", None),
        ("a:class:class", "a:class", "class"),
        ("a:b", "a:b", None),
    ],
)
def test_only_number_and_class_are_types(requested: str, name: str, kind: str | None) -> None:
    assert name_and_kind(requested) == (name, kind)


@pytest.mark.parametrize(
    ("wanted", "cells", "expected"),
    [
        ("c", AGES, Number("c", 34.5, (899 / 12) ** 0.5, 20.0, 49.0)),
        ("c:class", AGES, Category("c", tuple(map(str, AGES)))),
        ("c", [1, 2, 1], Category("c", ("1", "2"))),
        ("c:number", [1, 3], Number("c", 2.0, 1.0, 1.0, 3.0)),
        ("c:class", [1.0, 0.5, None], Category("c", ("0.5", "1"))),
        ("c:number", ["007", "9", "old", None], Number("c", 8.0, 1.0, 7.0, 9.0)),
        ("c", ["cat", "NA", "dog", None], Category("c", ("cat", "dog"))),
        ("c:class", ["cat", "NA", "dog", None], Category("c", ("cat", "dog", "NA"))),
        ("label", AGES, Category("label", tuple(map(str, AGES)))),
        ("label:number", [1, 3], Number("label", 2.0, 1.0, 1.0, 3.0)),
        ("label", [1.0, 3.0], Number("label", 2.0, 1.0, 1.0, 3.0)),
    ],
)
def test_a_column_has_the_requested_type_or_that_of_its_cells(
    wanted: str, cells: list[Cell], expected: Category | Number
) -> None:
    columns = {wanted.partition(":")[0]: cells, "more": ["x"] * len(cells)}
    found = encoded(requested_columns(columns, [wanted]))
    learned = (Category(expected.name, found.label_names),) if found.label_names else found.columns
    assert [column.name for column in learned] == [expected.name]
    if isinstance(expected, Category):
        assert isinstance(learned[0], Category)
        assert set(learned[0].values) == set(expected.values)
    else:
        assert learned == (expected,)


def test_a_column_without_numbers_cannot_be_numeric() -> None:
    with pytest.raises(
        DataError, match=r"no cell of the column c is a number such as 2\.5; the first is: cat\. .*--condition c:class"
    ):
        requested_columns({"c": ["cat", "NA"]}, ["c:number"])


def test_folders_are_the_column_label_if_the_table_has_none() -> None:
    assert requested_columns({}, ["label"], ["NA", "cat"]) == {"label": ["NA", "cat"]}
    assert requested_columns({"label": ["x", "y"]}, ["label"], ["NA", "cat"]) == {"label": ["x", "y"]}
    with pytest.raises(DataError, match="no column 'label'; the columns are: age"):
        requested_columns({"age": [1, 2]}, ["label"])
    with pytest.raises(DataError, match="no column 'size'; the columns are: label, age"):
        requested_columns({"age": [1, 2]}, ["size"], ["a", "b"])


def test_missing_words_in_the_column_label_are_not_classes() -> None:
    found = label_by_table(requested_columns({"label": ["cat", "NA", "dog", "null"]}, ["label"]))
    assert found.labels is not None
    assert (found.label_names, found.labels.tolist()) == (("cat", "dog"), [0, -1, 1, -1])
    assert label_by_table(requested_columns({"label": AGES}, ["label"])).label_names == tuple(map(str, AGES))


MIXED: list[Cell] = ["1", "2", "old"]
READ = Notice("columns", 'c: decimal comma; missing: 3 cells "NA".', "--condition c:class", matters=False)
UNREAD = Notice("columns", 'c: text, since not a number: 1 cell "old".', "--condition c:number", matters=False)


@pytest.mark.parametrize(
    ("cells", "learned", "read", "text", "flag", "matters"),
    [
        ([0.5, 12.0], "", [], "c: numbers 0.5 to 12.", "class", False),
        ([0.5, 12.0], "c", [], "c: numbers 0.5 to 12.", "class", False),
        ([0.5, 12.0], "", [READ], 'c: numbers 0.5 to 12 (decimal comma; missing: 3 cells "NA").', "class", False),
        ([0.5, 12.0], "c", [READ], 'c: numbers 0.5 to 12 (decimal comma; missing: 3 cells "NA").', "class", True),
        ([0.5, 12.0], "c:class", [], "c: 2 classes 0.5, 12.", "number", False),
        (AGES, "c", [], "c: numbers 20 to 49 (30 different integers).", "class", True),
        (AGES, "c:number", [], "c: numbers 20 to 49.", "class", False),
        ([1, 2, 3], "c", [], "c: 3 classes 1, 2, 3.", "number", True),
        ([0, 1], "c", [], "c: 2 classes 0, 1.", "number", False),
        (["x", "y"], "c", [], "c: 2 classes x, y.", "", False),
        (list("abcdefghij"), "c", [], "c: 10 classes a, b, c, d, e, f, g, h and 2 more.", "", False),
        (["x", "y", "NA"], "c", [], 'c: 2 classes x, y (missing: 1 cell "NA").', "class", True),
        (["x", "y", "NA"], "c:class", [], "c: 3 classes NA, x, y.", "", False),
        (
            ["1", "2", "old"],
            "c",
            [UNREAD],
            'c: 3 classes 1, 2, old (text, since not a number: 1 cell "old").',
            "number",
            True,
        ),
        (
            ["1", "2", "old"],
            "c:number",
            [UNREAD],
            'c: numbers 1 to 2 (taken as missing: 1 cell "old").',
            "class",
            True,
        ),
        ([None, None], "", [], "c: no filled cell.", "", False),
        (
            [str(i) for i in range(1001)],
            "",
            [],
            "c: text, 1,001 different values, too many for classes.",
            "number",
            False,
        ),
    ],
)
def test_the_type_of_every_column_is_reported(
    cells: list[Cell], learned: str, read: list[Notice], text: str, flag: str, matters: bool
) -> None:
    other = Notice("table", "something else.", matters=False)
    wanted = [learned] if learned else []
    found = column_notices({"c": cells, "more": ["x"]}, wanted, [*read, other])
    assert found[0] == other
    assert found[1] == Notice("columns", text, flag and f"--condition c:{flag}", matters)
    assert [notice.text for notice in found[2:]] == ["more: 1 class x."]
