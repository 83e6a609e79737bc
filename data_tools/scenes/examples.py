"""Examples out of scenes: the picture as a PNG, the captions, and the JSON with everything else.

example(pool, seed, split, i)   ->   key, bytes, captions, info

info     labels, split, translations, negatives          what is in it, and what is said of it
         objects, relations                              boxes, masks; the scene graph
         regions, expressions                            descriptions of parts; phrases that fit one thing only
         questions, words                                with answers; what is written, in reading order
         layout, background                              how it was made
"""

import io
import zlib

from data_tools.scenes import captions, regions
from data_tools.scenes.compose import LAYOUTS, draw, generator, planned, scene, things
from data_tools.scenes.cutouts import SPLITS
from data_tools.scenes.grammar import LANGUAGES
from data_tools.scenes.questions import questions
from data_tools.scenes.record import WORDS_OF


def example(pool, seed, split, i, side=96, languages=LANGUAGES, photos=()):
    """(key, PNG, captions, info) of scene number `i` of a split."""
    record = scene(pool, seed, split, i, side, photos)
    random = generator(seed, SPLITS.index(split), i, 1)
    donor, _ = things(random, pool, split, planned(random, LAYOUTS))
    foil = donor[int(random.integers(len(donor)))]
    ordered = captions.orders(random, record)
    said = captions.sentences(record, "en", ordered)
    info = {
        "split": split,
        "labels": list(dict.fromkeys(record.names)),
        "translations": captions.translations(record, languages, ordered),
        "objects": [thing_info(t, side) for t in record.things],
        "relations": [{"subject": a.id, "predicate": WORDS_OF[r], "object": b.id} for a, r, b in record.relations],
        "regions": [
            {"object": t.id, "phrase": regions.description(random, record, t), "bbox": t.box} for t in record.things
        ],
        "expressions": [
            {"object": t.id, "phrases": phrases}
            for t in record.things
            if (phrases := [str(e) for e in regions.referring(record, t)])
        ],
        "questions": questions(random, record, foil),
        "layout": record.layout,
        "background": record.background.kind,
    }
    if not foil.text and not any(t.may_be(foil.noun, foil.colour) for t in record.things):
        info["negatives"] = captions.nearly_right(random, record, foil)
    if words := [t for t in record.things if t.text]:
        info["words"] = [
            {"text": t.text, "object": t.id, "bbox": t.box} for t in sorted(words, key=lambda t: (t.y, t.x))
        ]
    return record.key, png(draw(record, photos)), said, info


def thing_info(t, side):
    """A thing as COCO has objects, with the attributes that the record is sure of."""
    attributes = {"size": t.size} if not t.text else {"text": t.text}
    return {
        "id": t.id,
        "label": t.noun,
        "bbox": t.box,
        "area": t.sprite.area,
        "segmentation": t.sprite.segmentation(t.x, t.y, side),
        "attributes": {**attributes, **({"colour": t.colour} if t.colour else {})},
    }


def png(picture):
    """The bytes of a picture; packed by runs, which takes half of the time and no more room."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return out.getvalue()
