"""Putting scenes together: what is in them, where it lies, and a background from which it stands out.

A scene is a pure function of (pool, seed, split, i, side). Nouns, colours, sizes and places are drawn independently of
each other, so that no question about a scene can be answered without looking (see questions.py).

    split           what it asks of a model that was trained on "train"
    "train"         -
    "validation"    two things together that training never shows together; other pictures of the nouns
    "test"          the same, with other pairs and other pictures
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from data_tools.scenes import backgrounds
from data_tools.scenes.cutouts import COLOURS, SPLITS, sprite
from data_tools.scenes.nouns import NOUNS, SHAPES
from data_tools.scenes.record import Scene, Thing
from minivl.data.shards import DataError

LAYOUTS = {"one": 0.1, "pair": 0.35, "row": 0.15, "any": 0.2, "count": 0.2}  # how often
SIZES = {"small": (0.17, 0.21), "large": (0.27, 0.33)}  # the longer side, as a part of the picture's
TINTED = 0.3  # of the cut-outs are shown in one colour
WRITTEN = 0.08  # of the things are words
LETTER = 0.062  # the width of a letter, as a part of the picture's side
_GAP = 2  # pixels between things, at least
_SHADE = 12  # how far a shape's colour may stray, in each channel
_ATTEMPTS = 6  # times that things are laid out anew, before others are chosen
_DRAWS = 5000  # times that things are chosen anew


def scene(pool, seed, split, i, side=96, photos=(), layouts=None):
    """Scene number `i` of a split.

    photos   a tuple of the photographs that serve the split as backgrounds
    layouts  {layout: how often}
    """
    random = generator(seed, SPLITS.index(split), i)
    plan = planned(random, layouts or LAYOUTS)
    while True:
        chosen, asked = things(random, pool, split, plan)
        arranged = compose(random, chosen, plan.layout, side, photos)
        if arranged:
            placed, order, background = arranged
            return Scene(f"{split}-{seed}-{i:06d}", split, side, plan.layout, order, placed, background, asked)


def generator(*numbers):
    """Random numbers that belong to these, each 0 or more. As an array, NumPy need not look at one after the other."""
    return np.random.default_rng(numbers if max(numbers) >> 32 else np.array(numbers, np.uint32))


@dataclass(frozen=True)
class Plan:
    """What is settled before anything that may have to be drawn again: were it not, the numbers that are easily fitted
    into a picture would become the likely answers to "how many?" """

    layout: str
    count: int  # of things; of things that are not counted, where some are
    copies: int | None = None  # of the noun that is counted


def planned(random, layouts):
    place = random.random() * sum(layouts.values())
    layout = next(
        name for name, share in zip(layouts, itertools.accumulate(layouts.values()), strict=True) if place < share
    )
    if layout == "count":
        copies = int(random.integers(4))
        return Plan("any", int(random.integers(max(1, 2 - copies), 4)), copies)
    return Plan(layout, {"one": 1, "pair": 2, "row": 3}.get(layout) or int(random.integers(3, 5)))


def compose(random, chosen, layout, side, photos=()):
    """(things in their places, order, background), or None where they do not fit or do not stand out."""
    for _ in range(_ATTEMPTS):
        placed = _in_a_row(random, chosen, side) if layout in ("pair", "row") else _scattered(random, chosen, side)
        background = placed and backgrounds.choose(random, placed[0], side, photos)
        if background:
            return *placed, background
    return None


# ---- what ------------------------------------------------------------------------------------------------------------


def things(random, pool, split, plan):
    """The things of a scene, not yet in their places, and the noun to be counted, if there is one."""
    making = _any if plan.copies is None else _counted
    for _ in range(_DRAWS):
        chosen, asked = making(random, pool, split, plan)
        names = [thing.name for thing in chosen if not thing.text]
        if split == "train" and asked is not None and asked not in SHAPES:
            names.append(asked)  # there or not: a noun with few partners must not be the likelier to be absent
        if belongs(names, split):
            return chosen, asked
    nouns = ", ".join(pool.nouns(split))
    raise DataError(f"things: of {nouns} no scene can be made for {split}; give pictures of more nouns", "too few")


def belongs(names, split):
    """May these names be seen together in the split? In "train" no pair of them may be one that is held out; in the
    others one must be, and none may be held out for the other."""
    places = {_place(name) for name in names}
    kept = {held_out(a, b) for a, b in itertools.combinations(places, 2)} - {"train"}
    return not kept if split == "train" or len(names) < 2 else kept == {split}


@functools.cache
def held_out(a, b):
    """The split to which a pair of places in the table of names belongs. Every name has as many partners in it."""
    return _HELD_OUT.get(min((a - b) % _ROUND, (b - a) % _ROUND), "train")


_ROUND = 18  # divides the 36 coloured shapes: each has 4 partners in validation, and 4 in test
_HELD_OUT = {5: "validation", 7: "test"}
_NOUNS, _COLOURS = {noun: k for k, noun in enumerate(NOUNS)}, {colour: k for k, colour in enumerate(COLOURS)}


@functools.cache
def _place(name):
    """A number for what a name stands for: a tinted dog is a dog, but a red circle is not a blue one."""
    colour, _, noun = name.partition(" ")
    if noun in SHAPES and colour in COLOURS:
        return len(COLOURS) * _NOUNS[noun] + _COLOURS[colour]
    return len(COLOURS) * len(SHAPES) + _NOUNS[noun if colour in COLOURS and noun in _NOUNS else name]


def _counted(random, pool, split, plan):
    nouns = pool.nouns(split)
    asked, *others = (nouns[k] for k in random.permutation(len(nouns))[: 1 + plan.count].tolist())
    listed = [asked] * plan.copies + others
    pictures = [pool.choose(split, noun, random) for noun in listed]
    return [thing(random, pool, cutout, k + 1) for k, cutout in enumerate(pictures)], asked


def _any(random, pool, split, plan):
    nouns, chosen = pool.nouns(split), []
    while len(chosen) < plan.count:
        number, like = len(chosen) + 1, None
        if pool.words and random.random() < WRITTEN and not any(t.text for t in chosen):
            chosen.append(_text(random, pool, number))
            continue
        if plan.layout == "any" and chosen and not chosen[-1].text and random.random() < 0.5:
            like = chosen[-1]  # something that shares its noun or its colour: then a name alone may not tell them apart
        same_noun = like and random.random() < 0.5
        noun = like.noun if same_noun else nouns[int(random.integers(len(nouns)))]
        colour = like.colour if like and not same_noun and like.colour in pool.colours(noun) else None
        new = thing(random, pool, pool.choose(split, noun, random), number, colour)
        if plan.layout == "any" or new.name not in [t.name for t in chosen]:
            chosen.append(new)
    return chosen, None


def thing(random, pool, cutout, number, colour=None):
    """A cut-out as a thing: in any of its colours, of any size."""
    if colour is None and (cutout.drawn or random.random() < TINTED):
        colours = pool.colours(cutout.noun)
        colour = colours[int(random.integers(len(colours)))]
    return Thing(number, cutout, colour, "small" if random.random() < 0.5 else "large")


def _text(random, pool, number):
    return Thing(number, pool.words[int(random.integers(len(pool.words)))], None, "large")


# ---- where -----------------------------------------------------------------------------------------------------------


def sized(random, thing, side):
    """The thing with its sprite and its ink. The length is one of a few, so that sprites can be used again."""
    if thing.text:
        ink = random.integers(0, 50, 3).tolist()
        ink = [level + 205 for level in ink] if random.integers(2) else ink  # light or dark letters
        length = round(LETTER * len(thing.text) * side)
    else:
        length = round(SIZES[thing.size][int(random.integers(len(SIZES[thing.size])))] * side)
        ink = thing.cutout.drawn and [v + int(random.integers(-_SHADE, _SHADE + 1)) for v in COLOURS[thing.colour]]
    tint = None if thing.cutout.drawn else thing.colour
    ink = tuple(min(255, max(0, level)) for level in ink) if ink else None
    return Thing(thing.id, thing.cutout, thing.colour, thing.size, ink, sprite(thing.cutout, max(6, length), tint))


def _in_a_row(random, things, side):
    """From left to right, or from top to bottom, jittered across by less than makes the order doubtful.

    Plain numbers: for two things or three, NumPy's calls would take longer than all of the sums.
    """
    across = bool(random.integers(2))
    things = [sized(random, t, side) for t in things]
    sizes = [t.sprite.size if across else t.sprite.size[::-1] for t in things]
    n, widest = len(things), max(wide for _, wide in sizes)
    free = side - sum(long for long, _ in sizes) - _GAP * (n + 1)
    if free < 0:
        return None
    parts = random.dirichlet(np.ones(n + 1)).tolist()  # of what is free: before the first, between, after the last
    main, share, end = [], 0.0, 0
    for number, ((long, _), part) in enumerate(zip(sizes, parts[:-1], strict=True), 1):
        share, end = share + part, end + long
        main.append(share * free + _GAP * number + end - long)
    middles = [m + long / 2 for m, (long, _) in zip(main, sizes, strict=True)]
    near = min(b - a for a, b in itertools.pairwise(middles))
    middle = random.uniform(widest / 2, side - widest / 2)
    placed = []
    for t, m, (_, wide), aside in zip(things, main, sizes, random.uniform(-0.3, 0.3, n).tolist(), strict=True):
        cross = int(min(max(middle + aside * near - wide / 2, 0), side - wide))
        placed.append(t.at(int(m), cross) if across else t.at(cross, int(m)))
    return tuple(placed), "left" if across else "above"


def _scattered(random, things, side):
    """Anywhere, each in a cell of its own of a grid that is just large enough, or larger."""
    things = [sized(random, t, side) for t in things]
    n = len(things)
    columns, rows = (1, 1) if n == 1 else (2, 2) if n < 5 and random.random() < 0.6 else (3, 2)
    if random.random() < 0.5:
        columns, rows = rows, columns
    cells = random.permutation(columns * rows)[:n]
    corners = random.random((n, 2))
    placed = []
    for t, cell, (u, v) in zip(things, cells.tolist(), corners.tolist(), strict=True):
        width, height = t.sprite.size
        row, column = divmod(cell, columns)
        left, top = column * side // columns, row * side // rows
        room_x, room_y = side // columns - width - _GAP, side // rows - height - _GAP
        if room_x < 0 or room_y < 0:
            return None
        left, top = left + _GAP // 2, top + _GAP // 2
        placed.append(t.at(left + int(u * (room_x + 1)), top + int(v * (room_y + 1))))
    return tuple(placed), None


# ---- the picture -----------------------------------------------------------------------------------------------------


def draw(scene, photos=()):
    """The scene as a Pillow picture, RGB."""
    picture = backgrounds.paint(scene.background, scene.side, photos).copy()
    for t in scene.things:
        paste(picture, t)
    return picture


def paste(picture, thing):
    """Lays a thing onto a picture, in place."""
    left, top, width, height = thing.box
    picture.paste(thing.ink or thing.sprite.picture, (left, top, left + width, top + height), thing.sprite.alpha)
