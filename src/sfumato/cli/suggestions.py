"""Checks a command line before parsing, for error messages with suggestions: misspelt names and invalid values."""

import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from itertools import takewhile
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from sfumato.errors import ConfigError

NUMBERS: dict[Any, tuple[Callable[[str], object], str, str]] = {
    int: (int, "an integer", "20"),
    float: (float, "a number", "0.5"),
}
"""Parser, description and example of each type of number."""

MAY_BE_EMPTY = ("--attention",)
"""Flags with a list of values that may be empty: no attention."""

GLOBAL_FLAGS = ("-h", "--help", "--version")
"""Flags without a command."""


def check(arguments: Sequence[str], verbs: Sequence[type]) -> None:
    """Checks the arguments as far as the types of the flags allow; the parser finds all other errors.

    Args:
        arguments: command line without the name of the program.
        verbs: dataclasses of the commands.

    Raises:
        ConfigError: the first error, with a suggestion.
    """
    known = {verb.__name__.lower(): verb for verb in verbs}
    name = arguments[0] if arguments else GLOBAL_FLAGS[0]
    if name in GLOBAL_FLAGS or name.startswith("--tyro-"):
        return
    if name.startswith("-"):
        remedy = f"{_suggestion(name, GLOBAL_FLAGS)}Usage: sfumato COMMAND [FLAGS]. sfumato --help lists the commands."
        raise ConfigError(f"the flag {name} was given before a command", remedy)
    if name not in known:
        remedy = f"{_suggestion(name, known)}The commands are: {', '.join(known)}. For help: sfumato --help."
        raise ConfigError(f"unknown command {name!r}", remedy)
    settings = list(_settings(known[name]))
    _check_positionals(name, arguments[1:], [kind for _, kind, is_positional in settings if is_positional])
    flags = {flag: kind for flag, kind, is_positional in settings if not is_positional}
    for flag, values in given_flags(arguments[1:]):
        _check_flag(name, flag, values, flags)


def _suggestion(word: str, known: Iterable[str]) -> str:
    """A question with the closest known words, or an empty string."""
    close = get_close_matches(word, list(known), n=2, cutoff=0.6)
    return f"Did you mean {' or '.join(close)}? " if close else ""


def _settings(table: type) -> Iterator[tuple[str, Any, bool]]:
    """Yields flag, type and whether it is positional, for each setting of a dataclass and of its nested ones."""
    hints = get_type_hints(table, include_extras=True)
    for field in fields(table):
        kind, marks = _bare(hints[field.name])
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _settings(kind)
        else:
            named = next((mark.name for mark in marks if getattr(mark, "name", None)), field.name)
            yield f"--{named.replace('_', '-')}", kind, tyro.conf.Positional in marks


def _check_positionals(verb: str, arguments: Sequence[str], kinds: list[Any]) -> None:
    """Raises `ConfigError` if there are too many positional arguments before the flags."""
    words = list(takewhile(lambda word: not word.startswith("-"), arguments))
    if len(words) > len(kinds) and not any(get_origin(kind) is tuple for kind in kinds):
        extra, expected = " ".join(words[len(kinds) :]), " ".join(words[: len(kinds)])
        remedy = f"Quote a path with spaces. For usage: sfumato {verb} --help."
        raise ConfigError(f"sfumato {verb}: unexpected argument {extra!r} after {expected!r}", remedy)


def _bare(kind: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401 (any type)
    """A type and its annotations."""
    if get_origin(kind) is not Annotated:
        return kind, ()
    inner, *marks = get_args(kind)
    return inner, tuple(marks)


def given_flags(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields each flag with all words up to the next flag, some of which may be positional arguments."""
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


def _check_flag(verb: str, flag: str, values: list[str], flags: dict[str, Any]) -> None:
    """Raises `ConfigError` if the verb does not have the flag, or a value has another type."""
    if flag in ("--help", "--help-all"):
        return
    known = flags | {f"--no-{name[2:]}": bool for name, kind in flags.items() if kind is bool}
    if flag not in known:
        remedy = f"{_suggestion(flag, known)}For all flags: sfumato {verb} --help-all."
        raise ConfigError(f"sfumato {verb} has no flag {flag}", remedy)
    kind = known[flag]
    options = _options(kind)
    if kind is bool or (type(None) in options and values[:1] == ["None"]):
        return
    types_given = [option for option in options if option is not type(None)]
    _check_values(flag, values, types_given[0] if len(types_given) == 1 else str)


def _options(kind: Any) -> tuple[Any, ...]:  # noqa: ANN401 (any type)
    """The members of a union, or the type itself."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _check_values(flag: str, values: list[str], kind: Any) -> None:  # noqa: ANN401 (any type)
    """Raises `ConfigError` unless the first values match the type of the flag."""
    if get_origin(kind) is Literal:
        _check_choice(flag, values, get_args(kind))
        return
    items = get_args(kind) if get_origin(kind) is tuple else (kind,)
    parse, description, example = NUMBERS.get(items[0], (str, "a value", ""))
    if Ellipsis in items:
        needed, own = int(flag not in MAY_BE_EMPTY), values
        takes = "one or more values" + (f", each {description}" if items[0] in NUMBERS else "")
    else:
        needed, own = len(items), values[: len(items)]
        takes = description if needed == 1 else f"{needed} values, each {description}"
    such_as = f", such as {flag} {example}" if example and needed < 2 else ""
    remedy = f"It takes {takes}{such_as}."
    if len(own) < needed:
        raise ConfigError(
            f"{flag} {' '.join(own)} is missing a value" if own else f"{flag} was given without a value", remedy
        )
    for value in own:
        try:
            parse(value)
        except ValueError as error:
            raise ConfigError(f"{flag} {value} is not {description}", remedy) from error


def _check_choice(flag: str, values: list[str], choices: tuple[str, ...]) -> None:
    """Raises `ConfigError` unless the first value is a valid choice."""
    if not values:
        raise ConfigError(f"{flag} was given without a value", f"Choose among: {', '.join(choices)}.")
    if values[0] not in choices:
        remedy = f"{_suggestion(values[0], choices)}Choose among: {', '.join(choices)}."
        raise ConfigError(f"{flag} {values[0]} is not a valid choice", remedy)
