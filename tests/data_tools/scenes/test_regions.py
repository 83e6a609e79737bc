"""Expressions that refer fit exactly one object, decided anew from the JSON; what else is said is right, too."""

import collections
import re

import numpy as np
import pytest

from data_tools.scenes import examples, grammar
from data_tools.scenes.cutouts import COLOURS
from data_tools.scenes.nouns import NOUNS
from minivl.data import rle

EXTREME = {"leftmost": (0, 1), "rightmost": (0, -1), "topmost": (1, 1), "lowest": (1, -1)}
RELATION = {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}


def centre(thing):
    x, y, w, h = thing["bbox"]
    return x + w / 2, y + h / 2


def fitting(phrase, info):
    """Every object of the JSON that a phrase fits, read word by word."""
    if written := re.fullmatch(r'the word "(\w+)"', phrase):
        return [o for o in info["objects"] if o["attributes"].get("text") == written[1]]
    pattern = rf"(?:the|an?) (?:({'|'.join(EXTREME)}) )?(?:(small|large) )?(?:({'|'.join(COLOURS)}) )?(.+?)"
    extreme, size, colour, noun, said, anchor = re.fullmatch(
        rf"{pattern}(?: ({'|'.join(RELATION)}) (the .+))?", phrase
    ).groups()
    found = [
        o for o in info["objects"] if noun in (o["label"], "thing") and size in (None, o["attributes"].get("size"))
    ]
    # What is shown in its own colours may be of any colour.
    found = [o for o in found if colour in (None, o["attributes"].get("colour", colour))]
    if said:
        (other,) = fitting(anchor, info)
        axis, sign = RELATION[said]
        found = [o for o in found if o is not other and clearly(o, other, axis, sign)]
    if extreme:
        axis, sign = EXTREME[extreme]
        best = min(sign * centre(o)[axis] for o in found)
        found = [o for o in found if sign * centre(o)[axis] <= best + 3]
    return found


def clearly(a, b, axis, sign):
    gaps = [centre(b)[k] - centre(a)[k] for k in (0, 1)]
    return sign * gaps[axis] > 0 and abs(gaps[axis]) >= 1.3 * abs(gaps[1 - axis])


@pytest.mark.parametrize("pool", ["drawn_examples", "cutout_examples"])
def test_expressions_fit_their_object_and_no_other(pool, request):
    kinds = collections.Counter()
    for *_, info in request.getfixturevalue(pool):
        for entry in info["expressions"]:
            for phrase in entry["phrases"]:
                assert [o["id"] for o in fitting(phrase, info)] == [entry["object"]], (phrase, info["objects"])
                kinds.update(
                    w for w in (*EXTREME, "left of", "above", "small", "red", "thing") if f" {w} " in phrase + " "
                )
            assert len(set(entry["phrases"])) == len(entry["phrases"])
    assert min(kinds[w] for w in ("leftmost", "topmost", "left of", "above", "small", "red")) > 3
    assert pool != "drawn_examples" or kinds["thing"] > 10


def test_twins_have_no_expression_that_fits_both(shapes):
    """Of two red circles neither is "the red circle"."""
    seen = 0
    for i in range(400):
        record = examples.scene(shapes, 4, "train", i, 64, layouts={"count": 1})
        for name in {n for n in record.names if record.names.count(n) > 1}:
            seen += 1
            for t in record.things:
                if t.name == name:
                    said = [str(e) for e in examples.regions.referring(record, t)]
                    assert f"the {name}" not in said and f"the {t.noun}" not in said
    assert seen > 20


def test_regions_describe_what_is_in_their_box(drawn_examples):
    for *_, info in drawn_examples:
        by_id = {o["id"]: o for o in info["objects"]}
        assert [r["object"] for r in info["regions"]] == list(by_id)
        for region in info["regions"]:
            thing = by_id[region["object"]]
            assert region["bbox"] == thing["bbox"]
            phrase, (x, y) = region["phrase"], centre(thing)
            side = info["objects"][0]["segmentation"]["size"][0]
            if place := re.search(r" (at the|on the|in the) ((?:top|bottom)? ?(?:left|right)?|middle)$", phrase):
                words = place[2].split()
                assert ("left" in words) == (x < side / 3) and ("right" in words) == (x >= 2 * side / 3)
                assert ("top" in words) == (y < side / 3) and ("bottom" in words) == (y >= 2 * side / 3)
                phrase = phrase[: place.start()]
            assert thing in fitting(phrase, info), (phrase, thing)


def test_the_graph_holds_every_clear_relation_both_ways(drawn_examples):
    turned = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    for *_, info in drawn_examples:
        by_id = {o["id"]: o for o in info["objects"]}
        told = {(r["subject"], r["predicate"], r["object"]) for r in info["relations"]}
        assert {(b, turned[p], a) for a, p, b in told} == told
        for a, predicate, b in told:
            assert clearly(by_id[a], by_id[b], *RELATION[predicate])


def test_objects_have_boxes_areas_masks_and_attributes_that_agree(drawn_examples, cutout_examples):
    for *_, info in [*drawn_examples[::4], *cutout_examples[::2]]:
        for thing in info["objects"]:
            mask = thing["segmentation"]
            assert rle.box(mask) == thing["bbox"] and rle.area(mask) == thing["area"] == rle.decode(mask).sum()
            assert set(thing["attributes"]) <= {"colour", "size", "text"} and thing["label"] in (*NOUNS, "word")
            if thing["label"] == "word":
                assert {"text": thing["attributes"]["text"], "object": thing["id"], "bbox": thing["bbox"]} in info[
                    "words"
                ]
            else:
                longer = max(thing["bbox"][2:]) / mask["size"][0]
                assert (thing["attributes"]["size"] == "large") == (longer > 0.225)


# ---- captions --------------------------------------------------------------------------------------------------------


def named(info):
    return [o["attributes"].get("text") or " ".join(filter(None, (o["attributes"].get("colour"), o["label"])))
            for o in info["objects"]]  # fmt: skip


@pytest.mark.parametrize("pool", ["drawn_examples", "cutout_examples"])
def test_a_caption_and_five_paraphrases_that_name_everything(pool, request):
    for _, _, captions, info in request.getfixturevalue(pool):
        assert len(captions) == len(set(captions)) == 6
        for caption in captions:
            for name, count in collections.Counter(named(info)).items():
                noun = name.split(" ", 1)[-1] if name.split(" ")[0] in COLOURS else name
                said = name if count == 1 else name.replace(noun, NOUNS[noun]["en"].plural)
                assert said in caption, (said, caption)
        assert set(info["translations"]) == {"de", "fr", "es", "it"}
        for sentences in info["translations"].values():
            assert len(sentences) == 6 and not any("{" in s or "  " in s for s in sentences)
        assert info["labels"] == list(dict.fromkeys(named(info)))


def told_first(caption, info):
    names = named(info)
    return min(names, key=lambda name: caption.index(name)) == names[0]


def test_word_order_is_balanced_and_captions_tell_the_truth(drawn_examples):
    begins, relations = [], collections.Counter()
    for _, _, captions, info in drawn_examples:
        if info["layout"] != "pair":
            continue
        a, b = info["objects"]
        begins += [told_first(c, info) for c in captions]
        for caption in (captions[0], captions[5]):
            subject, said = re.fullmatch(r"(.+?) (?:is )?(left of|right of|above|below) .+", caption).groups()
            relations[said] += 1
            one, other = (a, b) if subject.endswith(named(info)[0]) or named(info)[0] in subject else (b, a)
            assert clearly(one, other, *RELATION[said]), caption
    assert abs(np.mean(begins) - 0.5) < 0.06
    assert min(relations.values()) > 0.17 * sum(relations.values())


def test_what_is_nearly_right_is_wrong(drawn_examples, cutout_examples):
    count = 0
    for _, _, captions, info in [*drawn_examples, *cutout_examples]:
        for wrong in info.get("negatives", []):
            count += 1
            assert wrong not in captions
            if info["layout"] in ("one", "any") or not re.search(r" (left of|right of|above|below) ", wrong):
                continue
            subject, said, other = re.fullmatch(r"(.+?) (left of|right of|above|below) (.+)", wrong).groups()
            known = [[o for o in fitting(phrase, info)] for phrase in (subject, other)]
            assert not all(known) or not clearly(known[0][0], known[1][0], *RELATION[said]), (wrong, captions)
    assert count > 500


def test_translations_say_the_same(shapes):
    """Sentence k begins at the same end in every language, so that they are parallel."""
    for i in range(60):
        _, _, captions, info = examples.example(shapes, 6, "train", i, side=64)
        if info["layout"] not in ("pair", "row") or "words" in info:
            continue
        objects = [(o["label"], o["attributes"]["colour"]) for o in info["objects"]]
        for language, sentences in {"en": captions, **info["translations"]}.items():
            phrases = [grammar.phrase(language, *thing) for thing in objects]
            for k in (0, 5):  # of these the first word is the subject in every language
                first = [sentences[k].find(p.plain) for p in phrases]
                english = [captions[k].find(grammar.phrase("en", *thing).plain) for thing in objects]
                found = [n for n, place in enumerate(first) if place == min(p for p in first if p >= 0)]
                assert found[0] == int(np.argmin(english)), (captions[k], sentences[k])


def test_only_the_languages_asked_for(shapes):
    info = examples.example(shapes, 0, "train", 0, side=64, languages=("en", "it"))[3]
    assert list(info["translations"]) == ["it"]
