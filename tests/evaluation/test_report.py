"""What a person reads of an evaluation: the worst classes first, numbers of as many images, warnings."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from sfumato.evaluation.report import MOST_CLASSES, classes, compared, rows, warning_of


def covered(share: float, images: int = 100) -> dict[str, Any]:
    return {"images": images, "real": 200, "precision": share, "recall": share, "density": 1.0, "coverage": share}


def recognised(**shares: float) -> dict[str, Any]:
    return {"samples": {"classes": {name: {"images": 50, "share": share} for name, share in shares.items()}}}


def shown(table: Table) -> list[list[str]]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return [line.split() for line in captured.get().splitlines()[1:]]


def test_the_worst_classes_come_first() -> None:
    found = {"coverage": {"classes": {"good": covered(0.9), "bad": covered(0.1), "middling": covered(0.5)}}}
    assert [row[0] for row in shown(classes(found))] == ["bad", "middling", "good"]
    assert shown(classes(found))[0] == ["bad", "100", "200", "0.100", "0.100", "1.000", "0.100"]


def test_a_class_that_is_not_recognised_is_a_bad_one() -> None:
    found = {
        "coverage": {"classes": {"a": covered(0.6), "b": covered(0.5)}},
        "agreement": recognised(a=0.0, b=1.0),
    }
    assert [(row[0], row[-1]) for row in shown(classes(found))] == [("a", "0.000"), ("b", "1.000")]


def test_classes_of_too_few_images_and_those_beyond_a_screenful_are_counted() -> None:
    known: dict[str, Any] = {f"class{number:03}": covered(number / 100) for number in range(MOST_CLASSES + 5)}
    *first, last = shown(classes({"coverage": {"classes": known | {"none": None}}}))
    assert [row[0] for row in first] == list(known)[:MOST_CLASSES]
    assert last == ["...", "and", "6", "more"]


def test_agreement_alone_has_a_table_too_and_without_classes_there_is_none() -> None:
    alone = classes({"agreement": recognised(a=0.5)})
    assert [column.header for column in alone.columns] == ["class, worst first", "samples", "agrees"]
    assert shown(alone)[0] == ["a", "50", "0.500"]
    assert not classes({"coverage": {"samples": covered(0.5)}}).row_count
    assert not classes({}).row_count


def test_recall_and_coverage_stand_beside_those_of_as_many_held_out_images() -> None:
    same = {"images": 40, "samples": covered(0.3), "held_out": None}
    found = {"coverage": {"samples": covered(0.5), "held_out": covered(0.9), "as_many": same}}
    listed = list(rows(found))
    assert listed[:3] == [
        ("precision", "0.5", "0.9"),
        ("recall", "0.5", "0.9"),
        ("  40 images each", "0.3", "too few images"),
    ]
    assert [row[0] for row in listed].count("  40 images each") == 2


def test_one_image_is_not_many() -> None:
    facts = {"subject": "drawn", "samples": 2_000, "train": 12, "held_out": 1, "features": "pixels"}
    assert (
        compared(facts) == "drawn: 2,000 samples beside 12 training images and 1 held-out real image; features pixels."
    )
    same = {"images": 1, "samples": None, "held_out": None}
    names = [row[0] for row in rows({"coverage": {"samples": covered(0.5), "held_out": None, "as_many": same}})]
    assert names.count("  1 image each") == 2


def test_shares_are_written_alike() -> None:
    found = {"agreement": {"samples": {"share": 0.977}, "held_out": None}}
    assert list(rows(found)) == [("classifier agrees", "97.7 %", "")]


@pytest.mark.parametrize(
    ("samples", "metrics", "warned"),
    [(9_999, {"distance"}, True), (9_999, {"coverage"}, True), (10_000, {"distance"}, False), (10, {"drift"}, False)],
)
def test_numbers_of_fewer_than_ten_thousand_carry_a_warning(samples: int, metrics: set[str], warned: bool) -> None:
    assert (warning_of(samples, dict.fromkeys(metrics)) is not None) == warned
