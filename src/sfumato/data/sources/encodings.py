"""Detection of text encodings: of file names in archives, and of tables.

File names are few and short, so letter frequencies, as used for documents, are not sufficient. Each encoding that can
decode all names gets a score for the plausibility of each character next to its neighbours: words have letters of one
script, capitals do not follow lower-case letters, and most Chinese, Japanese and Korean characters are in the common
part of their standard.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection

CANDIDATES = ("cp437", "cp1252", "cp850", "cp1251", "cp866", "cp932", "gbk", "cp949", "big5")
"""Candidates, the most common first; the first is the encoding of the ZIP specification."""

LETTERS = re.compile(r"[^\W\d_]+|[^\x00-\x7f]")
"""A sequence of letters, or a single other character that is not ASCII."""

COMMON_FINALS = ("ᆨ", "ᆫ", "ᆯ", "ᆷ", "ᆸ", "ᆺ", "ᆻ", "ᆼ")
"""Most common final consonants of Korean syllables."""


TEXT_CANDIDATES = ("cp1252", "cp1251", "cp932", "gbk", "cp949", "big5")
"""Candidates for the text of tables, without the encodings of DOS."""

PLAUSIBLE = 0.5
"""Smallest score of a detected encoding."""

MOST_LINES = 1000
"""Lines of a text that are examined."""


def encoding_of_text(content: bytes) -> str:
    """Detects the encoding of a text that is not UTF-8; Windows-1252 if no candidate is plausible.

    >>> encoding_of_text("кот".encode("cp1251"))
    'cp1251'
    """
    lines = [line for line in content.splitlines() if not line.isascii()][:MOST_LINES]
    text = b"\n".join(lines)
    found = max(TEXT_CANDIDATES, key=lambda encoding: plausibility(text, encoding))
    return found if plausibility(text, found) >= PLAUSIBLE else TEXT_CANDIDATES[0]


def detected_encoding(names: Collection[bytes]) -> str:
    """Detects the common encoding of names: "utf-8" if all names are valid, else the most plausible of `CANDIDATES`.

    >>> detected_encoding(["Кошки".encode("cp866"), "Собаки".encode("cp866")])
    'cp866'
    """
    parts = sorted({part for name in names if not name.isascii() for part in name.split(b"/")})
    text = b"/".join(part for part in parts if not part.isascii())
    if _decoded(text, "utf-8") is not None:
        return "utf-8"
    return max(CANDIDATES, key=lambda encoding: plausibility(text, encoding))  # the first one of a tie


def plausibility(text: bytes, encoding: str) -> float:
    """Score of an encoding: at most 1, and minus infinity if `text` cannot be decoded."""
    decoded = _decoded(text, encoding)
    if decoded is None:
        return float("-inf")
    words = LETTERS.findall(decoded)
    weights = [_weight(encoding, word, place) for word in words for place, c in enumerate(word) if not c.isascii()]
    return sum(weights) / max(len(weights), 1)


def _weight(encoding: str, word: str, place: int) -> float:
    """Score from -1 to 1 of one character next to its neighbours."""
    if encoding not in CHARACTER_WEIGHTS:
        return _alphabetic(word, place)
    is_beside_ascii = any(other.isascii() for other in word[max(place - 1, 0) : place + 2])
    return min(CHARACTER_WEIGHTS[encoding](word[place]), -0.5 if is_beside_ascii else 1)


def _decoded(text: bytes, encoding: str) -> str | None:
    try:
        return text.decode(encoding)
    except UnicodeDecodeError:
        return None


def _alphabetic(word: str, place: int) -> float:
    """Score of a letter in a single-byte alphabet."""
    letter, before, after = word[place], word[max(place - 1, 0) : place], word[place + 1 : place + 2]
    script, neighbours = _script(letter), before + after
    if unicodedata.category(letter) not in ("Ll", "Lu") or any(_script(other) != script for other in neighbours):
        return -1
    if (before.islower() and letter.isupper()) or (letter.islower() and after.isupper()):
        return -1
    if script == "LATIN" and not neighbours.isascii():
        return -0.5  # accented letters are rarely adjacent
    return 1 if script in ("LATIN", "CYRILLIC") and not (before and letter.isupper()) else 0


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _japanese(letter: str) -> float:
    if "\uff61" <= letter <= "\uff9f":  # half-width
        return -0.5
    if "\u3040" <= letter <= "\u30ff":
        return 1
    lead = letter.encode("cp932")[0]
    return 0.9 if 0x88 <= lead <= 0x97 else 0


def _simplified_chinese(letter: str) -> float:
    lead, trail = letter.encode("gbk")
    if trail < 0xA1 or not 0xB0 <= lead <= 0xF7:  # outside GB 2312
        return -1
    if lead > 0xD7:
        return 0
    return 1 if lead > 0xC8 else 0.5  # lead bytes of Korean syllables are not larger


def _traditional_chinese(letter: str) -> float:
    lead, trail = letter.encode("big5")
    if not 0xA4 <= lead <= 0xC6:
        return 0
    return 1 if trail < 0xA1 else 0.45  # GB 2312 and Korean have no smaller bytes


def _korean(letter: str) -> float:
    if not "\uac00" <= letter <= "\ud7a3":
        return -0.5
    final = unicodedata.normalize("NFD", letter)[2:]
    return 1 if not final else 0.6 if final in COMMON_FINALS else -1


CHARACTER_WEIGHTS: dict[str, Callable[[str], float]] = {
    "cp932": _japanese,
    "gbk": _simplified_chinese,
    "big5": _traditional_chinese,
    "cp949": _korean,
}
"""Scores of characters in multi-byte encodings."""
