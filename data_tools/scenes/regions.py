"""Words for one thing among others: descriptions of regions, and expressions that fit exactly one thing.

    "a small red circle at the top left"        describes a region; another thing may fit it as well
    "the red circle", "the leftmost dog",
    "the dog left of the tree"                  refer: `resolve` finds one thing that fits, and no other

An expression is data before it is words, so that whether it fits is decided by the record:

    Expression(noun="dog", colour=None, size=None, extreme=None, relation=("left", Expression(noun="tree")))
"""

import functools
import itertools
from typing import NamedTuple

from data_tools.scenes.record import WORDS_OF, relation

_EXTREMES = {"leftmost": (0, 1), "rightmost": (0, -1), "topmost": (1, 1), "lowest": (1, -1)}
_MARGIN = 0.06  # of the side, by which a leftmost thing must lie further left than the next


class Expression(NamedTuple):
    noun: str | None = None
    colour: str | None = None
    size: str | None = None
    text: str | None = None
    extreme: str | None = None  # among all that fit the rest
    relation: tuple | None = None  # ("left", Expression): left of what that one refers to

    def __str__(self):
        if self.text:
            return f'the word "{self.text}"'
        words = ["the", self.extreme, self.size, self.colour, self.noun or "thing"]
        if self.relation:
            words += [WORDS_OF[self.relation[0]], str(self.relation[1])]
        return " ".join(filter(None, words))


def resolve(expression, scene):
    """Every thing that an expression fits."""
    noun, colour, size, text, *_ = expression
    fitting = [
        t
        for t in scene.things
        if (noun is None or noun == t.noun)
        and (colour is None or t.colour in (colour, None))  # what has its own colours may be of any; see `may_be`
        and (size is None or size == t.size)
        and (text is None or text == t.text)
    ]
    if expression.relation:
        direction, anchor = expression.relation
        anchors = resolve(anchor, scene)
        fitting = [t for t in fitting if len(anchors) == 1 and relation(t, anchors[0]) == direction]
    if expression.extreme and len(fitting) > 1:
        axis, sign = _EXTREMES[expression.extreme]
        first, second = sorted(sign * t.middle[axis] for t in fitting)[:2]
        clear = second - first >= _MARGIN * scene.side
        fitting = [t for t in fitting if sign * t.middle[axis] == first] if clear else fitting
    return fitting


def named(scene, t):
    """The shortest expression by noun and colour that fits only this thing; None where there is none."""
    return _named(scene)[t.id]


@functools.lru_cache(maxsize=4)
def _named(scene):
    found = {}
    for t in scene.things:
        choices = (Expression(text=t.text),) if t.text else (Expression(t.noun), Expression(t.noun, t.colour))
        found[t.id] = next((e for e in choices if len(resolve(e, scene)) == 1), None)
    return found


def referring(scene, t):
    """Expressions that fit this thing and no other, the shortest of each kind first."""
    if t.text:
        return [Expression(text=t.text)]
    found = []
    for kind, most in ((_attributes(t), 2), (_extremes(scene, t), 1), (_related(scene, t), 1)):
        only = (e for e in kind if (fit := resolve(e, scene)) and len(fit) == 1 and fit[0] is t)
        found += itertools.islice(only, most)  # what is beyond the most is never looked at
    return found


def _attributes(t):
    yield Expression(t.noun)
    yield Expression(t.noun, size=t.size)
    if t.colour:
        yield from (Expression(t.noun, t.colour), Expression(colour=t.colour), Expression(t.noun, t.colour, t.size))


def _extremes(scene, t):
    return (Expression(t.noun, extreme=extreme) for extreme in (_EXTREMES if scene.count(t.noun) > 1 else ()))


def _related(scene, t):
    beside = ((direction, named(scene, b)) for a, direction, b in scene.relations if a is t)
    return (Expression(t.noun, relation=(direction, anchor)) for direction, anchor in beside if anchor)


def description(random, scene, t):
    """A noun phrase with what can be seen of the thing: its size, its colour, where it lies, what it lies beside."""
    if t.text:
        return f'the word "{t.text}" {place(scene, t)}'
    words = [t.size if random.random() < 0.5 else None, t.colour, t.noun]
    words = " ".join(filter(None, words))
    words = f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
    beside = [(direction, anchor) for a, direction, b in scene.relations if a is t and (anchor := named(scene, b))]
    if beside and random.random() < 0.5:
        direction, anchor = beside[int(random.integers(len(beside)))]
        return f"{words} {WORDS_OF[direction]} {anchor}"
    return f"{words} {place(scene, t)}"


def place(scene, t):
    """ "at the top left", "at the bottom", "in the middle": by thirds of the picture."""
    x, y = (int(3 * m / scene.side) for m in t.middle)
    words = " ".join(filter(None, (("top", None, "bottom")[y], ("left", None, "right")[x])))
    return "in the middle" if not words else f"on the {words}" if y == 1 else f"at the {words}"
