"""Contact sheets of examples, with what is known about them drawn in: masks, boxes, frames, episodes.

tile(example, 160)   ->  Pillow      the picture of one example, annotated
sheet(examples)      ->  Pillow      many of them in rows, each with its caption below
"""

import unicodedata

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from minivl.data import rle
from minivl.data.image import contact_sheet
from minivl.data.shards import DataError, decode_image

COLOURS = ((230, 25, 75), (0, 110, 230), (60, 180, 75), (245, 130, 48), (145, 30, 180), (0, 160, 160), (240, 50, 230))
_VEIL = 0.12  # how strongly the inside of a mask is coloured; its rim is drawn in full


def sheet(examples, heading=None, *, columns=8, size=160, annotated=True, language=None, font=None):
    """Examples in rows.   language: of the captions shown   font: a .ttf file; the built-in one knows English only"""
    tiles = [tile(example, size, annotated) for example in examples]
    titles = [title(example, language, plain=font is None) for example in examples]
    options = {"columns": columns, "tile": size, "heading": heading, "text_size": 12, "font": font}
    return contact_sheet(tiles, titles, **options)


def title(example, language=None, plain=False):
    """The caption that stands below a picture.   plain: without the accents that the built-in font does not know"""
    translations = example.info.get("translations")
    captions = translations.get(language) if isinstance(translations, dict) else None
    text = str([*(captions or example.captions), example.info.get("label", example.key)][0])
    if not plain:
        return text
    text = unicodedata.normalize("NFKD", text.translate(_TYPED))
    return "".join(c if c.isascii() else "?" for c in text if not unicodedata.combining(c))


_TYPED = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "’": "'", "–": "-", "—": "-", "ß": "ss", "€": "EUR"}
)


def tile(example, size, annotated=True):
    """One example: its picture, or its frames in a square of pictures, enlarged by whole pixels where it is small."""
    picture = decode_image(example.image)
    things = [example.info.get("objects")]
    frames = example.info.get("frames", 1)
    if isinstance(frames, int) and 1 < frames <= picture.height and picture.height % frames == 0:
        episode = example.info.get("episode")
        known = episode.get("pictures") if isinstance(episode, dict) else example.info.get("tracks")
        things = _by_frame(known, frames)
        side = picture.height // frames
        pictures = [picture.crop((0, k * side, picture.width, (k + 1) * side)) for k in range(frames)]
    else:
        pictures = [picture]
    columns = int(np.ceil(np.sqrt(len(pictures))))
    cell = size // columns
    whole = Image.new("RGB", (cell * columns, cell * -(-len(pictures) // columns)), "white")
    for k, (picture, known) in enumerate(zip(pictures, things, strict=True)):
        scaled = _annotated(picture, known if annotated else None, cell - (columns > 1))
        left, top = (k % columns) * cell, (k // columns) * cell
        whole.paste(scaled, (left + (cell - scaled.width) // 2, top + (cell - scaled.height) // 2))
    return whole


def _by_frame(known, frames):
    """What is drawn into each frame: a list of things for each, none where the JSON does not say."""
    if not isinstance(known, list) or len(known) != frames:
        return [None] * frames
    return [thing if isinstance(thing, list) else [thing] for thing in known]


def _annotated(picture, things, size):
    """A picture scaled to fit, with the masks and boxes of what is in it."""
    scale = size / max(picture.size)
    shape = tuple(max(1, round(side * scale)) for side in picture.size)
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    scaled = picture.resize(shape, method)
    things = [thing for thing in things if isinstance(thing, dict)] if isinstance(things, list) else []
    for k, thing in enumerate(things):
        if mask := _mask(thing, shape):
            colour = Image.new("RGB", shape, COLOURS[k % len(COLOURS)])
            inner = mask.filter(ImageFilter.MinFilter(3))
            scaled.paste(Image.blend(scaled, colour, _VEIL), (0, 0), mask)
            if 2 * sum(inner.histogram()[1:]) > sum(mask.histogram()[1:]):  # a rim around letters would hide them
                scaled.paste(colour, (0, 0), ImageChops.subtract(mask, inner))
    pen = ImageDraw.Draw(scaled)
    for k, thing in enumerate(things):
        if box := _box(thing, scale):
            pen.rectangle(box, outline=COLOURS[k % len(COLOURS)])
    return scaled


def _mask(thing, shape):
    try:
        mask = rle.decode(thing["segmentation"])
    except (KeyError, DataError):
        return None
    return Image.fromarray(mask).convert("L").resize(shape, Image.Resampling.NEAREST)


def _box(thing, scale):
    """Left, top, right, bottom as Pillow draws them, or None where the JSON has no box."""
    box = thing.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
        return None
    x, y, width, height = (v * scale for v in box)
    return (x, y, x + width - 1, y + height - 1) if width >= 1 and height >= 1 else None
