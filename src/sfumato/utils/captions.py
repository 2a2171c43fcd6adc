"""Draws short texts, such as class names, in pictures, with fonts for any script."""

from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

HEIGHT = 16
"""Height of a line of text in pixels."""

FONT_SIZES = (12, 11, 10, 9, 8)
"""Font sizes, in the order in which they are tried."""

SYSTEM_FONTS = (
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc"),
    *("DroidSansFallbackFull.ttf", "msyh.ttc", "simsun.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc"),
    *("Arial Unicode.ttf", "NotoSans-Regular.ttf"),
)
"""System fonts for characters that the default font lacks, mostly Chinese, Japanese and Korean."""

NO_GLYPH = "\U0010ffff"
"""Character without a glyph in any font, drawn as the missing-glyph symbol."""


def draw(sheet: Image.Image, text: str, left: int, top: int, width: int) -> None:
    """Draws a text, centred in a field of `width` x `HEIGHT` pixels; long texts are smaller or cut off."""
    shown, font = fitted("".join(character if character.isprintable() else "?" for character in text), width)
    ImageDraw.Draw(sheet).text((left + width / 2, top + HEIGHT / 2), shown, fill="black", font=font, anchor="mm")


@lru_cache(1024)
def fitted(text: str, width: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Text, cut off if necessary, and the largest font with which it fits into `width` pixels."""
    for size in FONT_SIZES:
        font = font_for(text, size)
        if font.getlength(text) <= width:
            return text, font
    kept = next((n for n in range(len(text) - 1, 0, -1) if font.getlength(f"{text[:n]}...") <= width), 0)
    return (f"{text[:kept]}..." if kept else ""), font


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """First font with all characters of the text, or the default font."""
    default, *others = _names()
    font = ImageFont.truetype(default, size)
    candidates = (candidate for candidate in (_font(name, size) for name in others) if candidate is not None)
    return font if has_all(font, text) else next((other for other in candidates if has_all(other, text)), font)


def has_all(font: ImageFont.FreeTypeFont, text: str) -> bool:
    """Whether a font has a glyph for each character."""
    missing = _shape(font, NO_GLYPH)
    return all(character.isspace() or _shape(font, character) != missing for character in set(text))


def _shape(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


@lru_cache
def _names() -> tuple[str, ...]:
    """The font of matplotlib, with Latin, Greek, Cyrillic and more, followed by the system fonts."""
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), *SYSTEM_FONTS


@lru_cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None
