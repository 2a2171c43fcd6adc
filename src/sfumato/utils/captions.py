"""Short texts in pictures, such as class names, in any script that a font of this machine has."""

from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

HEIGHT = 16
"""Pixels of a line of text."""

SIZES = (12, 11, 10, 9, 8)
"""Sizes of letters, the first of which that fits is taken."""

SYSTEM_FONTS = (
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc"),
    *("DroidSansFallbackFull.ttf", "msyh.ttc", "simsun.ttc", "PingFang.ttc", "Hiragino Sans GB.ttc"),
    *("Arial Unicode.ttf", "NotoSans-Regular.ttf"),
)
"""Fonts of operating systems for what the first font cannot write, mostly Chinese, Japanese and Korean."""

NO_GLYPH = "\U0010ffff"
"""A character that no font has: it is drawn as what stands for any missing one."""


def draw(sheet: Image.Image, text: str, left: int, top: int, width: int) -> None:
    """Writes a text, centred, into a field of `width` x `HEIGHT` pixels: smaller or cut off if it is too long."""
    shown, font = fitted("".join(character if character.isprintable() else "?" for character in text), width)
    ImageDraw.Draw(sheet).text((left + width / 2, top + HEIGHT / 2), shown, fill="black", font=font, anchor="mm")


@lru_cache(1024)
def fitted(text: str, width: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """The text, cut off if it must be, and the largest font by which it is no wider than so many pixels."""
    for size in SIZES:
        font = font_for(text, size)
        if font.getlength(text) <= width:
            return text, font
    kept = next((n for n in range(len(text) - 1, 0, -1) if font.getlength(f"{text[:n]}...") <= width), 0)
    return (f"{text[:kept]}..." if kept else ""), font


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The first font that can write the text, or the usual one if none can."""
    usual, *others = _names()
    font = ImageFont.truetype(usual, size)
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
    """The font that matplotlib brings along, which has Latin, Greek, Cyrillic and more; then those of the system."""
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), *SYSTEM_FONTS


@lru_cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None
