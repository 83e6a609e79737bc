"""The record of a scene: what is where. Everything that is said, asked or drawn of a scene is read off it.

Scene --- things: noun, colour, size, box, mask          caption, paraphrases, translations     grammar.py, captions.py
      --- layout: one, a pair, a row, any number         questions and answers                  questions.py
      --- background                                     regions, referring expressions         regions.py
                                                         boxes and masks                        examples.py, coco.py
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

from data_tools.scenes.cutouts import CutOut, Sprite

CLEAR = 1.3  # how much further two things must lie apart along one axis than along the other to be left, right, ...
WORDS_OF = {"left": "left of", "right": "right of", "above": "above", "below": "below"}


@dataclass(eq=False)
class Thing:
    """One thing in its place.   x, y: the left upper corner, in pixels   ink: the colour of what is drawn

    Nothing changes one; frozen=True would make each take three times as long, and most are drawn in vain.
    """

    id: int
    cutout: CutOut
    colour: str | None  # that it is called by: a shape's, or a tint; None where it is shown as it is
    size: str  # "small" or "large"
    ink: tuple[int, int, int] | None = None
    sprite: Sprite | None = None
    x: int = 0
    y: int = 0

    @property
    def noun(self):
        return self.cutout.noun

    @property
    def text(self):
        return self.cutout.text

    @property
    def name(self):
        """ "red dog", "dog"; a word goes by what it says."""
        return self.text or (f"{self.colour} {self.noun}" if self.colour else self.noun)

    def at(self, x, y):
        """The same thing elsewhere; `dataclasses.replace` takes twice as long."""
        return Thing(self.id, self.cutout, self.colour, self.size, self.ink, self.sprite, x, y)

    def may_be(self, noun, colour):
        """Could somebody call it so? What is shown in its own colours may be of any colour: apples are red."""
        return self.noun == noun and (colour is None or self.colour in (colour, None))

    @cached_property
    def box(self):
        """[x, y, width, height], as COCO has it."""
        return [self.x, self.y, *self.sprite.size]

    @cached_property
    def middle(self):
        width, height = self.sprite.size
        return self.x + width / 2, self.y + height / 2

    @property
    def rim(self):
        """The colours along its edge, n of 3; what is drawn has one."""
        return self.sprite.colours if self.ink is None else (self.ink,)


@dataclass(frozen=True)
class Background:
    """kind: flat, gradient, plaster or photo   colours: one, or those at the top and at the bottom"""

    kind: str
    colours: tuple
    seed: int = 0
    photo: tuple = ()  # number, left, top, side, how much it is blended with the colour


@dataclass(frozen=True, eq=False)
class Scene:
    """layout: "one", "pair", "row" or "any"; in a pair and in a row each thing is `order` ("left", "above") of the next

    asked: the noun that was chosen to be counted, whether it is there or not
    """

    key: str
    split: str
    side: int
    layout: str
    order: str | None
    things: tuple[Thing, ...]
    background: Background
    asked: str | None = None

    @property
    def names(self):
        return [thing.name for thing in self.things]

    def count(self, noun):
        return sum(thing.noun == noun for thing in self.things)

    @cached_property
    def relations(self):
        """(a, "left", b) for every ordered pair that lies clearly so."""
        pairs = ((a, relation(a, b), b) for a, b in permutations(self.things, 2))
        return [(a, r, b) for a, r, b in pairs if r]


def relation(a, b):
    """Where a is, seen from b: "left", "right", "above", "below"; None where that is not clear."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.box, b.box
    (amx, amy), (bmx, bmy) = a.middle, b.middle
    across, down = abs(amx - bmx), abs(amy - bmy)
    if across >= CLEAR * down and (ax + aw <= bx or bx + bw <= ax):
        return "left" if amx < bmx else "right"
    if down >= CLEAR * across and (ay + ah <= by or by + bh <= ay):
        return "above" if amy < bmy else "below"
    return None
