"""`--help` fits one screen, and `--help-all` is complete; both are fast."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from sfumato.cli import VERBS, Train, parse
from sfumato.training.config import TrainConfig
from sfumato.training.presets import PRESETS

from .conftest import Command

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HEAVY = {"torch", "numpy", "matplotlib", "sklearn", "PIL", "safetensors", "pydantic", "sfumato.training.loop"}


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["sample", "--help-all"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = f"""
import json, sys
from sfumato.cli import main
try:
    code = main({arguments})
except SystemExit as left:
    code = left.code
print(json.dumps([code, *sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    code, *modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert "sfumato.cli" in modules
    assert not HEAVY & set(modules)


def flags(table: DataclassInstance) -> list[str]:
    """The flags of all settings of a dataclass and of its nested ones."""
    found = []
    for field in fields(table):
        value = getattr(table, field.name)
        found += (
            flags(value)
            if is_dataclass(value) and not isinstance(value, type)
            else ["--from" if field.name == "start" else "--" + field.name.replace("_", "-")]
        )
    return found


def test_every_setting_is_a_flag_with_help(sfumato: Command) -> None:
    outcome = sfumato("train", "--help-all")
    settings = set(flags(TrainConfig(source=""))) - {"--source"}
    assert outcome.code == 0
    assert settings | {"--out", "--device", "--cache"} <= set(re.findall(r"--[a-z-]+", outcome.out))
    assert len(settings) == 55


def test_train_help_shows_defaults_that_are_chosen_automatically(sfumato: Command) -> None:
    usual, paper = (
        " ".join(sfumato("train", *flags, "--help-all").out.replace("│", " ").split())
        for flags in ((), ("--preset", "ddpm"))
    )
    assert "--width INT" in usual
    assert "Channels of the first level. (default: automatic)" in usual
    assert "Channels of the first level. (default: 128)" in paper


def test_a_setting_of_a_preset_can_be_reset_to_automatic(unchecked: None) -> None:
    del unchecked
    verb = parse(["train", "photos", "--preset", "ddpm", "--width", "None"])
    assert isinstance(verb, Train)
    assert verb.config.network.width is None


@pytest.mark.parametrize("flags", [*([verb] for verb in VERBS), ["train", "--preset", "ddpm"]], ids=" ".join)
def test_help_shows_a_default_for_every_flag(flags: list[str], sfumato: Command) -> None:
    text = sfumato(*flags, "--help-all").out
    assert "None" not in text
    assert "(default: )" not in text


def examples(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip().startswith("sfumato ")]


@pytest.mark.parametrize("arguments", [[], *([verb] for verb in VERBS)], ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_fits_one_screen(arguments: list[str], flag: str, sfumato: Command) -> None:
    outcome = sfumato(*arguments, flag)
    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert lines[0].startswith(" ".join(["usage: sfumato", *arguments]))
    assert len(lines) < 24
    assert max(map(len, lines)) < 80


@pytest.mark.parametrize("name", VERBS)
def test_the_short_help_shows_flags_and_defaults_of_the_full_one(name: str, sfumato: Command) -> None:
    short, full = (sfumato(name, flag).out.replace("│", " ").replace("\n", " ") for flag in ("--help", "--help-all"))
    shown = set(re.findall(r"(?<= )--[a-z-]+(?= )", short)) - {"--help-all"}
    assert shown
    assert shown <= set(re.findall(r"--[a-z-]+", full))
    assert f"All flags: sfumato {name} --help-all" in short


@pytest.mark.parametrize("name", VERBS)
def test_a_command_without_arguments_names_what_is_missing(name: str, sfumato: Command) -> None:
    outcome = sfumato(name)
    usage = sfumato(name, "--help").out.splitlines()[0].removeprefix("usage: ")
    assert outcome.code == 2
    assert outcome.error.startswith(f"sfumato: sfumato {name} was called without {usage.split()[2]}. Usage: {usage}.")


def test_no_arguments_show_the_commands(sfumato: Command) -> None:
    assert sfumato().error == sfumato("--help").out


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", VERBS)
def test_every_example_can_be_parsed(name: str) -> None:
    for example in examples(VERBS[name].__doc__):
        assert isinstance(parse(shlex.split(example)[1:]), VERBS[name])


def test_the_list_of_verbs_shows_the_first_line_of_each(sfumato: Command) -> None:
    shown = sfumato("--help").out
    for name, verb in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape((verb.__doc__ or '').splitlines()[0])}$", shown, re.MULTILINE)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", VERBS)
def test_the_full_help_is_filled_to_the_width_of_the_terminal(
    name: str, columns: int, sfumato: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    usage, *lines = sfumato(name, "--help-all").out.splitlines()
    assert usage.startswith(f"usage: sfumato {name}")
    width = max(map(len, lines))
    assert width <= columns
    for line, after in pairwise(lines):
        indent = len(after) - len(after.lstrip())
        if after.strip() and indent > 5 and line[indent - 2 : indent].isspace():
            assert len(line.rstrip()) + len(" ") + len(after.split()[0]) > width, f"{line}\n{after}"


@pytest.mark.parametrize(
    ("source", "preset", "expected"),
    [("digits", None, "tiny"), ("photos", None, "default"), ("digits", "ddpm", "ddpm"), ("photos", "tiny", "tiny")],
)
def test_flags_override_the_given_preset_or_the_default_one(
    source: str, preset: str | None, expected: str, unchecked: None
) -> None:
    del unchecked
    verb = parse(["train", source, *(["--preset", preset] if preset else []), "--seed", "7"])
    assert isinstance(verb, Train)
    config = verb.config
    assert (config.source, config.preset, config.optimization.seed) == (source, expected, 7)
    assert config.network == PRESETS[expected].network
