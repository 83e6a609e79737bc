"""Pictures in tutorials: shown where there is a notebook, saved under tutorials/out/ where there is none. Pillow only.

show(picture, "01_graph")      a PIL picture, or an array (H, W) or (H, W, 3)
heat(table, ...)               a table of numbers as a picture with its numbers, 0 white, blue above and orange below
curves({"name": y}, ...)       lines over x
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FAST = os.environ.get("MINIVL_FAST") == "1"  # a tutorial is then a test: fewer steps, the same asserts
OUT = Path(__file__).parent / "out"
INK, PAPER, GRID = "#1a1a1a", "#ffffff", "#d0d0d0"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe & Ito: told apart by everybody


def show(picture, name):
    """Shows a picture in a notebook; in a script, saves it as tutorials/out/NAME.png and says so."""
    picture = picture if isinstance(picture, Image.Image) else to_picture(picture)
    try:
        display = get_ipython().display_formatter and __import__("IPython.display").display.display
    except (NameError, AttributeError):
        OUT.mkdir(exist_ok=True)
        picture.save(OUT / f"{name}.png")
        print(f"[picture: tutorials/out/{name}.png]")
    else:
        display(picture)


def to_picture(array, scale=1):
    """An array (H, W) or (H, W, 3) of 0..1, each number a square of `scale` pixels."""
    array = np.asarray(array, float).clip(0, 1)
    array = np.repeat(array[..., None], 3, axis=-1) if array.ndim == 2 else array
    picture = Image.fromarray((255 * array).round().astype(np.uint8))
    return picture.resize((picture.width * scale, picture.height * scale), Image.NEAREST)


def text(draw, place, words, size=13, anchor="la", fill=INK):
    draw.text(place, words, fill=fill, font=ImageFont.load_default(size), anchor=anchor)


def heat(table, rows=None, columns=None, title="", cell=44, numbers=True, top=None):
    """A table (R, C) of numbers as a picture: blue above 0, orange below, `top` (the largest) darkest; names around."""
    table = np.asarray(table, float)
    R, C = table.shape
    left = 12 + max((8 * len(str(r)) for r in rows), default=0) if rows is not None else 12
    above = 30 + (18 if columns is not None else 0)
    wide = left + max(C * cell, 7 * len(title)) + 12
    picture = Image.new("RGB", (wide, above + R * cell + 12), PAPER)
    draw = ImageDraw.Draw(picture)
    text(draw, (left, 6), title)
    top = abs(table).max() if top is None else top
    for i in range(R):
        if rows is not None:
            text(draw, (left - 6, above + i * cell + cell / 2), str(rows[i]), anchor="rm")
        for j in range(C):
            share = min(1.0, abs(table[i, j]) / top) if top else 0.0
            full = (0, 90, 160) if table[i, j] >= 0 else (200, 85, 0)
            x, y = left + j * cell, above + i * cell
            shade = tuple(int(255 + share * (c - 255)) for c in full)
            draw.rectangle([x, y, x + cell - 1, y + cell - 1], fill=shade, outline=GRID)
            if numbers:
                value = f"{table[i, j]:.2f}".replace("0.", ".", 1) if abs(table[i, j]) < 1 else f"{table[i, j]:.3g}"
                place = (x + cell / 2, y + cell / 2)
                text(draw, place, value, size=max(8, cell // 4), anchor="mm", fill=PAPER if share > 0.6 else INK)
    if columns is not None:
        for j in range(C):
            text(draw, (left + j * cell + cell / 2, above - 4), str(columns[j]), anchor="ms")
    return picture


def curves(lines, x=None, title="", log_x=False, log_y=False, size=(560, 320), low=False):
    """Lines {name: y} over x as a picture, with the ends of both axes, and a legend on the right, or low down there."""
    wide, high = size
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    text(draw, (50, 8), title)
    lines = {name: np.asarray(y, float) for name, y in lines.items()}
    x = np.arange(len(next(iter(lines.values())))) if x is None else np.asarray(x, float)
    scale_x, scale_y = (np.log10 if log_x else np.asarray), (np.log10 if log_y else np.asarray)
    xs = scale_x(x)
    ys = {name: scale_y(np.maximum(y, 1e-300) if log_y else y) for name, y in lines.items()}
    every = np.concatenate([y[np.isfinite(y)] for y in ys.values()])
    least, span = every.min(), max(np.ptp(every), 1e-12)
    left, right, above, below = 60, wide - 20, 34, high - 34
    draw.rectangle([left, above, right, below], outline=GRID)

    def place(a, b):
        return left + (a - xs.min()) / max(np.ptp(xs), 1e-12) * (right - left), below - (b - least) / span * (
            below - above
        )

    for (name, y), colour in zip(ys.items(), COLOURS * 9, strict=False):
        points = [place(a, b) for a, b in zip(xs, y, strict=True) if np.isfinite(b)]
        draw.line(points, fill=colour, width=2)
        i = list(ys).index(name)
        high_up = below - 6 - 16 * (len(ys) - i) if low else above + 6 + 16 * i
        text(draw, (right - 8, high_up), name, anchor="ra", fill=colour)
    raw = np.concatenate(list(lines.values()))
    text(draw, (left - 4, above), f"{raw[np.isfinite(raw)].max():.2g}", anchor="ra", size=11)
    text(draw, (left - 4, below), f"{raw[np.isfinite(raw)].min():.2g}", anchor="rd", size=11)
    text(draw, (left, below + 6), f"{x.min():.4g}", size=11)
    text(draw, (right, below + 6), f"{x.max():.4g}", size=11, anchor="ra")
    return picture


def beside(*pictures, gap=16):
    """Pictures in a row."""
    row = Image.new("RGB", (sum(p.width + gap for p in pictures) - gap, max(p.height for p in pictures)), PAPER)
    x = 0
    for p in pictures:
        row.paste(p, (x, 0))
        x += p.width + gap
    return row


def stacked(*pictures, gap=16):
    """Pictures one above the other."""
    column = Image.new("RGB", (max(p.width for p in pictures), sum(p.height + gap for p in pictures) - gap), PAPER)
    y = 0
    for p in pictures:
        column.paste(p, (0, y))
        y += p.height + gap
    return column
