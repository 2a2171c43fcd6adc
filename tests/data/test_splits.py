"""Training, validation and test images stay apart."""

from __future__ import annotations

import pytest

from sfumato.data.splits import divided
from sfumato.errors import DataError

SPLITS = ["train", "test", "train", None, "validation", "extra", "train"]


@pytest.mark.parametrize(
    ("wanted", "learned", "others"),
    [
        ("auto", [0, 2, 6], {"validation": [4], "test": [1]}),
        ("all", [0, 1, 2, 3, 4, 5, 6], {}),
        ("none", [0, 1, 2, 3, 4, 5, 6], {}),
        ("test", [1], {}),
        ("extra", [5], {}),
    ],
)
def test_each_split_has_its_use(wanted: str, learned: list[int], others: dict[str, list[int]]) -> None:
    division = divided("the folder x", SPLITS, wanted)
    assert (division.learned, division.others) == (learned, others)


def test_the_uses_are_said() -> None:
    (notice,) = divided("the folder x", SPLITS, "auto").notices
    assert notice.text == (
        "Splits: 3 in train are learned; 1 in test are kept for sfumato eval; 1 in validation are for validation; "
        "1 in extra are not used."
    )
    assert notice.flag == "--split NAME|all|none"


def test_without_splits_every_image_is_learned() -> None:
    assert divided("the folder x", [None, None], "auto") == ([0, 1], {}, ())


@pytest.mark.parametrize(
    ("splits", "wanted", "message"),
    [
        (["test", "validation"], "auto", r"has the splits test \(1 images\), validation \(1 images\), but none for"),
        (["train", "test"], "dev", r"has no split 'dev', but: train"),
        ([None], "train", "has no split 'train', but: none"),
    ],
)
def test_a_split_that_is_not_there_is_an_error(splits: list[str | None], wanted: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        divided("the folder x", splits, wanted)
