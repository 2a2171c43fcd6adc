"""Parts by name, with their settings: "heun", "ddim:eta=0.5", "karras:rho=5".

A table of parts maps each name to one, a frozen dataclass; what follows the colon changes its fields.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from sfumato.errors import SfumatoError

Part = TypeVar("Part")

WORDS = {"true": True, "false": False}


def parse_part(table: Mapping[str, Part], text: str, what: str, error: type[SfumatoError]) -> Part:
    """The part that `text` names, changed as `text` says.

    Args:
        table: the parts by name.
        text: NAME or NAME:SETTING=VALUE,SETTING=VALUE.
        what: the kind of part, for messages.
        error: what to raise.

    Raises:
        SfumatoError: as `error`, for a name, setting or value that is unknown; lists what is possible.
    """
    name, _, settings = text.partition(":")
    if name not in table:
        raise error(f"the {what} {name!r} is unknown", f"Choose among: {', '.join(table)}.")
    part = table[name]
    changes = {}
    for setting in filter(None, settings.split(",")):
        key, _, value = setting.partition("=")
        if key in changes:
            raise error(f"{key} of the {what} {name!r} was given twice", "Give each setting once.")
        changes[key] = _value(part, name, key, value, what, error)
    return replace(part, **changes) if changes else part  # type: ignore[type-var]  # parts are dataclasses


def settings_of(part: object) -> dict[str, Any]:
    """The settings of a part that can be given by name, with their values: its numbers and words."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}  # type: ignore[arg-type]  # as above
    return {key: value for key, value in values.items() if isinstance(value, bool | int | float | str)}


def _value(part: object, name: str, key: str, text: str, what: str, error: type[SfumatoError]) -> object:
    """`text` as a value of the type that the setting `key` has now."""
    known = settings_of(part)
    if key not in known:
        possible = ", ".join(f"{setting}={value}" for setting, value in known.items())
        remedy = f"It has: {possible}." if known else f"It has none: write {name} alone."
        raise error(f"the {what} {name!r} has no setting {key!r}", remedy)
    kind = type(known[key])
    try:
        value = WORDS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        value = math.nan
    if value != value:
        raise error(f"{key}={text} of the {what} {name!r} is not a {_SPOKEN[kind]}", f"Its default is {known[key]}.")
    return value


_SPOKEN = {bool: "choice between true and false", int: "whole number", float: "number", str: "word"}
