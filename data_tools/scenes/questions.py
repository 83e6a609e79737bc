"""Questions with answers that nobody can guess who has not seen the picture.

    kind       question                                    answers                  chance
    exists     is there a red circle?                      yes, no                  1/2
    relation   is the dog left of the tree?                yes, no                  1/2
    larger     which is larger, the dog or the tree?       either                   1/2
    where      where is the dog?                           top left, ...            1/4
    count      how many dogs are there?                    0, 1, 2, 3               1/4
    colour     what colour is the dog?                     as many as it could have 1/5, 1/6
    what       what is left of the red dog?                any other thing          1 in all names
    read       what is written in the picture?             any word                 1 in all words

Each answer is as likely as the others whatever the question says. Nouns, colours, sizes and places are drawn apart
from each other (compose.py); "no" questions ask for a thing of another scene of the same making, so that what is asked
for is no hint; which of two is named first, and which of left and right is asked, is drawn by lot.
"""

from data_tools.scenes.grammar import OPPOSITE
from data_tools.scenes.nouns import NOUNS
from data_tools.scenes.record import WORDS_OF
from data_tools.scenes.regions import Expression, named

KINDS = ("exists", "relation", "larger", "where", "count", "colour", "what", "read")
_SLIM = 0.6  # of the sides of a thing; how large a slimmer one is, is a matter of taste
_ASIDE = 0.12  # of the side, that a thing must lie off the middle to be at the left, the top, ...


def questions(random, scene, foil):
    """[{"question", "answers", "kind"}], at most one of each kind.   foil: a thing of another scene, made alike"""
    clear = [(t, expression) for t in _shuffled(random, scene.things) if (expression := named(scene, t))]
    asked = {
        "exists": _exists(random, scene, foil),
        "relation": _relation(random, scene),
        "larger": _larger(clear),
        "where": _where(scene, clear),
        "count": _count(scene),
        "colour": _colour(scene, clear),
        "what": _what(random, scene, clear),
        "read": _read(scene),
    }
    return [{"question": q, "answers": [a], "kind": kind} for kind, (q, a) in asked.items() if q]


_NONE = (None, None)


def _shuffled(random, items):
    return [items[k] for k in random.permutation(len(items)).tolist()]


def _exists(random, scene, foil):
    """About one of the things or about the foil, by lot; a word is never asked for.

    Where the foil is there as well, nothing is asked: asking only where the answer is yes would make it the usual one.
    """
    t, whole, yes = scene.things[int(random.integers(len(scene.things)))], random.random() < 0.5, random.random() < 0.5
    if t.text or foil.text:
        return _NONE
    if any(s.may_be(foil.noun, foil.colour if whole else None) for s in scene.things):
        return _NONE
    said = t if yes else foil
    name = said.name if whole else said.noun
    return f"is there {'an' if name[0] in 'aeiou' else 'a'} {name}?", "yes" if yes else "no"


def _relation(random, scene):
    told = [(a, r, b) for a, r, b in scene.relations if named(scene, a) and named(scene, b)]
    if not told:
        return _NONE
    a, direction, b = told[int(random.integers(len(told)))]
    yes = random.random() < 0.5
    said = direction if yes else OPPOSITE[direction]
    return f"is {named(scene, a)} {WORDS_OF[said]} {named(scene, b)}?", "yes" if yes else "no"


def _larger(clear):
    sizes = [(t, e) for t, e in clear if not t.text and min(t.sprite.size) >= _SLIM * max(t.sprite.size)]
    for k, (a, first) in enumerate(sizes):
        for b, second in sizes[k + 1 :]:
            if a.size != b.size:
                larger = first if a.size == "large" else second
                return f"which is larger, {first} or {second}?", str(larger).removeprefix("the ")
    return _NONE


def _where(scene, clear):
    for t, expression in clear:
        x, y = (m / scene.side - 0.5 for m in t.middle)
        if min(abs(x), abs(y)) >= _ASIDE:
            return f"where is {expression}?", f"{'top' if y < 0 else 'bottom'} {'left' if x < 0 else 'right'}"
    return _NONE


def _count(scene):
    if scene.asked is None:
        return _NONE
    return f"how many {NOUNS[scene.asked]['en'].plural} are there?", str(scene.count(scene.asked))


def _colour(scene, clear):
    for t, _ in clear:
        if t.colour and scene.count(t.noun) == 1:
            return f"what colour is the {t.noun}?", t.colour
    return _NONE


def _what(random, scene, clear):
    """Only where one thing alone lies on that side, and only in a pair or a row, whose things have nothing to do with
    each other. What is asked from has its whole name: "the circle" would say that the other is none."""
    for t, _ in clear if scene.layout in ("pair", "row") else ():
        expression = Expression(t.noun, t.colour, text=t.text)
        for direction in _shuffled(random, list(WORDS_OF)):
            axis, sign = (0 if direction in ("left", "right") else 1), (1 if direction in ("left", "above") else -1)
            beyond = [s for s in scene.things if sign * s.middle[axis] < sign * t.middle[axis]]
            told = [a for a, r, b in scene.relations if b is t and r == direction]
            if len(beyond) == 1 and told == beyond and not beyond[0].text:
                return f"what is {WORDS_OF[direction]} {expression}?", beyond[0].name
    return _NONE


def _read(scene):
    texts = [t.text for t in scene.things if t.text]
    return ("what is written in the picture?", texts[0]) if len(texts) == 1 else _NONE
