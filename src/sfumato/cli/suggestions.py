"""Mistakes in a command line, found before it is parsed and explained in a sentence: a misspelt name, a wrong value."""

import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from itertools import takewhile
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from sfumato.errors import ConfigError

NUMBERS: dict[Any, tuple[Callable[[str], object], str, str]] = {
    int: (int, "a whole number", "20"),
    float: (float, "a number", "0.5"),
}
"""How a number is read, what it is called, and an example."""

EVERYWHERE = ("-h", "--help", "--version")
"""Flags that need no command."""


def check(arguments: Sequence[str], verbs: Sequence[type]) -> None:
    """Raises `ConfigError` for the first mistake in a command line; what is not known here is left to the parser.

    Args:
        arguments: as they were typed, without the name of the program.
        verbs: the dataclasses of the commands.
    """
    known = {verb.__name__.lower(): verb for verb in verbs}
    name = arguments[0] if arguments else EVERYWHERE[0]
    if name in EVERYWHERE or name.startswith("--tyro-"):
        return
    if name.startswith("-"):
        remedy = (
            f"{_suggestion(name, EVERYWHERE)}Write: sfumato COMMAND, and flags behind it; sfumato --help lists all."
        )
        raise ConfigError(f"the flag {name} stands before a command", remedy)
    if name not in known:
        remedy = f"{_suggestion(name, known)}The commands are: {', '.join(known)}."
        raise ConfigError(f"there is no command {name!r}", remedy)
    leaves = list(_leaves(known[name]))
    _check_words(name, arguments[1:], [kind for _, kind, is_word in leaves if is_word])
    settings = {flag: kind for flag, kind, is_word in leaves if not is_word}
    for flag, values in _flags(arguments[1:]):
        _check_flag(name, flag, values, settings)


def _suggestion(word: str, known: Iterable[str]) -> str:
    """Did you mean one of these? Empty if nothing is near."""
    near = get_close_matches(word, list(known), n=2, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}? " if near else ""


def _leaves(table: type) -> Iterator[tuple[str, Any, bool]]:
    """The settings of a dataclass and those in it: each one's flag, its type, and whether it is a word without flag."""
    hints = get_type_hints(table, include_extras=True)
    for field in fields(table):
        kind, marks = _bare(hints[field.name])
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _leaves(kind)
        else:
            yield f"--{field.name.replace('_', '-')}", kind, tyro.conf.Positional in marks


def _check_words(verb: str, arguments: Sequence[str], kinds: list[Any]) -> None:
    """Raises `ConfigError` if there are more words before the flags than the verb takes."""
    words = list(takewhile(lambda word: not word.startswith("-"), arguments))
    if len(words) > len(kinds) and not any(get_origin(kind) is tuple for kind in kinds):
        extra = " ".join(words[len(kinds) :])
        remedy = f"Put a path with spaces in quotes. What it takes: sfumato {verb} --help."
        raise ConfigError(f"sfumato {verb} was given {extra!r} besides {' '.join(words[: len(kinds)])!r}", remedy)


def _bare(kind: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401 (any type)
    """A type and what annotates it."""
    if get_origin(kind) is not Annotated:
        return kind, ()
    inner, *marks = get_args(kind)
    return inner, tuple(marks)


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with the words behind it, which for a flag of one value are not all its own."""
    current: tuple[str, list[str]] | None = None
    for argument in arguments:
        if argument.startswith("--") and len(argument) > 2:
            if current is not None:
                yield current
            flag, equals, value = argument.partition("=")
            current = flag.replace("_", "-"), [value] if equals else []
        elif current is not None:
            current[1].append(argument)
    if current is not None:
        yield current


def _check_flag(verb: str, flag: str, values: list[str], settings: dict[str, Any]) -> None:
    """Raises `ConfigError` if the verb has no such flag, or the values are not of its type."""
    if flag == "--help":
        return
    known = settings | {f"--no-{name[2:]}": bool for name, kind in settings.items() if kind is bool}
    if flag not in known:
        remedy = f"{_suggestion(flag, known)}All of them: sfumato {verb} --help."
        raise ConfigError(f"sfumato {verb} has no flag {flag}", remedy)
    kind = known[flag]
    options = _options(kind)
    if kind is bool or (type(None) in options and values[:1] == ["None"]):
        return
    types_given = [option for option in options if option is not type(None)]
    _check_values(flag, values, types_given[0] if len(types_given) == 1 else str)


def _options(kind: Any) -> tuple[Any, ...]:  # noqa: ANN401 (any type)
    """The types of a union, or the one type."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _check_values(flag: str, values: list[str], kind: Any) -> None:  # noqa: ANN401 (any type)
    """Raises `ConfigError` unless the values begin with those that a flag of this type takes."""
    if get_origin(kind) is Literal:
        _check_choice(flag, values, get_args(kind))
        return
    items = get_args(kind) if get_origin(kind) is tuple else (kind,)
    read, called, example = NUMBERS.get(items[0], (str, "a value", ""))
    if Ellipsis in items:
        needed, takes, own = 0, f"{called} or several", values
    else:
        needed, own = len(items), values[: len(items)]
        takes = called if needed == 1 else f"{needed} values, each {called}"
    such_as = f", such as {flag} {example}" if example and needed < 2 else ""
    remedy = f"It takes {takes}{such_as}."
    if len(own) < needed:
        raise ConfigError(
            f"{flag} {' '.join(own)} lacks a value" if own else f"{flag} was given without a value", remedy
        )
    for value in own:
        try:
            read(value)
        except ValueError as error:
            raise ConfigError(f"{flag} {value} is not {called}", remedy) from error


def _check_choice(flag: str, values: list[str], choices: tuple[str, ...]) -> None:
    """Raises `ConfigError` unless the first value is one of the choices."""
    if not values:
        raise ConfigError(f"{flag} was given without a value", f"Choose among: {', '.join(choices)}.")
    if values[0] not in choices:
        remedy = f"{_suggestion(values[0], choices)}Choose among: {', '.join(choices)}."
        raise ConfigError(f"{flag} {values[0]} is not one of its values", remedy)
