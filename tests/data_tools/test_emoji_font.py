"""Pictures out of fonts. The colour font is made here by hand: the tables FreeType wants, and CBLC/CBDT with PNGs."""

import io
import struct

import pytest
from PIL import Image, ImageFont

from data_tools import emoji
from minivl.data.shards import decode_image, read_shards


def colour_font(glyphs, pixels=32):
    """The bytes of a .ttf.   glyphs: {character: colour of a full square}; a missing character is a black square."""
    characters = sorted(glyphs)
    pictures = [_png("black", pixels), *(_png(glyphs[c], pixels) for c in characters)]
    count, units = len(pictures), pixels * 10
    tables = {
        "CBDT": _cbdt(pictures, pixels),
        "CBLC": _cblc(pictures, pixels),
        "cmap": _cmap(characters),
        "head": _head(units),
        "hhea": struct.pack(">IhhhH11hH", 65536, units, 0, 0, units, 0, 0, units, 1, *[0] * 7, count),
        "hmtx": struct.pack(">Hh", units, 0) * count,
        "maxp": struct.pack(">IH", 0x5000, count),
    }
    header = struct.pack(">IHHHH", 65536, len(tables), 64, 2, len(tables) * 16 - 64)
    body, offset = b"", len(header) + 16 * len(tables)
    for name, content in tables.items():
        header += struct.pack(">4sIII", name.encode(), 0, offset + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    return header + body


def _head(units):
    magic, times, box, flags = 0x5F0F3CF5, [0] * 2, [0, 0, units, units], [0, 8, 2, 0, 0]
    return struct.pack(">IIIIHHqq4hHHhhh", 65536, 0, 0, magic, 0, units, *times, *box, *flags)


def _png(colour, pixels):
    out = io.BytesIO()
    Image.new("RGBA", (pixels, pixels), colour).save(out, "PNG")
    return out.getvalue()


def _cbdt(pictures, pixels):
    """Glyph format 17: height, width, bearing x and y, advance; length; PNG."""
    metrics = struct.pack(">BBbbB", pixels, pixels, 0, pixels, pixels)
    return struct.pack(">HH", 3, 0) + b"".join(metrics + struct.pack(">I", len(p)) + p for p in pictures)


def _cblc(pictures, pixels):
    """One size, one sub-table (format 1): the offset of each glyph in CBDT."""
    offsets = [0]
    for picture in pictures:
        offsets.append(offsets[-1] + 9 + len(picture))
    last = len(pictures) - 1
    table = struct.pack(">HHI", 0, last, 8) + struct.pack(">HHI", 1, 17, 4) + struct.pack(f">{len(offsets)}I", *offsets)
    line = struct.pack(">bbB9b", pixels, 0, pixels, *[0] * 9)
    size = struct.pack(">IIII", 56, len(table), 1, 0) + line + line
    size += struct.pack(">HHBBBb", 0, last, pixels, pixels, 32, 1)
    return struct.pack(">HHI", 3, 0, 1) + size + table


def _cmap(characters):
    """Format 12: one group for each character."""
    groups = b"".join(struct.pack(">III", ord(c), ord(c), i + 1) for i, c in enumerate(characters))
    table = struct.pack(">HHIII", 12, 0, 16 + len(groups), 0, len(characters)) + groups
    return struct.pack(">HHHHI", 0, 1, 3, 10, 12) + table


def run(*arguments):
    return emoji.main([str(a) for a in arguments])


@pytest.mark.slow
@pytest.mark.parametrize("pixels", [109, 32])
def test_a_colour_font(tmp_path, pixels):
    font = tmp_path / "toy.ttf"
    font.write_bytes(colour_font({"🐸": "green", "🍎": "red", "☎": "blue", "A": "red", "🏻": "brown"}, pixels))
    assert run("--out", tmp_path / "out", "--font", font, "--size", 64) == 0
    found = {e.key: e for e in read_shards(tmp_path / "out" / "font", strict=True)}
    assert list(found) == ["font-260e", "font-1f34e", "font-1f438"]  # no letter, no skin tone, no missing glyph
    assert found["font-1f438"].captions == ["frog face"]
    info = found["font-1f34e"].info
    assert info["name"] == "red apple" and info["label"] == "Miscellaneous Symbols and Pictographs"
    assert info["vendor"] == "font" and info["unicode"] == "1F34E"
    picture = decode_image(found["font-1f34e"].image)
    assert picture.size == (64, 64) and picture.getpixel((32, 32)) == (255, 0, 0)


def test_fonts_that_will_not_do(tmp_path, capsys):
    plain = tmp_path / "plain.ttf"
    plain.write_bytes(ImageFont.load_default(size=20).font_bytes)
    (tmp_path / "text.ttf").write_text("no font")
    (tmp_path / "odd.ttf").write_bytes(colour_font({"🍎": "red"}, 37))
    for name, words in (
        ("plain.ttf", "has no colour glyphs"),
        ("text.ttf", "cannot read"),
        ("none.ttf", "cannot read"),
        ("odd.ttf", "unknown size"),
    ):
        assert run("--out", tmp_path / "out", "--font", tmp_path / name) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("emoji: --font: ") and words in error
    assert not list((tmp_path / "out").glob("*"))
