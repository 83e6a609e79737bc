"""What scenes are put together from: drawn shapes, and cut-outs of stamps and emoji; cut small, tinted, with masks.

    pool = Pool(["shapes", "stamps", "emoji/google"])
    pool.nouns("train")                    ["circle", ..., "dog", ...]
    pool.choose("train", "dog", random)    one of the pictures of a dog that training may use
    sprite(cutout, 30, "red")              30 pixels long, in shades of red: picture, alpha, mask

A picture belongs to one split: of the pictures of a noun one is kept for validation and one for testing where there
are three or more. A noun that validation or testing shows has other pictures in training.
"""

import functools
import io
import re
import zlib
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from data_tools.scenes.nouns import SHAPES, WORDS, noun_of
from minivl.data import rle
from minivl.data import scenes as drawn
from minivl.data.shards import DataError, read_shards

SPLITS = ("train", "validation", "test")
COLOURS = drawn.COLOURS  # of shapes
_COLOURS = tuple(COLOURS)
TINTS = ("red", "yellow", "green", "blue", "purple")  # of cut-outs; a black elephant would have no eyes
SOLID = 127  # a pixel less transparent than this belongs to the mask
SLIMMEST = 0.3  # of the sides of a cut-out; a thinner one cannot be seen when it is small
_RIM = 24  # points of the rim at which contrast is measured


@dataclass(frozen=True, eq=False)
class CutOut:
    """A picture of one thing.   noun: its name, "word" for a text   picture: RGBA, None where it is drawn"""

    noun: str
    key: str  # where it comes from
    picture: Image.Image | None = None
    text: str | None = None

    @property
    def drawn(self):
        return self.picture is None


class Pool:
    """The cut-outs that a set is made from.

    sources: "shapes", and shards of emoji or stamps (folders, prefixes, files), which name what their pictures show
    """

    def __init__(self, sources, words=True):
        self._by_split = {split: {} for split in SPLITS}
        pictures = {}
        for source in sources:
            if source == "shapes":
                for shape in SHAPES:
                    for split in SPLITS:
                        self._by_split[split][shape] = [CutOut(shape, shape)]
            else:
                for cutout in _cutouts(source):
                    pictures.setdefault(cutout.noun, {}).setdefault(_digest(cutout.picture), cutout)
        for noun, found in sorted(pictures.items()):
            for number, (_, cutout) in enumerate(sorted(found.items())):
                self._by_split[_split(noun, number, len(found))].setdefault(noun, []).append(cutout)
        self.words = [CutOut("word", text, text=text) for text in WORDS] if words else []
        for split in SPLITS:
            if len(self._by_split[split]) < 4:
                held = ", ".join(self._by_split[split]) or "nothing"
                raise DataError(f"things: {split} has pictures of {held}; a set needs four nouns in each split")

    def nouns(self, split):
        return list(self._by_split[split])

    def choose(self, split, noun, random):
        found = self._by_split[split][noun]
        return found[int(random.integers(len(found)))] if len(found) > 1 else found[0]

    def pictures(self, split):
        """Every cut-out of a split."""
        return [cutout for found in self._by_split[split].values() for cutout in found]

    def classes(self, split):
        """{noun: its pictures}, for what is split by nouns rather than by pictures: one in six for each test."""
        every = {}
        for pictures in self._by_split.values():
            for noun, found in pictures.items():
                every.setdefault(noun, []).extend(found)
        place = {"validation": (4,), "test": (5,), "train": (0, 1, 2, 3)}[split]
        return {noun: list(dict.fromkeys(every[noun])) for k, noun in enumerate(sorted(every)) if k % 6 in place}

    def colours(self, noun):
        """The colours in which a noun can be shown, beside its own."""
        return _COLOURS if noun in SHAPES else TINTS

    def fingerprint(self):
        """Names all that a set depends on."""
        digest = sha256()
        for split in SPLITS:
            for cutout in self.pictures(split):
                content = _digest(cutout.picture) if cutout.picture else ""
                digest.update(f"{split} {cutout.noun} {cutout.key} {content}\n".encode())
        return digest.hexdigest()


def _cutouts(source):
    """The examples of shards that show one thing with a noun of ours, on a transparent ground."""
    found = False
    for example in read_shards(source):
        noun = noun_of(str(example.info.get("name") or ""))
        if noun is None:
            continue
        picture = Image.open(io.BytesIO(example.image)).convert("RGBA")
        box = picture.getchannel("A").point(lambda alpha: 255 * (alpha > SOLID)).getbbox()
        if box and min(picture.crop(box).size) >= SLIMMEST * max(picture.crop(box).size):
            found = True
            yield CutOut(noun, example.key, picture.crop(box))
    if not found:
        raise DataError(f"things: {source} has no cut-outs; give shapes, or shards made by data_tools.stamps or .emoji")


def _digest(picture):
    return sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


def _split(noun, number, count):
    """Picture 0, 1, 2, ... of a noun: the first for training, then one for each of the other splits, if there are."""
    if number == 0 or number > 2:
        return "train"
    if count == 2:
        return SPLITS[1 + zlib.crc32(noun.encode()) % 2]
    return SPLITS[number]


# ---- sprites ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sprite:
    """A cut-out in one size, cropped to its mask.

    picture   RGB; None of what is drawn: `alpha` (L) is then a stencil, to be filled with any colour
    rim       rows and columns of some points on the edge of the mask
    colours   at these points, (n, 3); None of a stencil
    """

    picture: Image.Image | None
    alpha: Image.Image
    mask: np.ndarray
    rim: tuple
    colours: np.ndarray | None

    @property
    def size(self):
        return self.alpha.size

    @functools.cached_property
    def area(self):
        return int(self.mask.sum())

    def segmentation(self, x, y, side):
        """The mask as COCO writes it, where the sprite's corner lies at (x, y) of a picture of side x side pixels.

        Where it lies changes only how much is off before its first run and after its last: the codes of all that is
        between are kept.
        """
        before, between, gap, after = self._codes(side)
        place = x * side + y
        if self.size[1] == side or place >= after:  # runs of two columns may touch, or nothing is off at the end
            return rle.encode(self._placed(x, y, side))
        return {"size": [side, side], "counts": _code(before + place) + between + _code(after - place - gap)}

    def _placed(self, x, y, side):
        whole = np.zeros((side, side), bool)
        whole[y : y + self.size[1], x : x + self.size[0]] = self.mask
        return whole

    def _codes(self, side):
        """At (0, 0): how much is off before the first run, the codes between, what the last count is written as its
        difference to, how much is off after the last run."""
        if side not in self._kept:
            whole = self._placed(0, 0, side)
            edges = np.flatnonzero(np.diff(whole.T.ravel(), prepend=False, append=False))
            codes = re.findall("[P-o]*[0-O]", rle.encode(whole)["counts"])  # P to o: more of this number follows
            gap = int(edges[-2] - edges[-3]) if len(edges) > 2 else 0
            self._kept[side] = int(edges[0]), "".join(codes[1:-1]), gap, side * side - int(edges[-1])
        return self._kept[side]

    @functools.cached_property
    def _kept(self):
        return {}


def _code(count):
    """One count in COCO's code; see `minivl.data.rle`."""
    letters = ""
    while True:
        piece, count = count & 31, count >> 5
        more = count != (-1 if piece & 16 else 0)
        letters += chr(48 + piece + 32 * more)
        if not more:
            return letters


@functools.lru_cache(maxsize=8192)
def sprite(cutout, length, tint=None):
    """The cut-out with a longer side of `length` pixels; a picture may be tinted."""
    if tint:
        plain = sprite(cutout, length)
        picture = _tinted(plain.picture, plain.alpha, COLOURS[tint])
        return replace(plain, picture=picture, colours=_at(picture, plain.rim))
    if cutout.drawn:
        return _sprite(None, _word(cutout.text, length) if cutout.text else _shape(cutout.noun, length))
    scale = length / max(cutout.picture.size)
    picture = cutout.picture.resize([max(2, round(side * scale)) for side in cutout.picture.size])
    return _sprite(picture.convert("RGB"), picture.getchannel("A"))


def _sprite(picture, alpha):
    solid = np.asarray(alpha) > SOLID
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    mask = np.ascontiguousarray(solid[box[1] : box[3], box[0] : box[2]])
    picture, alpha = picture and picture.crop(box), alpha.crop(box)
    inner = np.pad(mask, 1)
    inner = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    edge = np.nonzero(mask & ~inner)
    some = np.linspace(0, len(edge[0]) - 1, min(_RIM, len(edge[0]))).astype(int)
    rim = edge[0][some], edge[1][some]
    return Sprite(picture, alpha, mask, rim, picture and _at(picture, rim))


def _at(picture, places):
    return np.asarray(picture)[places].astype(np.int32)


def _shape(name, length):
    """The stencil of a shape of the demo's, as `minivl.data.scenes` draws it, with smooth edges."""
    item = drawn.Item("black", name, "large", 0.5, 0.5, 0.4, (0, 0, 0))
    alpha = ImageOps.invert(drawn.draw(drawn.Scene("", (item,), True, ((255,) * 3,) * 2), 4 * length).convert("L"))
    alpha = alpha.crop(alpha.getbbox())
    scale = length / max(alpha.size)
    return alpha.resize([round(side * scale) for side in alpha.size], Image.Resampling.BOX)


def _word(text, length):
    """The stencil of a text, in Pillow's own font."""
    font = ImageFont.load_default(size=40)
    left, top, right, bottom = font.getbbox(text)
    alpha = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(alpha).text((-left, -top), text, fill=255, font=font)
    alpha = alpha.crop(alpha.getbbox())
    alpha = alpha.resize((length, max(5, round(length * alpha.height / alpha.width))))
    return alpha.point([min(255, value * 3 // 2) for value in range(256)])


def _tinted(picture, alpha, rgb):
    """A picture in the shades of one colour: dark where it was dark, bright where it was bright."""
    grey, rgb = picture.convert("L"), np.array(rgb, np.float32)
    darker = np.cumsum(grey.histogram(alpha))
    dark, bright = np.searchsorted(darker, darker[-1] * np.array([0.02, 0.98]))
    light = np.clip((np.arange(256) - dark) / max(1.0, bright - dark), 0, 1)[:, None]
    shades = np.where(light < 0.5, rgb * (0.35 + 1.3 * light), rgb + (light - 0.5) * (255 - rgb))
    return Image.fromarray(shades.astype(np.uint8)[np.asarray(grey)])
