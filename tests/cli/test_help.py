"""Help is complete, and it is quick because nothing heavy is imported for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

import pytest

from sfumato.cli import Train, parse
from sfumato.presets import PRESETS
from sfumato.training.config import TrainConfig

from .conftest import Command

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HEAVY = {"torch", "numpy", "matplotlib", "sklearn", "PIL", "safetensors", "pydantic", "sfumato.trainer"}


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["sample", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = f"""
import json, sys
from sfumato.cli import main
try:
    main({arguments})
except SystemExit as left:
    print(json.dumps([left.code, *sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    code, *modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert "sfumato.cli" in modules
    assert not HEAVY & set(modules)


def flags(table: DataclassInstance) -> list[str]:
    """The flags of every setting in a table and in the tables inside."""
    found = []
    for field in fields(table):
        value = getattr(table, field.name)
        found += (
            flags(value)
            if is_dataclass(value) and not isinstance(value, type)
            else ["--" + field.name.replace("_", "-")]
        )
    return found


def test_every_setting_is_a_flag_with_help(sfumato: Command) -> None:
    outcome = sfumato("train", "--help")
    settings = set(flags(TrainConfig(source=""))) - {"--source"}
    assert outcome.code == 0
    assert settings | {"--out", "--device", "--cache"} <= set(re.findall(r"--[a-z-]+", outcome.out))
    assert len(settings) == 47


def test_train_says_in_words_what_follows_where_a_setting_is_left_out(sfumato: Command) -> None:
    usual, paper = (
        " ".join(sfumato("train", *flags, "--help").out.replace("│", " ").split())
        for flags in ((), ("--preset", "ddpm"))
    )
    for unspoken in ("{None}", "None:", "(default: None)", "(default: )"):
        assert unspoken not in usual + paper
    assert "--width INT" in usual
    assert "Channels of the first level. (default: what suits the run)" in usual
    assert "Channels of the first level. (default: 128)" in paper


def test_a_setting_that_a_preset_has_may_be_left_open(unchecked: None) -> None:
    del unchecked
    verb = parse(["train", "photos", "--preset", "ddpm", "--width", "None"])
    assert isinstance(verb, Train)
    assert verb.config.network.width is None


@pytest.mark.parametrize("verb", ["train", "sample", "interpolate", "show", "explain"])
def test_every_verb_has_help(verb: str, sfumato: Command) -> None:
    assert verb in sfumato("--help").out
    assert f"sfumato {verb}" in sfumato(verb, "--help").out


@pytest.mark.parametrize(
    ("source", "preset", "expected"),
    [("digits", None, "tiny"), ("photos", None, "default"), ("digits", "ddpm", "ddpm"), ("photos", "tiny", "tiny")],
)
def test_the_flags_begin_from_the_preset_that_suits_or_is_named(
    source: str, preset: str | None, expected: str, unchecked: None
) -> None:
    del unchecked
    verb = parse(["train", source, *(["--preset", preset] if preset else []), "--seed", "7"])
    assert isinstance(verb, Train)
    config = verb.config
    assert (config.source, config.preset, config.optimization.seed) == (source, expected, 7)
    assert config.network == PRESETS[expected].network
