"""Scenes: coloured shapes in relations, drawn from a seed, with captions whose truth can be decided.

    "a red circle left of a blue square"               one record, many captions, one picture:
    "to the right of a red circle is a blue square"    everything that a caption says can be read off the
    "there is a red circle; on its right, ..."         record, so "is this caption right?" has an answer

A scene is a pure function of (seed, split, i): nothing is stored and nothing is downloaded.

    split        what it asks of a model that was trained on "train"
    "train"      -
    "val"        combinations of two or more objects that training never shows, made of objects that it does show
    "held-out"   one object is of a colour-shape pair that training never shows; its colour and its shape each occur
"""

import functools
import itertools
import re
import zlib
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": (214, 34, 38),
    "yellow": (240, 205, 0),
    "green": (30, 145, 56),
    "blue": (32, 84, 222),
    "purple": (128, 40, 160),
    "black": (28, 28, 32),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
SIZES = {"small": 0.16, "large": 0.21}  # radius, as a part of the picture's side
SPLITS = ("train", "val", "held-out")
COUNTS = (0.125, 0.875, 0.0)  # how often a scene has one, two, three objects

# One pair for every shape, each of another colour.
HELD_OUT_PAIRS = (
    ("red", "star"),
    ("yellow", "circle"),
    ("green", "ring"),
    ("blue", "triangle"),
    ("purple", "square"),
    ("black", "cross"),
)
_SEEN_PAIRS = tuple(pair for pair in itertools.product(COLOURS, SHAPES) if pair not in HELD_OUT_PAIRS)

_PALE = 200  # backgrounds keep every channel above this, shapes' colours keep away from that corner of the cube
_SHADE = 12  # how far an object's colour may stray, in each channel
_GAP = 0.03  # the least distance between two objects, as a part of the side
_ASIDE = 0.12  # how far a row or a column of objects may lie off the middle


@dataclass(frozen=True)
class Item:
    """One object. x, y (its centre, y downwards) and radius are parts of the picture's side."""

    colour: str
    shape: str
    size: str
    x: float
    y: float
    radius: float
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """Objects in reading order: from left to right where `across`, else from top to bottom."""

    key: str
    items: tuple[Item, ...]
    across: bool
    background: tuple[tuple[int, int, int], tuple[int, int, int]]  # at the top, at the bottom

    @property
    def labels(self):
        """What is in the picture, without the relation: ["red circle", "blue square"]."""
        return [f"{item.colour} {item.shape}" for item in self.items]


# ---- the record ----------------------------------------------------------------------------------------------


def scene(seed, split, i, *, counts=COUNTS):
    """Scene number `i` of a split.   counts: how often one, two, three objects.   ValueError: no such split."""
    if split not in SPLITS:
        raise ValueError(f"split: {split!r} is none of {', '.join(map(repr, SPLITS))}")
    random = np.random.default_rng([seed, SPLITS.index(split), i])
    n = 1 + int(np.searchsorted(np.cumsum(counts[:-1]), random.random(), side="right"))
    while True:
        pairs, across = _pairs(random, split, n), bool(random.integers(2))
        if split == "held-out" or n == 1 or _kept_for_val(pairs, across) == (split == "val"):
            break
    items = _place(random, pairs, across)
    return Scene(f"{split}-{seed}-{i:06d}", items, across, backdrop(random))


def candidates(seed, split, n, *, counts=COUNTS):
    """The first n scenes of a split that mean different things: no caption of one describes another.

    Retrieval among them has one right answer each.   ValueError: the split has not that many meanings.
    """
    found = {}
    for i in range(100 * n + 100):
        if len(found) == n:
            break
        s = scene(seed, split, i, counts=counts)
        found.setdefault(_meaning(s), s)
    if len(found) < n:
        raise ValueError(f"candidates: n is {n}, but split {split!r} showed only {len(found)} different scenes")
    return list(found.values())


def redraw(scene, random):
    """Another scene of the same meaning: other places, sizes, shades and background. For the raw pixels' baseline."""
    items = _place(random, [(item.colour, item.shape) for item in scene.items], scene.across)
    return replace(scene, items=items, background=backdrop(random))


def backdrop(random):
    """Pale colours, at the top and at the bottom."""
    return tuple(tuple(map(int, random.integers(_PALE, 256, 3))) for _ in range(2))


def _pairs(random, split, n):
    """n different (colour, shape); in "held-out" exactly one of them is a held-out pair."""
    numbers = ()
    while len(set(numbers)) < n:
        numbers = random.integers(len(_SEEN_PAIRS), size=n).tolist()
    chosen = [_SEEN_PAIRS[k] for k in numbers]
    if split == "held-out":
        chosen[random.integers(n)] = HELD_OUT_PAIRS[random.integers(len(HELD_OUT_PAIRS))]
    return chosen


def _kept_for_val(pairs, across):
    """One combination in ten, whatever the seed: a checksum of its words decides."""
    words = " ".join(itertools.chain(*pairs, ["across" if across else "down"]))
    return zlib.crc32(words.encode()) % 10 == 0


def _place(random, pairs, across):
    """Objects one after another along the main axis, jittered across it by less than makes the relation doubtful."""
    n = len(pairs)
    sizes = ["small" if n > 2 or random.random() < 0.5 else "large" for _ in pairs]
    room = 0.9 if n > 2 else 1.0  # three in a row are a little smaller
    radii = np.array([SIZES[size] for size in sizes]) * room * random.uniform(0.93, 1.07, n)

    free = 1 - 2 * radii.sum() - _GAP * (n + 1)
    before = np.cumsum(random.dirichlet(np.ones(n + 1)))[:-1] * free  # the free room is cut at random
    main = before + _GAP * np.arange(1, n + 1) + 2 * np.cumsum(radii) - radii

    # A row or a column keeps near the middle: where an object lies then tells much about the relation, which is what
    # makes it learnable in two minutes. A fifth of the nearest distance, either way, cannot make it doubtful.
    jitter = 0.2 * np.diff(main).min() if n > 1 else 0.0
    border = max(radii.max(), 0.5 - _ASIDE) if n > 1 else radii.max()
    middle = random.uniform(border, 1 - border)
    side = np.clip(middle + random.uniform(-jitter, jitter, n), radii, 1 - radii)

    items = []
    for (colour, shape), size, radius, m, s in zip(pairs, sizes, radii, main, side, strict=True):
        x, y = (m, s) if across else (s, m)
        shade = np.clip(np.array(COLOURS[colour]) + random.integers(-_SHADE, _SHADE + 1, 3), 0, 255)
        items.append(Item(colour, shape, size, float(x), float(y), float(radius), tuple(map(int, shade))))
    return tuple(items)


# ---- the words -----------------------------------------------------------------------------------------------
# One table is read in two directions: filled in it gives captions, turned into regular expressions it parses them.

_ONE = ("{a}", "there is {a}", "only {a}")
_TWO = (  # each says: a is left of b, or right of, above, below it
    "{a} {of} {b}",
    "{a} {here} and {b} {there}",
    "{there} {b}, {here} {a}",
    "{beyond} {a} is {b}",
    "there is {a}; {its}, {b}",
)
_THREE = ("{a}, {b} and {c} from {way}", "from {way} there are {a}, {b} and {c}")
_PHRASES = {
    "of": {"left": "left of", "right": "right of", "above": "above", "below": "below"},
    "here": {"left": "on the left", "right": "on the right", "above": "at the top", "below": "at the bottom"},
    "there": {"left": "on the right", "right": "on the left", "above": "at the bottom", "below": "at the top"},
    "beyond": {"left": "to the right of", "right": "to the left of", "above": "below", "below": "above"},
    "its": {"left": "on its right", "right": "on its left", "above": "below it", "below": "above it"},
    "way": {"left": "left to right", "right": "right to left", "above": "top to bottom", "below": "bottom to top"},
}
_OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def captions(scene, *, sizes=False, both_orders=False):
    """Captions of the grammar that are right for the scene, the plainest first.

    sizes         say small and large
    both_orders   start from the second object too: "a blue square right of a red circle". To write such a caption, a
                  model must find again the object that it has named; in reading order it need only look at one place
                  after the other, which it learns much sooner.
    """
    names = [_noun(item.size if sizes else None, item.colour, item.shape) for item in scene.items]
    if len(names) == 1:
        return [t.format(a=names[0]) for t in _ONE]
    relation = "left" if scene.across else "above"
    readings = [(names, relation), (names[::-1], _OPPOSITE[relation])][: 1 + both_orders]
    templates = _TWO if len(names) == 2 else _THREE
    return [_fill(t, some, r) for t in templates for some, r in readings]


def parse(caption):
    """What a caption says: (across, ((size, colour, shape), ...)) in reading order, or None outside the grammar.

    across is None for a single object, size is None where the caption says none. Capitals, doubled spaces, a space
    before a punctuation mark (tokenizers put one) and a final full stop do not count.
    """
    text = re.sub(r"\s+(?=[,;.])", "", " ".join(caption.lower().split())).removesuffix(".")
    for template, pattern, field in _patterns():
        if not (match := pattern.fullmatch(text)):
            continue
        said = match.groupdict()
        names = [said[name] for name in "abc" if name in said]
        things = [_thing(name) for name in names]
        if field is None:
            return None, tuple(things)
        relation = next(r for r, phrase in _PHRASES[field].items() if phrase == said[field])
        if _fill(template, names, relation) != text:  # "on the left and ... on the left"
            return None
        in_order = things if relation in ("left", "above") else things[::-1]
        return relation in ("left", "right"), tuple(in_order)
    return None


def describes(caption, scene):
    """Is the caption exactly right for the scene: all its objects and no other, their colours, shapes, and relation?

    A size need not be said, but if said it must be right. Anything outside the grammar is not right.
    """
    said = parse(caption)
    if said is None:
        return False
    across, things = said
    if len(things) != len(scene.items) or across != _meaning(scene)[0]:
        return False
    return all(
        (colour, shape) == (item.colour, item.shape) and size in (None, item.size)
        for (size, colour, shape), item in zip(things, scene.items, strict=True)
    )


def _meaning(scene):
    """What captions can tell apart: the relation (none for one object), colours and shapes in reading order."""
    return scene.across if len(scene.items) > 1 else None, tuple((i.colour, i.shape) for i in scene.items)


def _noun(size, colour, shape):
    return " ".join(filter(None, ("a", size, colour, shape)))


def _thing(noun):
    """(size or None, colour, shape) of "a small red circle"."""
    *size, colour, shape = noun.split()[1:]
    return size[0] if size else None, colour, shape


def _fill(template, names, relation):
    phrases = {field: choices[relation] for field, choices in _PHRASES.items()}
    return template.format(**dict(zip("abc", names, strict=False)), **phrases)


@functools.cache
def _patterns():
    """The grammar as (template, regular expression, the field that holds the relation or None)."""
    noun = rf"a (?:(?:{'|'.join(SIZES)}) )?(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
    compiled = []
    for template in (*_ONE, *_TWO, *_THREE):
        field = next((f for f in _PHRASES if f"{{{f}}}" in template), None)
        groups = {name: f"(?P<{name}>{noun})" for name in "abc"}
        groups |= {f: f"(?P<{f}>{'|'.join(choices.values())})" for f, choices in _PHRASES.items()}
        compiled.append((template, re.compile(template.format(**groups)), field))
    return tuple(compiled)


# ---- the picture ---------------------------------------------------------------------------------------------

OVERSAMPLE = 4  # shapes are drawn this much larger, then averaged down: smooth edges at 32 pixels


def draw(scene, size=32):
    """The scene as a Pillow picture of size x size pixels, RGB."""
    top, bottom = (np.array(colour, np.float32) for colour in scene.background)
    down = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    rows = (top + (bottom - top) * down + 0.5).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(np.broadcast_to(rows[:, None], (size, size, 3))))
    for item in scene.items:
        stencil = Image.new("L", (size * OVERSAMPLE,) * 2)
        stamp(ImageDraw.Draw(stencil), item, size * OVERSAMPLE)
        picture.paste(item.rgb, (0, 0), stencil.reduce(OVERSAMPLE))
    return picture


def stamp(pen, item, side):
    """Fills the item's outline on a square of `side` pixels."""
    x, y, r = item.x * side, item.y * side, item.radius * side
    if item.shape in ("circle", "ring"):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
        if item.shape == "ring":
            hole = 0.55 * r
            pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        pen.polygon([(x + r * u, y + r * v) for u, v in _OUTLINES[item.shape]], fill=255)


def _around(corners, radii, start=-np.pi / 2):
    """Corners of an outline around (0, 0), the first one on top; `radii` repeat."""
    angles = start + 2 * np.pi * np.arange(corners) / corners
    return [(radii[k % len(radii)] * np.cos(a), radii[k % len(radii)] * np.sin(a)) for k, a in enumerate(angles)]


_ARM = 0.33
_OUTLINES = {
    "square": _around(4, (1.2,), -np.pi / 4),
    "triangle": [(0, -0.95), (1, 0.85), (-1, 0.85)],
    "star": _around(10, (1.05, 0.45)),
    "cross": [
        *((-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)),
        *((_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)),
    ],
}
