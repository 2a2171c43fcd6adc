"""Text helpers: escapes for text from files that is printed in a terminal, and natural sort order."""

import re
from collections.abc import Sequence


def printable(text: str) -> str:
    r"""Text with line ends, control characters and invalid UTF-8 bytes replaced by escapes.

    >>> print(printable("a" + chr(10) + "b" + chr(0xdcff)))
    a\nb\udcff
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    r"""The same as `printable`, but line ends are kept.

    >>> print(printable_lines("a" + chr(27) + chr(10) + "b"))
    a\x1b
    b
    """
    return "\n".join(map(printable, text.split("\n")))


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key that orders the numbers in names by value.

    >>> sorted(["10", "9", "b2", "b10"], key=natural_key)
    ['9', '10', 'b2', 'b10']
    """
    parts = re.split(r"(\d+)", name)
    return [int(part) if part.isdecimal() else part.casefold() for part in parts], name


def listed(names: Sequence[str], most: int = 3) -> str:
    """Some printable names, and the number of the others.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - most
    return ", ".join(map(printable, names[:most])) + (f" and {more:,} more" if more > 0 else "")


def size_title(count: float) -> str:
    """Formats a number of bytes.

    >>> size_title(7_500_000_000), size_title(688_000), size_title(100)
    ('7.5 GB', '688 kB', '100 bytes')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} bytes"


def first_line(error: Exception) -> str:
    r"""First line of the message of an error of another library; the name of its class if there is no message.

    >>> first_line(ValueError("no such file\nsee the manual")), first_line(TimeoutError())
    ('no such file', 'TimeoutError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
