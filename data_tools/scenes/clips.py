"""Clips of things that move, whose labels no single frame gives away.

    "a dog moves left, then up"          "a dog moves left, then a red car moves up"

A clip has two halves; in each of them one thing moves and the others rest. As in `minivl.data.moving`, space has no
border: what leaves on the right comes back on the left. The place where a thing starts is drawn from all places alike,
so that where it is in any one frame says nothing of where it was or will be: exactly nothing, for places are whole
pixels. Backgrounds are flat, and what lies on top is settled by name.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from data_tools.scenes import backgrounds
from data_tools.scenes.compose import generator, planned, sized, things
from data_tools.scenes.cutouts import SPLITS
from data_tools.scenes.grammar import phrase
from data_tools.scenes.record import Background, Thing
from minivl.data import rle
from minivl.data.moving import DIRECTIONS, way

FRAMES = 8
_STEPS = (0.05, 0.08)  # of the side, from frame to frame; in half a clip always less than half of the side

_ALONE = {
    "en": (
        "{a} moves {first}, then {second}",
        "{a} goes {first} and then {second}",
        "first {first}, then {second}: {a}",
    ),
    "de": ("{a} bewegt sich nach {first}, dann nach {second}", "erst nach {first}, dann nach {second}: {a}"),
    "fr": ("{a} va vers {first}, puis vers {second}", "d'abord vers {first}, puis vers {second} : {a}"),
    "es": ("{a} va hacia {first}, luego hacia {second}", "primero hacia {first}, luego hacia {second}: {a}"),
    "it": ("{a} va verso {first}, poi verso {second}", "prima verso {first}, poi verso {second}: {a}"),
}
_BOTH = {
    "en": (
        "{a} moves {first}, then {b} moves {second}",
        "first {a} goes {first}, then {b} goes {second}",
        "{b} moves {second} after {a} has moved {first}",
    ),
    "de": (
        "{a} bewegt sich nach {first}, dann {b} nach {second}",
        "erst geht {a} nach {first}, dann {b} nach {second}",
    ),
    "fr": ("{a} va vers {first}, puis {b} vers {second}", "d'abord {a} va vers {first}, ensuite {b} vers {second}"),
    "es": (
        "{a} va hacia {first}, luego {b} hacia {second}",
        "primero {a} va hacia {first}, después {b} hacia {second}",
    ),
    "it": ("{a} va verso {first}, poi {b} verso {second}", "prima {a} va verso {first}, dopo {b} verso {second}"),
}
_WAYS = {
    "en": dict(left="left", right="right", up="up", down="down"),
    "de": dict(left="links", right="rechts", up="oben", down="unten"),
    "fr": dict(left="la gauche", right="la droite", up="le haut", down="le bas"),
    "es": dict(left="la izquierda", right="la derecha", up="arriba", down="abajo"),
    "it": dict(left="sinistra", right="destra", up="l'alto", down="il basso"),
}
_CLIP = {"pair": 1.0}  # two different things, neither of which is a word


@dataclass(frozen=True, eq=False)
class Clip:
    """Two things: the first moves in both halves if it is `alone`, while the other rests; else each moves in its own.

    moves: the direction in each half   paths: (things, F, 2) whole pixels, the left upper corner in each frame
    """

    key: str
    split: str
    side: int
    things: tuple[Thing, ...]
    alone: bool
    moves: tuple[str, str]
    paths: np.ndarray
    background: Background


def clip(pool, seed, split, i, side=96, frames=FRAMES):
    """Clip number `i` of a split: two things, of which either one moves twice, or each moves once."""
    random = generator(seed, SPLITS.index(split), i, 2)
    background = None
    while background is None:
        chosen, _ = things(random, pool, split, planned(random, _CLIP))
        if any(t.text for t in chosen) or chosen[0].noun == chosen[1].noun:
            continue
        chosen = [sized(random, t, side) for t in chosen]
        background = backgrounds.choose(random, chosen, side, kinds=("flat",))
    alone = bool(random.random() < 0.5)
    first, second = (str(m) for m in random.choice(list(DIRECTIONS), 2, replace=not alone))  # alone, it must turn
    halves = ((first, second), (None, None)) if alone else ((first, None), (None, second))
    paths = np.empty((2, frames, 2), int)
    for k in range(2):
        step = max(1, round(random.uniform(*_STEPS) * side))
        paths[k] = (random.integers(side, size=2) + way(halves[k], frames, step).astype(int)) % side
    return Clip(f"{split}-{seed}-{i:06d}", split, side, tuple(chosen), alone, (first, second), paths, background)


def draw(clip):
    """(the frames one below the other, what is seen of each thing in each frame: bool (things, F, S, S))"""
    side, frames = clip.side, clip.paths.shape[1]
    strip = Image.new("RGB", (side, side * frames))
    seen = np.zeros((len(clip.things), frames, side, side), bool)
    on_top = sorted(range(len(clip.things)), key=lambda k: clip.things[k].name)
    for f in range(frames):
        picture = backgrounds.paint(clip.background, side).copy()
        for k in on_top:
            t, (x, y) = clip.things[k], clip.paths[k, f]
            seen[:, f] &= ~_wrapped(t.sprite.mask, x, y, side)
            seen[k, f] = _wrapped(t.sprite.mask, x, y, side)
            for left in (x, x - side):
                for top in (y, y - side):
                    picture.paste(t.ink or t.sprite.picture, _corners(left, top, t.sprite.size), t.sprite.alpha)
        strip.paste(picture, (0, f * side))
    return strip, seen


def _corners(left, top, size):
    return int(left), int(top), int(left) + size[0], int(top) + size[1]


def _wrapped(mask, x, y, side):
    whole = np.zeros((side, side), bool)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    return np.roll(whole, (y, x), (0, 1))


def captions(clip, language):
    """Sentences that are right for the clip."""
    a, b = (phrase(language, t.noun, t.colour).plain for t in clip.things)
    first, second = (_WAYS[language][move] for move in clip.moves)
    templates = (_ALONE if clip.alone else _BOTH)[language]
    return [template.format(a=a, b=b, first=first, second=second) for template in templates]


def questions(random, clip):
    """[{"question", "answers", "kind"}]: which way, who first; as likely each way whatever is asked."""
    a, b = (t.noun for t in clip.things)
    if clip.alone:
        half = int(random.integers(2))
        asked = [(f"which way does the {a} go {('first', 'last')[half]}?", clip.moves[half], "direction")]
        which = (a, b) if random.random() < 0.5 else (b, a)
        asked.append((f"what moves, the {which[0]} or the {which[1]}?", a, "mover"))
    else:
        who = int(random.integers(2))
        asked = [(f"which way does the {(a, b)[who]} go?", clip.moves[who], "direction")]
        yes = random.random() < 0.5
        first, last = (a, b) if yes else (b, a)
        asked.append((f"does the {first} move before the {last}?", "yes" if yes else "no", "order"))
    return [{"question": q, "answers": [answer], "kind": kind} for q, answer, kind in asked]


def example(pool, seed, split, i, side=96, languages=("en",), frames=FRAMES):
    """(key, picture, captions, info): the picture is a strip of the frames, tracks are the things in each of them."""
    record = clip(pool, seed, split, i, side, frames)
    random = generator(seed, SPLITS.index(split), i, 3)
    strip, seen = draw(record)
    info = {
        "split": split,
        "frames": frames,
        "labels": [t.name for t in record.things],
        "moves": list(record.moves),
        "translations": {language: captions(record, language) for language in languages if language != "en"},
        "questions": questions(random, record),
        "tracks": [[_seen(t, seen[k, f]) for k, t in enumerate(record.things)] for f in range(frames)],
    }
    return record.key, strip, captions(record, "en"), info


def _seen(t, mask):
    packed = rle.encode(mask)
    return {"id": t.id, "label": t.noun, "bbox": rle.box(packed), "area": int(mask.sum()), "segmentation": packed}
