"""What lies behind the things of a scene, and whether they stand out from it.

    flat        one colour              plaster     one colour, uneven
    gradient    two, top and bottom     photo       a square of a photograph, paled where things would drown in it

A background is data, like all of a scene; `paint` makes the picture of it.
"""

import functools
import itertools
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from data_tools import debian
from data_tools.scenes.record import Background
from minivl.data.shards import DataError, decode_image

CONTRAST, LEGIBLE = 100, 190  # how far a thing, or a word, must differ from what is behind it; see `apart`
OUTSTANDING = 0.7  # so much of its rim must do so
_TRIES = 16  # colours that are looked at


PACKAGE = debian.Package(
    "tuxpaint-data", "1:0.9.28-sdl2-1", "f5d0de8f9a70d2efc1241d19f26168cb8bf279f1b77abd3631e7a1a55c40e5e5"
)
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, eq=False)
class Photo:
    picture: Image.Image
    digest: str


def load(source, cache, side=96):
    """{split: photographs} out of a folder of pictures, a Debian package, or "tuxpaint", the package with 19 of them.

    Their shorter sides become twice `side` at most: pieces of them, half as large or larger, are scaled to `side`.
    A photograph belongs to one split: of five, one is for validation and one for testing.
    """
    if str(source) == "tuxpaint" or str(source).endswith(".deb"):
        path = debian.fetch(PACKAGE, cache, deb=None if str(source) == "tuxpaint" else source)
        wanted = [content for _, content in debian.read(path, _is_template)]
    else:
        paths = sorted(p for p in Path(source).glob("*") if p.suffix.lower() in _PICTURES)
        wanted = [path.read_bytes() for path in paths]
    photos = sorted((_photo(content, 2 * side) for content in wanted), key=lambda photo: photo.digest)
    if len(photos) < 5:
        raise DataError(f"--backgrounds: {source} has {len(photos)} pictures; there must be at least 5")
    places = {"train": (0, 1, 2), "validation": (3,), "test": (4,)}
    return {split: tuple(p for k, p in enumerate(photos) if k % 5 in place) for split, place in places.items()}


def _is_template(name):
    return name.startswith("usr/share/tuxpaint/templates/") and name.endswith(_PICTURES)


def _photo(content, shorter):
    picture = decode_image(content)
    picture.thumbnail([side * shorter // min(picture.size) for side in picture.size])
    return Photo(picture, sha256(content).hexdigest())


def fingerprint(photos):
    """Names the photographs of all splits."""
    return sha256(" ".join(p.digest for split in sorted(photos) for p in photos[split]).encode()).hexdigest()


def choose(random, things, side, photos=(), kinds=("flat", "gradient", "plaster", "photo")):
    """A background from which every thing stands out, or None.   photos: a tuple of photographs, which may be empty"""
    kinds = kinds if photos else [kind for kind in kinds if kind != "photo"]
    kind = kinds[int(random.integers(len(kinds)))]
    colours = random.integers(-70, 71, (_TRIES, 3)) + random.integers(0, 256, (_TRIES, 1))  # of no strong colour
    colours = np.minimum(np.maximum(colours, 0), 255)
    first, last = _ends(things, colours)
    if not first:
        return None
    seed = int(random.integers(1 << 31))
    flat = Background("flat", (first,))
    if kind == "flat":
        return flat
    if kind == "photo":
        candidates = list(_photos(random, photos, first, seed))
    else:
        candidates = [Background(kind, (first, last) if kind == "gradient" else (first,), seed)]
    for background in candidates:
        pixels = np.asarray(paint(background, side, photos))
        if stand_out(things, pixels):
            return background
    return flat


def _ends(things, colours):
    """The first and the last of the colours (n, 3) from which every thing stands out; None, None if there is none."""
    if all(t.ink for t in things):  # one colour each: plain numbers, of no more colours than it takes, are quicker
        every = [tuple(colour) for colour in colours.tolist()]
        first = next((colour for colour in every if _inks_differ(things, colour)), None)
        return first, first and next(colour for colour in reversed(every) if _inks_differ(things, colour))
    good = colours[_outstanding(things, colours[:, None], [len(t.rim) for t in things]) >= OUTSTANDING].tolist()
    return (tuple(good[0]), tuple(good[-1])) if good else (None, None)


def _inks_differ(things, colour):
    """Does the ink of every thing differ from the colour? As `apart` has it, in thousandths."""
    r, g, b = colour
    for t in things:
        x, y, z = t.ink[0] - r, t.ink[1] - g, t.ink[2] - b
        difference = abs(299 * x + 587 * y + 114 * z) + 1000 * max(abs(x), abs(y), abs(z))
        if difference < 1000 * (LEGIBLE if t.text else CONTRAST):
            return False
    return True


def apart(a, b):
    """How different two colours (..., 3) look: in brightness, and in the channel that differs most; 0 to 510."""
    difference = a - b
    return np.abs(difference @ _BRIGHTNESS) + np.abs(difference).max(-1)


_BRIGHTNESS = np.array([0.299, 0.587, 0.114])


def _outstanding(things, pixels, counts):
    """How much of its rim differs from pixels (..., n or 1, 3) of the background, of the thing that differs least.

    counts: how many of the points n are whose
    """
    ends = list(itertools.accumulate(counts))
    begins = [0, *ends[:-1]]
    rims, limits = np.empty((ends[-1], 3)), np.empty(ends[-1])
    for t, begin, end in zip(things, begins, ends, strict=True):
        rims[begin:end], limits[begin:end] = t.rim, LEGIBLE if t.text else CONTRAST
    differs = (apart(rims, pixels) >= limits).astype(np.float64)
    return (np.add.reduceat(differs, begins, axis=-1) / counts).min(-1)


def stand_out(things, pixels):
    """Does every thing differ from the background (H, W, 3) at its place, along its rim?"""
    rows = np.concatenate([t.sprite.rim[0] + t.y for t in things])
    columns = np.concatenate([t.sprite.rim[1] + t.x for t in things])
    counts = [len(t.sprite.rim[0]) for t in things]
    return _outstanding(things, pixels[rows, columns].astype(np.int32), counts) >= OUTSTANDING


@functools.lru_cache(maxsize=4)
def paint(background, side, photos=()):
    """The background as a Pillow picture, which is not to be changed."""
    kind, colours = background.kind, background.colours
    if kind == "flat":
        return Image.new("RGB", (side, side), colours[0])
    if kind == "gradient":
        ends = Image.frombytes("RGB", (1, 2), bytes(colours[0] + colours[1]))
        column = ends.resize((1, side), Image.Resampling.BILINEAR)  # all columns are the same
        return column.resize((side, side), Image.Resampling.NEAREST)
    if kind == "plaster":
        rough = np.random.default_rng(background.seed).integers(-22, 23, (8, 8, 1)) + np.array(colours[0])
        rough = Image.fromarray(np.clip(rough, 0, 255).astype(np.uint8))
        return rough.resize((side, side), Image.Resampling.BICUBIC)
    number, left, top, length, blend = background.photo
    cut = _cut(photos[number], left, top, length, side)
    return Image.blend(cut, Image.new("RGB", cut.size, colours[0]), blend) if blend else cut


@functools.lru_cache(maxsize=2)
def _cut(photo, left, top, length, side):
    box = (left, top, left + length, top + length)
    return photo.picture.resize((side, side), Image.Resampling.BILINEAR, box=box)


def _photos(random, photos, colour, seed):
    """A piece of a photograph, as it is, then blended more and more with a colour that would do."""
    number = int(random.integers(len(photos)))
    width, height = photos[number].picture.size
    length = int(random.integers(min(width, height) // 2, min(width, height) + 1))
    left, top = int(random.integers(width - length + 1)), int(random.integers(height - length + 1))
    for blend in (0.0, 0.4, 0.7):
        yield Background("photo", (colour,), seed, (number, left, top, length, blend))
