"""`--condition` in training and sampling."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit import lit_halves
from sfumato.training import run_directory
from sfumato.utils.captions import HEIGHT

from .conftest import TINY, Command, Outcome, run_main

QUICK = ("--steps", 4, "--device", "cpu", "--seed", 0)


@pytest.fixture(scope="session")
def lit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps with the columns light and side; read only."""
    out = tmp_path_factory.mktemp("runs") / "lit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_directory, "read_images", lambda *_, **__: lit_halves(40))
        flags = [*TINY, "--out", str(out), "--images", "24", "--condition", "light,side"]
        assert run_main(["train", "lit", *flags]) == 0
    return out


def samples(sfumato: Command, run: Path, out: Path, *flags: object) -> Outcome:
    """`sfumato sample` in few steps."""
    outcome = sfumato("sample", run, "--out", out, *QUICK, *flags)
    assert outcome.code == 0, outcome.error
    return outcome


def test_metadata_has_the_conditions_of_each_image(sfumato: Command, lit: Path, tmp_path: Path) -> None:
    outcome = samples(
        *(sfumato, lit, tmp_path / "a", "--count", 5, "--batch", 2),
        *("--condition", "light=0.3", "side=left", "side=right"),
    )
    records = [json.loads(line) for line in (tmp_path / "a" / "images" / "metadata.jsonl").read_text().splitlines()]
    sides = ["left", "right", "left", "right", "left"]
    assert records == [{"file_name": f"{i:06d}.png", "light": 0.3, "side": side} for i, side in enumerate(sides)]
    assert "beyond" not in outcome.error
    with Image.open(tmp_path / "a" / "grid.png") as grid:
        assert grid.size == (2 * 64 + 3 * 2, HEIGHT + 3 * 64 + 4 * 2)


def test_each_grid_column_is_one_combination_of_values(sfumato: Command, lit: Path, tmp_path: Path) -> None:
    values = ("light=0.3", "light=0.5", "light=0.7", "side=left", "side=right")
    samples(sfumato, lit, tmp_path / "a", "--count", 12, "--condition", *values)
    with Image.open(tmp_path / "a" / "grid.png") as grid:
        assert grid.size == (6 * 64 + 7 * 2, HEIGHT + 2 * 64 + 3 * 2)


def test_an_archive_has_an_array_per_conditioned_column(sfumato: Command, lit: Path, tmp_path: Path) -> None:
    samples(sfumato, lit, tmp_path / "a.npz", "--count", 3, "--condition", "side=right", "light=0.5", "light=0.25")
    with np.load(tmp_path / "a.npz") as content:
        assert set(content) == {"images", "labels", "seed", "condition.light", "condition.side"}
        assert content["labels"].tolist() == [-1] * 3
        assert content["condition.light"].tolist() == [0.5, 0.25, 0.5]
        assert content["condition.side"].tolist() == ["right"] * 3


def test_without_conditions_samples_have_no_metadata(sfumato: Command, lit: Path, tmp_path: Path) -> None:
    samples(sfumato, lit, tmp_path / "a", "--count", 2)
    assert not (tmp_path / "a" / "images" / "metadata.jsonl").exists()
    samples(sfumato, lit, tmp_path / "a.npz", "--count", 2)
    with np.load(tmp_path / "a.npz") as content:
        assert set(content) == {"images", "labels", "seed"}


@pytest.mark.parametrize(
    "flags",
    [
        ["--condition", "light=0.9"],
        ["--condition", "light=0.2"],
        ["--condition", "side=left"],
        ["--condition", "side=right"],
        ["--condition", "side=right", "--guidance", 3],
    ],
)
@pytest.mark.slow
def test_every_condition_changes_the_image(flags: list[object], sfumato: Command, lit: Path, tmp_path: Path) -> None:
    for name, these in (("plain", []), ("conditioned", flags)):
        samples(sfumato, lit, tmp_path / f"{name}.npz", "--count", 1, *these)
    with np.load(tmp_path / "plain.npz") as plain, np.load(tmp_path / "conditioned.npz") as conditioned:
        assert not np.array_equal(plain["images"], conditioned["images"])


def test_a_number_outside_the_training_range_prints_a_notice(sfumato: Command, lit: Path, tmp_path: Path) -> None:
    outcome = samples(sfumato, lit, tmp_path / "a", "--count", 1, "--condition", "light=2")
    assert "sfumato: light=2 is outside the range of the training images, 0." in outcome.error


def test_interpolation_can_be_conditioned(sfumato: Command, lit: Path, tmp_path: Path) -> None:
    settings = ("--count", 2, "--frames", 3, "--clip", "static", *QUICK)
    for name, flags in (("a", []), ("b", ["--condition", "light=0.9", "side=left"])):
        outcome = sfumato("interpolate", lit, "--out", tmp_path / name, *settings, *flags)
        assert outcome.code == 0, outcome.error
    one, other = (np.asarray(Image.open(tmp_path / name / "frames" / "000000.png")) for name in "ab")
    assert not np.array_equal(one, other)


INVALID = [
    ("sample", "--condition size=3", "does not know the column 'size'. It knows: light (0."),
    ("sample", "--condition side=top", "does not know the side 'top'. It knows: left, right"),
    ("sample", "--condition light=much", "light cannot be 'much'. Give a number such as 0."),
    ("sample", "--condition light", "'light' is not written as COLUMN=VALUE"),
    ("sample", "--condition light=", "'light=' is not written as COLUMN=VALUE"),
    ("sample", "--condition =3", "'=3' is not written as COLUMN=VALUE"),
    ("sample", "--condition light=0.3 --label left", "--label and --condition were both given"),
    ("sample", "--condition light=0.3 --condition side=left", "--condition was given more than once"),
    ("sample", "--label left", "does not know the column 'label'. It knows: light"),
    ("sample", "--guidance 2", "classifier-free guidance was given no labels"),
    ("interpolate", "--condition side=left side=right", "Give one value for each column"),
    ("interpolate", "--condition side=top", "does not know the side 'top'"),
    ("interpolate", "--label left", "does not know the column 'label'"),
]


@pytest.mark.parametrize(("verb", "flags", "message"), INVALID)
def test_an_invalid_condition_is_rejected(
    verb: str, flags: str, message: str, sfumato: Command, lit: Path, tmp_path: Path
) -> None:
    outcome = sfumato(verb, lit, "--out", tmp_path / "out", *QUICK, *flags.split())
    assert outcome.code == 2
    assert message in outcome.error
    assert "Traceback" not in outcome.error
    assert not (tmp_path / "out").exists()


def test_folder_classes_are_the_column_label(sfumato: Command, run: Path, tmp_path: Path) -> None:
    for name, flags in (("a", ["--label", "dog"]), ("b", ["--condition", "label=dog"])):
        samples(sfumato, run, tmp_path / f"{name}.npz", "--count", 2, *flags)
    with np.load(tmp_path / "a.npz") as one, np.load(tmp_path / "b.npz") as other:
        assert set(one) == set(other)
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_an_unconditional_model_rejects_conditions(sfumato: Command, unlabelled: Path, tmp_path: Path) -> None:
    outcome = sfumato("sample", unlabelled, "--out", tmp_path / "out", "--condition", "age=3")
    assert outcome.code == 2
    assert "the age '3' was given to a model that knows no classes" in outcome.error


def test_show_prints_the_columns(sfumato: Command, lit: Path) -> None:
    assert "side (left, right)" in sfumato("show", lit).out
    light, side = json.loads(sfumato("show", lit, "--json").out)["columns"]
    assert (light["name"], light["kind"]) == ("light", "number")
    assert side == {"name": "side", "values": ["left", "right"], "kind": "category"}


def test_explain_plots_a_conditional_model(
    sfumato: Command, lit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_directory, "read_images", lambda *_, **__: lit_halves(40))
    assert sfumato("explain", lit, "--out", tmp_path).code == 0
    assert (tmp_path / "reverse.png").is_file()
