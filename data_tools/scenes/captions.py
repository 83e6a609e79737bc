"""What is said of a scene: a caption and five paraphrases in each language, and captions that are nearly right.

The order of words is balanced: of the six sentences about a pair or a row three begin at either end, drawn by lot.
"""

import functools

from data_tools.scenes import grammar
from data_tools.scenes.grammar import OPPOSITE, TEMPLATES


def orders(random, scene):
    """How the six sentences are ordered, the same in every language."""
    if scene.layout in ("pair", "row"):
        return random.permutation([False, True] * (TEMPLATES // 2)).tolist()
    parts = len(groups(scene.things))
    return [random.permutation(parts).tolist() for _ in range(TEMPLATES)]


def sentences(scene, language, ordered):
    """Six sentences that are right for the scene, the plainest first."""
    if scene.layout == "any":
        parts = [_part(language, *group) for group in groups(scene.things)]
        return grammar.any_number(language, parts, len(scene.things), ordered)
    phrases = [grammar.phrase(language, t.noun, t.colour, t.text) for t in scene.things]
    if scene.layout == "one":
        return grammar.one(language, phrases[0])
    return (grammar.two if scene.layout == "pair" else grammar.row)(language, phrases, scene.order, ordered)


@functools.lru_cache(maxsize=4)  # one scene is told in several languages
def groups(things):
    """[(noun, colour, text, how many)] of what has one name, in the order in which it is first met."""
    found = {}
    for t in things:
        kind = (t.noun, t.colour, t.text)
        found[kind] = found.get(kind, 0) + 1
    return [(*kind, count) for kind, count in found.items()]


def _part(language, noun, colour, text, count):
    if count == 1:
        return grammar.phrase(language, noun, colour, text).plain
    return grammar.several(language, count, noun, colour)


def translations(scene, languages, ordered):
    return {language: sentences(scene, language, ordered) for language in languages if language != "en"}


def nearly_right(random, scene, foil):
    """English captions that are wrong in one word or two; what is wrong cannot be told from the words alone.

    foil: a thing that is not in the scene
    """
    names = [(t.noun, t.colour, t.text) for t in scene.things]
    wrong = []
    if scene.layout in ("pair", "row"):
        wrong.append((names, OPPOSITE[scene.order]))  # a left of b -> a right of b
    number = int(random.integers(len(names)))
    if not scene.things[number].text:
        others = [*names[:number], (foil.noun, foil.colour, None), *names[number + 1 :]]
        wrong.append((others, scene.order))
    if len(names) == 2 and len({colour for _, colour, _ in names} - {None}) == 2 and names[0][0] != names[1][0]:
        (a, x, _), (b, y, _) = names  # a red circle and a blue square -> a blue circle and a red square
        wrong.append(([(a, y, None), (b, x, None)], scene.order))
    return [_caption(random, scene, names, order) for names, order in wrong]


def _caption(random, scene, names, order):
    phrases = [grammar.phrase("en", *name) for name in names]
    if scene.layout == "one":
        return grammar.one("en", phrases[0])[0]
    if scene.layout == "any":
        counts = [(name, names.count(name)) for name in dict.fromkeys(names)]
        parts = [_part("en", *name, count) for name, count in counts]
        return grammar.any_number("en", parts, len(names), [random.permutation(len(parts)).tolist()])[0]
    turned = [bool(random.integers(2))]
    return (grammar.two if scene.layout == "pair" else grammar.row)("en", phrases, order, turned)[0]
