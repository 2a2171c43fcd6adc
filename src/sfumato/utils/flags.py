"""Formatting of flags in `--help`: docstrings as paragraphs, and hints for flags without a default."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

PARAGRAPHS = ConstructorRegistry()
"""The rules of tyro, with each docstring reflowed to the width of the terminal.

Tyro keeps line breaks before indented lines, which all continuation lines of a docstring are.
"""

FILLED = object()
"""Marks a dataclass that `_filled` is processing, so that tyro's own rule applies to it."""


def optional_flag(metavar: str, hint: str) -> object:
    """Help of an optional flag.

    Args:
        metavar: placeholder of its value.
        hint: default to show where the field has none.
    """
    return tyro.conf.arg(
        metavar=metavar,
        help_behavior_hint=lambda default: f"(default: {hint if default in ('', 'None') else default})",
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
