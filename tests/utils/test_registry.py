"""Parts by name, with settings."""

from dataclasses import dataclass

import pytest

from sfumato.errors import SamplingError
from sfumato.utils.registry import Registry, settings_of


@dataclass(frozen=True)
class Part:
    """One setting of each kind, and one that no name can give."""

    count: int = 3
    share: float = 0.5
    loud: bool = False
    mode: str = "plain"
    inner: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Bare:
    """No settings."""


TABLE: Registry[object] = Registry(
    "thing", SamplingError, {"part": Part(), "loud-part": Part(loud=True), "bare": Bare()}
)


def part(text: str) -> object:
    return TABLE.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("part", Part()),
        ("bare", Bare()),
        ("part:", Part()),
        ("part:count=7", Part(count=7)),
        ("part:share=0.25", Part(share=0.25)),
        ("part:share=1", Part(share=1.0)),
        ("part:share=1e-3,count=-2", Part(share=0.001, count=-2)),
        ("part:loud=true", Part(loud=True)),
        ("part:loud=TRUE", Part(loud=True)),
        ("loud-part", Part(loud=True)),
        ("loud-part:loud=false,mode=odd", Part(mode="odd")),
    ],
)
def test_a_name_gives_the_part_with_its_settings(text: str, expected: object) -> None:
    assert part(text) == expected


def test_parsing_does_not_change_the_table() -> None:
    part("part:count=7")
    assert TABLE["part"] == Part()


def test_values_are_of_the_settings_type() -> None:
    assert type(part("part:share=1").share) is float  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prat", r"the thing 'prat' is unknown.*Choose among: part, loud-part, bare"),
        ("", r"the thing '' is unknown"),
        ("part:size=3", r"'part' has no setting 'size'.*count=3, share=0.5, loud=False, mode=plain\."),
        ("part:inner=3", r"'part' has no setting 'inner'"),
        ("bare:size=3", r"'bare' has no setting 'size'.*It has none: write bare alone"),
        ("part:count=2.5", r"count=2.5 of the thing 'part' is not a whole number.*default is 3"),
        ("part:count=", r"count= of the thing 'part' is not a whole number"),
        ("part:count", r"count= of the thing 'part' is not a whole number"),
        ("part:share=much", r"share=much of the thing 'part' is not a number.*default is 0.5"),
        ("part:share=nan", r"share=nan of the thing 'part' is not a number"),
        ("part:loud=1", r"loud=1 of the thing 'part' is not a choice between true and false"),
        ("part:count=3,size=3", r"no setting 'size'"),
        ("part:count=3,count=4", r"count of the thing 'part' was given twice"),
    ],
)
def test_unknown_names_are_rejected_with_the_valid_ones(text: str, message: str) -> None:
    with pytest.raises(SamplingError, match=message):
        part(text)


def test_settings_are_the_numbers_and_words() -> None:
    assert settings_of(Part()) == {"count": 3, "share": 0.5, "loud": False, "mode": "plain"}
    assert settings_of(Bare()) == {}
