"""A store is kept for each set of options that changes what it holds."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from images import noise, png, write
from sfumato.data.cache import open_store
from sfumato.data.sources import ReadOptions, open_source

DIFFERENT = {
    "size": (5, 5),
    "fit": "pad",
    "channels": "grey",
    "pages": "first",
    "split": "none",
    "nodata": 3.0,
    "name_encoding": "cp932",
}
SAME: dict[str, object] = {"split": "test", "range": (0.0, 9.0)}


def test_every_option_is_known_here() -> None:
    assert {field.name for field in fields(ReadOptions)} == DIFFERENT.keys() | SAME.keys()


def test_options_that_change_the_content_have_stores_of_their_own(tmp_path: Path) -> None:
    root = write(tmp_path / "x", {f"{n}.png": png(noise(6, 6, 3, seed=n)) for n in range(2)})

    def place(**changed: object) -> Path:
        options = replace(ReadOptions(), **changed)  # type: ignore[arg-type]
        return open_store(open_source(root, options), options, tmp_path / "cache").folder

    usual = place()
    assert len({usual, *(place(**{name: value}) for name, value in DIFFERENT.items())}) == 1 + len(DIFFERENT)
    assert {place(**{name: value}) for name, value in SAME.items()} == {usual}
