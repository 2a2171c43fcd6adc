"""Natural order: the numbers inside names count by their value."""

import re


def natural_key(name: str) -> tuple[list[str | int], str]:
    """A key that sorts the numbers in names by value.

    >>> sorted(["10", "9", "b2", "b10"], key=natural_key)
    ['9', '10', 'b2', 'b10']
    """
    parts = re.split(r"(\d+)", name)
    return [int(part) if part.isdecimal() else part.casefold() for part in parts], name
