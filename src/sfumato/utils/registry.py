"""Named parts with settings: "heun", "ddim:eta=0.5", "karras:rho=5".

A registry is a dictionary, so that a part from outside the package needs one line: `SOLVERS["mine"] = Mine()`.
"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

from sfumato.errors import SfumatoError

Part = TypeVar("Part")

BOOLEANS = {"true": True, "false": False}

KINDS = {bool: "choice between true and false", int: "whole number", float: "number", str: "word"}


class Registry(dict[str, Part], Generic[Part]):
    """Parts of one kind by name. The fields of a part that is a frozen dataclass are its settings.

    Args:
        kind: name of the kind, for error messages, such as "solver".
        error: raised for unknown names and settings.
        parts: the parts by name.
    """

    def __init__(self, kind: str, error: type[SfumatoError], parts: Mapping[str, Part]) -> None:
        super().__init__(parts)
        self.kind, self.error = kind, error

    def parse(self, text: str) -> Part:
        """The part that `text` names, with the settings in it.

        Args:
            text: NAME or NAME:SETTING=VALUE,SETTING=VALUE.

        Raises:
            SfumatoError: as `error`, for an unknown name, setting or value; lists what is possible.
        """
        name, _, settings = text.partition(":")
        if name not in self:
            raise self.error(f"the {self.kind} {name!r} is unknown", f"Choose among: {', '.join(self)}.")
        changes: dict[str, object] = {}
        for setting in filter(None, settings.split(",")):
            key, _, value = setting.partition("=")
            if key in changes:
                raise self.error(f"{key} of the {self.kind} {name!r} was given twice", "Give each setting once.")
            changes[key] = self._value(name, key, value)
        return replace(self[name], **changes) if changes else self[name]  # type: ignore[type-var]  # has settings

    def _value(self, name: str, key: str, text: str) -> object:
        """`text` as a value of the type of the setting `key`."""
        known = settings_of(self[name])
        if key not in known:
            possible = ", ".join(f"{setting}={value}" for setting, value in known.items())
            remedy = f"It has: {possible}." if known else f"It has none: write {name} alone."
            raise self.error(f"the {self.kind} {name!r} has no setting {key!r}", remedy)
        kind = type(known[key])
        try:
            value = BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            value = math.nan
        if value != value:
            problem = f"{key}={text} of the {self.kind} {name!r} is not a {KINDS[kind]}"
            raise self.error(problem, f"Its default is {known[key]}.")
        return value


def settings_of(part: object) -> dict[str, Any]:
    """The settings of a part that can be given in text, with their values: its numbers and words."""
    if not is_dataclass(part):
        return {}
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return {key: value for key, value in values.items() if isinstance(value, bool | int | float | str)}
