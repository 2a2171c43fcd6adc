"""Text from files, safe for terminals: what would move the cursor or hide something is written as escapes."""


def printable(text: str) -> str:
    r"""`text` with line ends, control characters and bytes that are no UTF-8 written as escapes.

    >>> print(printable("a" + chr(10) + "b" + chr(0xdcff)))
    a\nb\udcff
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    r"""The same, but line ends stay.

    >>> print(printable_lines("a" + chr(27) + chr(10) + "b"))
    a\x1b
    b
    """
    return "\n".join(map(printable, text.split("\n")))
