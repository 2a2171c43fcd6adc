"""The printed report: classes with the lowest scores first, values for equal numbers of images, and warnings."""

from __future__ import annotations

from typing import Any

from sfumato.evaluation.accuracy_metric import _class_columns as accuracy_columns
from sfumato.evaluation.accuracy_metric import _percent
from sfumato.evaluation.coverage_metric import CoverageMetric
from sfumato.evaluation.coverage_metric import _class_columns as coverage_columns
from sfumato.evaluation.metric import Measurement, ReportTable, Row, few_samples_warning
from sfumato.evaluation.report import MOST_CLASSES, class_table, image_counts, tables


def covered(share: float, images: int = 100) -> dict[str, Any]:
    return {"images": images, "real": 200, "precision": share, "recall": share, "density": 1.0, "coverage": share}


def recognised(**shares: float) -> dict[str, Any]:
    return {"classes": {name: {"images": 50, "share": share} for name, share in shares.items()}}


def test_classes_with_the_lowest_scores_come_first() -> None:
    table = class_table(coverage_columns({"good": covered(0.9), "bad": covered(0.1), "middling": covered(0.5)}))
    assert [row[0] for row in table.rows] == ["bad", "middling", "good"]
    assert table.rows[0] == ("bad", "100", "200", "0.100", "0.100", "1.000", "0.100")


def test_low_accuracy_lowers_the_rank_of_a_class() -> None:
    columns = [
        *coverage_columns({"a": covered(0.6), "b": covered(0.5)}),
        *accuracy_columns(recognised(a=0.0, b=1.0)),
    ]
    table = class_table(columns)
    assert table.titles == (
        *("worst classes", "samples", "real", "precision", "recall", "density", "coverage", "accuracy"),
    )
    assert [(row[0], row[1], row[-1]) for row in table.rows] == [("a", "50", "0.000"), ("b", "50", "1.000")]


def test_classes_without_values_or_beyond_the_limit_are_counted() -> None:
    known: dict[str, Any] = {f"class{number:03}": covered(number / 100) for number in range(MOST_CLASSES + 5)}
    *first, last = class_table(coverage_columns(known | {"none": None})).rows
    assert [row[0] for row in first] == list(known)[:MOST_CLASSES]
    assert last == ("... and 6 more",)


def test_accuracy_alone_has_a_table_of_classes() -> None:
    alone = class_table(accuracy_columns(recognised(a=0.5)))
    assert alone.titles == ("worst classes", "samples", "accuracy")
    assert alone.rows == [("a", "50", "0.500")]


def test_without_classes_the_table_of_classes_is_empty() -> None:
    assert not class_table(coverage_columns({})).rows
    assert not class_table(accuracy_columns(None)).rows


def test_recall_and_coverage_have_rows_for_equal_image_counts() -> None:
    equal = {"images": 40, "samples": covered(0.3), "held_out": None}
    rows = CoverageMetric().rows({"samples": covered(0.5), "held_out": covered(0.9), "as_many": equal})
    assert rows[:3] == [
        Row("precision", "0.5", "0.9"),
        Row("recall", "0.5", "0.9"),
        Row("  40 images each", "0.3", "too few images"),
    ]
    assert [row.label for row in rows].count("  40 images each") == 2


def test_one_image_is_written_in_the_singular() -> None:
    facts = {"subject": "drawn", "samples": 2_000, "train": 12, "held_out": 1, "features": "pixels"}
    assert (
        image_counts(facts)
        == "drawn: 2,000 samples compared with 12 training images and 1 held-out real image; features pixels."
    )
    equal = {"images": 1, "samples": None, "held_out": None}
    rows = CoverageMetric().rows({"samples": covered(0.5), "held_out": None, "as_many": equal})
    assert [row.label for row in rows].count("  1 image each") == 2


def test_tables_of_metrics_follow_the_common_tables() -> None:
    own = ReportTable(("a", "b"), [("1", "2")])
    found = [Measurement({}, rows=[Row("first", "1")], tables=[own]), Measurement({}, rows=[Row("second", "", "2")])]
    main, classes, last = tables(found)
    assert main.rows == [("first", "1", ""), ("second", "", "2")]
    assert not classes.rows
    assert last is own


def test_few_samples_give_a_warning() -> None:
    assert few_samples_warning(10_000) == ()
    (warning,) = few_samples_warning(9_999)
    assert "here 9,999" in warning


def test_accuracy_is_printed_in_percent() -> None:
    assert _percent({"share": 0.977}) == "97.7 %"
    assert _percent(None) == ""
