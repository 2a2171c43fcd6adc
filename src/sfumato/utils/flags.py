"""How `--help` tells of settings: docstrings as paragraphs, and what follows where a setting is left out."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

PARAGRAPHS = ConstructorRegistry()
"""Tyro's rules, but the docstring of a setting is filled to the width of the terminal.

Tyro itself keeps the line breaks of the source: it takes an indented line for one that must stand alone.
"""

FILLED = object()
"""Marks a table of settings for which the rule below asks tyro's own."""


def optional_flag(metavar: str, words: str) -> object:
    """How a flag that may be left out is shown in the help: what it takes, and what follows if it has no default."""
    return tyro.conf.arg(
        metavar=metavar,
        help_behavior_hint=lambda default: f"(default: {words if default in ('', 'None') else default})",
    )


@PARAGRAPHS.struct_rule
def _filled(info: StructTypeInfo) -> StructConstructorSpec | None:
    if FILLED in info.markers:
        return None
    spec = ConstructorRegistry.get_struct_spec(replace(info, markers=(*info.markers, FILLED)))
    if not isinstance(spec, StructConstructorSpec):
        return None
    fields = (replace(field, helptext=partial(_paragraph, field.helptext)) for field in spec.fields)
    return replace(spec, fields=tuple(fields))


def _paragraph(text: str | Callable[[], str | None] | None) -> str | None:
    written = text() if callable(text) else text
    return written and " ".join(written.split())
