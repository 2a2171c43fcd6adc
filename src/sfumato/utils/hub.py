"""Names on the Hugging Face Hub, which start with hf: where a path may stand."""

import re
from pathlib import Path

from sfumato.errors import ConfigError

PREFIX = "hf:"

_PART = r"\w(?:[\w.-]{0,94}\w)?"
NAME = re.compile(rf"(?!.*(?:--|\.\.))(?:{_PART}/)?{_PART}(?<!\.git)", re.ASCII)
"""NAME or USER/NAME of a repository. The Hub allows these names only."""


def is_hub_name(path: str | Path) -> bool:
    """Whether a path starts with hf:."""
    return str(path).startswith(PREFIX)


def checked_name(name: str, kind: str = "repository") -> str:
    """USER/NAME of a repository or NAME of a data set, also from hf:NAME.

    Raises:
        ConfigError: the Hub does not allow the name.
    """
    identifier = name.removeprefix(PREFIX)
    if not NAME.fullmatch(identifier) or ("/" not in identifier and kind != "data set"):
        raise ConfigError(
            f"{name!r} is not the name of a {kind} on the Hub",
            "Write USER/NAME with letters, digits, '-', '_' and '.', where USER may be an organization: anna/flowers.",
        )
    return identifier
