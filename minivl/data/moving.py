"""Moving scenes: clips of shapes that move one after another, whose labels no single frame gives away.

    "a red circle moves left, then a blue square moves up"

A clip has two halves, and in each of them one object moves while everything else rests. Space has no border: what
leaves on the right comes back on the left. Where an object is in any one frame is therefore uniform, whatever it does
before and after, and so

    direction   is told by two frames at least
    order       (which of the two moved first) is told by frames of both halves

A clip is a pure function of (seed, split, i). As a picture file it is a strip of its frames, one below the other.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .scenes import COLOURS, HELD_OUT_PAIRS, OVERSAMPLE, SHAPES, Item, backdrop, stamp

SPLITS = ("train", "val")
FRAMES = 16
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
RADIUS = (0.13, 0.16)  # as a part of the side
STEP = (0.045, 0.06)  # of the way, from frame to frame; in half a clip always less than half of the side

_PAIRS = tuple(pair for pair in itertools.product(COLOURS, SHAPES) if pair not in HELD_OUT_PAIRS)


@dataclass(frozen=True)
class Clip:
    """Objects in the order in which they move; moves[k] is the direction in the k-th half; paths (objects, F, 2)."""

    key: str
    items: tuple[Item, ...]
    moves: tuple[str, ...]
    paths: np.ndarray
    background: tuple[tuple[int, int, int], tuple[int, int, int]]

    @property
    def labels(self):
        return [f"{item.colour} {item.shape}" for item in self.items]


def clip(seed, split, i, frames=FRAMES, turning=False):
    """Clip number `i` of a split.   ValueError: no such split.

    Every other has one object, which turns half-way; with `turning` all of them.
    """
    if split not in SPLITS:
        raise ValueError(f"split: {split!r} is none of {', '.join(map(repr, SPLITS))}")
    random = np.random.default_rng([seed, SPLITS.index(split), i, 7])
    n = 1 if random.random() < 0.5 or turning else 2
    first, second = random.choice(len(_PAIRS), 2, replace=False)
    chosen = [_PAIRS[first], _PAIRS[second]][:n]
    moves = [str(m) for m in random.choice(list(DIRECTIONS), 2, replace=n == 2)]
    items, paths = [], np.empty((n, frames, 2))
    for k, (colour, shape) in enumerate(chosen):
        start, radius, step = random.random(2), random.uniform(*RADIUS), random.uniform(*STEP)
        halves = [moves[0], moves[1]] if n == 1 else [moves[0], None] if k == 0 else [None, moves[1]]
        paths[k] = (start + way(halves, frames, step)) % 1
        shade = np.clip(np.array(COLOURS[colour]) + random.integers(-12, 13, 3), 0, 255)
        items.append(Item(colour, shape, "small", *map(float, start), float(radius), tuple(map(int, shade))))
    return Clip(f"moving-{split}-{seed}-{i:06d}", tuple(items), tuple(moves), paths, backdrop(random))


def way(halves, frames, step):
    """(F, 2): how far from its start an object is in each frame, x and y."""
    way = np.zeros((frames, 2))
    for k, move in enumerate(halves):
        if move is not None:
            begin = k * (frames // 2)
            gone = np.clip(np.arange(frames) - begin, 0, frames // 2 if k == 0 else frames)
            way += gone[:, None] * step * np.array(DIRECTIONS[move])
    return way


def candidates(seed, split, n, turning=False):
    """The first n clips of a split that mean different things: no caption of one describes another."""
    found = {}
    for i in itertools.count():
        if len(found) == n:
            return list(found.values())
        c = clip(seed, split, i, turning=turning)
        found.setdefault((tuple(c.labels), c.moves), c)


# ---- the words -------------------------------------------------------------------------------------------------------


def captions(clip):
    """Captions that are right for the clip, the plainest first."""
    names, (first, second) = [f"a {label}" for label in clip.labels], clip.moves
    if len(names) == 1:
        return [f"{names[0]} moves {first}, then {second}", f"{names[0]} goes {first} and then {second}"]
    return [
        f"{names[0]} moves {first}, then {names[1]} moves {second}",
        f"first {names[0]} goes {first}, then {names[1]} goes {second}",
    ]


def questions(clip):
    """[{"question", "answers", "kind"}]: direction and order need several frames, things need one."""
    (first, second), labels = clip.moves, clip.labels
    if len(labels) == 1:
        asked = [
            (f"which way does the {labels[0]} go first?", first, "direction"),
            (f"which way does the {labels[0]} go last?", second, "direction"),
            (f"does it go {first} before {second}?", "yes", "order"),
            (f"does it go {second} before {first}?", "no", "order"),
        ]
    else:
        asked = [
            (f"which way does the {labels[0]} go?", first, "direction"),
            (f"which way does the {labels[1]} go?", second, "direction"),
            (f"does the {labels[0]} go before the {labels[1]}?", "yes", "order"),
            (f"does the {labels[1]} go before the {labels[0]}?", "no", "order"),
        ]
    asked += [(f"is there a {labels[0]}?", "yes", "thing"), (f"is there a {_absent(clip)}?", "no", "thing")]
    return [{"question": q, "answers": [a], "kind": kind} for q, a, kind in asked]


def _absent(clip):
    """Something that is not there: the first object's shape in a colour that it does not have."""
    shape, colours = clip.items[0].shape, list(COLOURS)
    for k in range(1, len(colours)):
        colour = colours[(colours.index(clip.items[0].colour) + k) % len(colours)]
        if f"{colour} {shape}" not in clip.labels:
            return f"{colour} {shape}"
    return None


# ---- the picture -----------------------------------------------------------------------------------------------------


def draw(clip, size=32):
    """The clip as a strip: its frames one below the other, size x (F size) pixels, RGB."""
    side, frames = size * OVERSAMPLE, clip.paths.shape[1]
    top, bottom = (np.array(colour, np.float32) for colour in clip.background)
    down = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    strip = np.repeat(np.broadcast_to(top + (bottom - top) * down, (1, size, size, 3)), frames, axis=0)
    order = sorted(range(len(clip.items)), key=clip.labels.__getitem__)  # who lies on top must not tell who moves first
    for item, path in ((clip.items[k], clip.paths[k]) for k in order):
        stencil = Image.new("L", (side, side))
        middle = Item(item.colour, item.shape, item.size, 0.5, 0.5, item.radius, item.rgb)
        stamp(ImageDraw.Draw(stencil), middle, side)
        stencil = np.asarray(stencil)
        covers = {}  # by how far it lies beside the pixels; of these there are few, and the rest is whole pixels
        for f, (x, y) in enumerate(path):
            whole, beside = np.divmod((round(y * side) - side // 2, round(x * side) - side // 2), OVERSAMPLE)
            if (key := tuple(beside)) not in covers:
                rolled = np.roll(stencil, key, axis=(0, 1)).reshape(size, OVERSAMPLE, size, OVERSAMPLE)
                covers[key] = rolled.mean(axis=(1, 3), dtype=np.float32)[..., None] / np.float32(255)
            cover = np.roll(covers[key], whole, axis=(0, 1))
            strip[f] += cover * (np.array(item.rgb, np.float32) - strip[f])
    return Image.fromarray((strip + 0.5).astype(np.uint8).reshape(frames * size, size, 3))
