"""Pictures: from Pillow to arrays and back, and sheets of them for people to look at.

    picture (Pillow)  --resize_and_crop-->  S x S  --to_array-->  (3, S, S) in 0..1  --normalise-->  what a model takes

`Preprocess` is the whole row: it stands behind `model.preprocess(picture)`.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from minivl.data.shards import MAX_PIXELS

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training pictures, red, green, blue in 0..1
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


# ---- pictures to arrays --------------------------------------------------------------------------------------


def to_rgb(picture):
    """Any Pillow picture as RGB, upright (EXIF), its transparent parts laid on white, 16 bits brought down to 8."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        # Pillow would clip these to 255. 16 bits is the only deep format that PNG has, so this is its scale.
        values = np.asarray(picture).astype(np.float32) / (1 if picture.mode == "F" else 257)
        picture = Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def resize_and_crop(picture, size):
    """The shorter side becomes `size` (bicubic), then the middle square is cut out, as OpenAI's CLIP does it.

    picture: Pillow  ->  Pillow, RGB, size x size

    Both are one step here: only what the square shows is computed. A strip of 20000 x 1 pixels would otherwise
    become 20000 `size` wide before it is cut.
    """
    picture = to_rgb(picture)
    if picture.size == (size, size):
        return picture
    box = []
    for side in picture.size:
        resized = int(size * side / min(picture.size))  # what the side would become
        start = round((resized - size) / 2)
        box.append((start * side / resized, (start + size) * side / resized))
    (left, right), (top, bottom) = box
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom))


def to_array(picture):
    """Pillow  ->  (3, H, W) float32 in 0..1"""
    pixels = np.asarray(to_rgb(picture))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / np.float32(255)


def to_picture(array):
    """(3, H, W) in 0..1 (values outside are cut off)  ->  Pillow, RGB"""
    array = np.asarray(array)
    if array.ndim != 3 or array.shape[0] != 3:
        raise ValueError(f"to_picture: array has shape {array.shape}; it must be (3, H, W)")
    pixels = np.clip(array.astype(np.float32) * 255 + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def normalise(images, mean=CLIP_MEAN, std=CLIP_STD):
    """(images - mean) / std, channel by channel.   mean, std: 3 numbers   ->  the same dtype

    images (3, H, W), (B, 3, H, W), or clips (B, 3, F, H, W)
    """
    mean, std = (np.asarray(v, images.dtype).reshape(3, *[1] * (2 + (images.ndim == 5))) for v in (mean, std))
    return (images - mean) / std


def denormalise(images, mean=CLIP_MEAN, std=CLIP_STD):
    """The inverse of `normalise`: back to 0..1, to be looked at."""
    mean, std = (np.asarray(v, images.dtype).reshape(3, *[1] * (2 + (images.ndim == 5))) for v in (mean, std))
    return images * std + mean


class Preprocess:
    """From whatever a user has to what `encode_image` takes: resized, cropped, normalised, (3, size, size) float32.

    Takes a Pillow picture, the path of one, or a uint8 array (H, W, 3), (H, W, 4) or (H, W).
    TypeError, ValueError, FileNotFoundError: one line that says what came and what is wanted.
    """

    def __init__(self, size, mean=CLIP_MEAN, std=CLIP_STD):
        self.size, self.mean, self.std = size, mean, std

    def __call__(self, picture):
        #: A picture becomes numbers around zero | x = \frac{p / 255 - \mu}{\sigma}
        return normalise(to_array(resize_and_crop(_open(picture), self.size)), self.mean, self.std)

    def __repr__(self):
        return f"Preprocess(size={self.size}, mean={self.mean}, std={self.std})"


def _open(picture):
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, (str, os.PathLike)):
        return _open_file(Path(picture))
    if not isinstance(picture, np.ndarray):
        raise TypeError(f"picture: a {type(picture).__name__}; it must be a Pillow picture, a path or a uint8 array")
    channels_last = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))
    if picture.dtype != np.uint8 or not channels_last or 0 in picture.shape:
        what = f"{picture.dtype} array of shape {picture.shape}"
        raise ValueError(f"picture: {what}; it must be uint8, (H, W, 3), (H, W, 4) or (H, W)")
    return Image.fromarray(np.ascontiguousarray(picture))


def _open_file(path):
    if not path.is_file():
        raise FileNotFoundError(f"picture: no file {str(path)!r}")
    try:
        picture = Image.open(path)
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{picture.width} x {picture.height} is more than {MAX_PIXELS} pixels")
        picture.load()
    except Exception as error:  # Pillow's readers raise many types on bytes made to break them
        raise ValueError(f"picture: {str(path)!r} cannot be used as a picture: {error}") from error
    return picture


# ---- pictures to look at -------------------------------------------------------------------------------------

_INK, _PAPER, _FAINT = (24, 24, 27), (255, 255, 255), (113, 113, 122)
_UNLIT = (64, 64, 92)  # what `heat` makes of white where nobody looks


def contact_sheet(
    pictures, titles=None, *, columns=6, tile=128, heading=None, colours=None, text_size=13, lines=3, font=None
):
    """Pictures in rows, each with its title below it, wrapped to its width.   ->  Pillow, RGB

    pictures   Pillow pictures of any size; each is scaled to fit a square of `tile` pixels
    titles     one string for each picture; a title that needs more than `lines` lines ends in an ellipsis
    heading    a line above everything
    colours    one colour for each title, for instance green where a caption is right and red where it is wrong
    font       a .ttf file for the titles; the one that comes with Pillow has unaccented Latin letters only
    """
    pictures = list(pictures)
    titles = [""] * len(pictures) if titles is None else list(titles)
    colours = [_INK] * len(pictures) if colours is None else list(colours)
    for name, values in (("titles", titles), ("colours", colours)):
        if len(values) != len(pictures):
            raise ValueError(f"contact_sheet: {len(values)} {name} for {len(pictures)} pictures")
    if not pictures or columns < 1:
        raise ValueError(f"contact_sheet: {len(pictures)} pictures in {columns} columns; both must be at least 1")

    font, pad = ImageFont.truetype(font, text_size) if font else ImageFont.load_default(size=text_size), 12
    wrapped = [wrap(title, tile, font, lines) for title in titles]
    line = round(1.35 * text_size)
    columns = min(columns, len(pictures))
    rows = [range(start, min(start + columns, len(pictures))) for start in range(0, len(pictures), columns)]
    heights = [tile + 6 + line * max(len(wrapped[k]) for k in row) for row in rows]
    top = pad + (2 * line if heading else 0)
    sheet = Image.new("RGB", (pad + columns * (tile + pad), top + sum(heights) + pad * len(rows)), _PAPER)
    pen = ImageDraw.Draw(sheet)

    if heading:
        [shown] = wrap(heading, sheet.width - 2 * pad, (large := ImageFont.load_default(size=text_size + 3)), 1)
        pen.text((pad, pad), shown, fill=_INK, font=large)
    for row, height in zip(rows, heights, strict=True):
        for column, k in enumerate(row):
            left = pad + column * (tile + pad)
            sheet.paste(_fit(pictures[k], tile), (left, top))
            for n, text in enumerate(wrapped[k]):
                pen.text((left, top + tile + 5 + n * line), text, fill=colours[k], font=font)
        top += height + pad
    return sheet


def wrap(text, width, font, lines):
    """Text broken into at most `lines` lines of at most `width` pixels; the last ends in "..." if words are left."""
    broken = [""]
    for word in text.split():
        longer = f"{broken[-1]} {word}".lstrip()
        if broken[-1] and font.getlength(longer) > width:
            broken.append(word)
        else:
            broken[-1] = longer
    if len(broken) > lines:
        broken[lines - 1 :] = [broken[lines - 1] + "..."]
    return [_shorten(line, width, font) for line in broken]


def _shorten(line, width, font):
    if font.getlength(line) <= width:
        return line
    line = line.removesuffix("...")
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."


def _fit(picture, tile):
    """The picture on a white square: small ones enlarged by whole pixels, so that one sees what the model saw."""
    picture = to_rgb(picture)
    scale = tile / max(picture.size)
    shape = tuple(max(1, round(side * scale)) for side in picture.size)
    fitted = picture.resize(shape, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    square = Image.new("RGB", (tile, tile), _PAPER)
    square.paste(fitted, ((tile - shape[0]) // 2, (tile - shape[1]) // 2))
    return square


def heat(picture, weights, *, size=128, top=4.0):
    """Where attention goes: the picture as lit by the weights.   ->  Pillow, RGB, size x size

    weights (h, w): what a query gives to each of h x w patches; they are taken as parts of their sum

    The scale is the same in every picture: a patch is dark at 0 and fully lit from `top` times its even share 1/(h w).
    It is never stretched to the picture's own maximum, which would make indifference look like interest. Patches are
    drawn as blocks, for the model knows nothing finer.
    """
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 2 or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() == 0:
        raise ValueError(f"heat: weights {weights.shape} must be (h, w), finite, not negative and not all 0")
    shares = weights * (weights.size / weights.sum())  # 1 = an even share
    light = Image.fromarray(heat_light(shares, top)).resize((size, size), Image.Resampling.NEAREST)
    lit = _fit(picture, size)
    dark = ImageOps.colorize(lit.convert("L"), black=(6, 6, 16), white=_UNLIT)
    return Image.composite(lit, dark, light)


def heat_light(shares, top=4.0):
    """How brightly `heat` lights a patch: 0 at 0, 255 from `top` even shares on, linear in between."""
    return np.clip(np.asarray(shares) / top * 255 + 0.5, 0, 255).astype(np.uint8)


def heat_legend(width=256, *, top=4.0, text_size=13):
    """The scale of `heat` as a strip: how white paper looks at 0, at an even share, and at `top` times it."""
    font, bar = ImageFont.load_default(size=text_size), 14
    legend = Image.new("RGB", (width, bar + round(1.6 * text_size)), _PAPER)
    light = heat_light(np.linspace(0, top, width)[None], top)
    strip = Image.fromarray(np.repeat(light, bar, axis=0))
    legend.paste(ImageOps.colorize(strip, black=_UNLIT, white=_PAPER))
    pen = ImageDraw.Draw(legend)
    for value, text in ((0, "0"), (1, "even share"), (top, f"{top:g}x and more")):
        x = value / top * (width - 1)
        pen.line((x, bar - 4, x, bar + 3), fill=_FAINT)
        anchor = {0: "la", top: "ra"}.get(value, "ma")
        pen.text((x, bar + 3), text, fill=_INK, font=font, anchor=anchor)
    return legend
