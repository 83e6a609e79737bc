"""Pictures out of a colour-emoji font, with names from Python's `unicodedata`: for machines without npm or network."""

import unicodedata

from PIL import Image, ImageDraw, ImageFont

from minivl.data.shards import DataError

# Where emoji stand in Unicode: first, last, name of the block, which serves as label.
_BLOCKS = (
    (0x231A, 0x23FF, "Miscellaneous Technical"),
    (0x25AA, 0x25FE, "Geometric Shapes"),
    (0x2600, 0x26FF, "Miscellaneous Symbols"),
    (0x2702, 0x27BF, "Dingbats"),
    (0x2B05, 0x2B55, "Miscellaneous Symbols and Arrows"),
    (0x1F300, 0x1F5FF, "Miscellaneous Symbols and Pictographs"),
    (0x1F600, 0x1F64F, "Emoticons"),
    (0x1F680, 0x1F6FF, "Transport and Map Symbols"),
    (0x1F7E0, 0x1F7F0, "Geometric Shapes Extended"),
    (0x1F90C, 0x1F9FF, "Supplemental Symbols and Pictographs"),
    (0x1FA70, 0x1FAFF, "Symbols and Pictographs Extended-A"),
)
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_SIZES = (109, 136, 160, 128, 96, 64, 48, 32)  # a font of bitmaps opens at its own size only: Noto 109, Apple 160
_NO_SUCH_CHARACTER = "\U0010ffff"


def pictures_of_font(path, size):
    """Yields (emoji, name, block, picture): RGBA, size x size, transparent.

    Pillow draws the colours of bitmap fonts (CBDT, sbix) and of COLR version 0; a font without is a `DataError`.
    """
    font = _open(path)
    missing = _draw(font, _NO_SUCH_CHARACTER)
    if not any(_has_colour(_draw(font, emoji)) for emoji in "😀🍎🔥🐸🚒"):
        raise DataError(
            f"--font: {path} has no colour glyphs that Pillow can draw; give a colour-emoji font (CBDT or COLR)"
        )
    for first, last, block in _BLOCKS:
        for code in range(first, last + 1):
            emoji = chr(code)
            name = unicodedata.name(emoji, None)
            if name is None or code in _SKIN_TONES:
                continue
            picture = _draw(font, emoji)
            if picture is not None and picture != missing:
                yield emoji, name.lower(), block, picture.resize((size, size), Image.Resampling.LANCZOS)


def _open(path):
    for size in _SIZES:
        try:
            return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
        except OSError as error:
            if "pixel size" not in str(error):
                raise DataError(f"--font: cannot read {path} ({error}); give a .ttf file") from error
    raise DataError(f"--font: {path} has bitmaps of an unknown size; known are {', '.join(map(str, _SIZES))}")


def _draw(font, emoji):
    """The glyph in the middle of a transparent square; None where it is empty."""
    left, top, right, bottom = font.getbbox(emoji)
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0:
        return None
    side = max(width, height)
    picture = Image.new("RGBA", (side, side))
    corner = ((side - width) // 2 - left, (side - height) // 2 - top)
    ImageDraw.Draw(picture).text(corner, emoji, font=font, embedded_color=True, fill="black")
    return picture if picture.getbbox() else None


def _has_colour(picture):
    return picture is not None and max(high for _, high in picture.convert("HSV").getextrema()[1:2]) > 0
