"""Caption scores: by hand, against frozen results of pycocoevalcap and its Java tokenizer, and the odd cases."""

import json
from pathlib import Path

import numpy as np
import pytest

from minivl.metrics import caption_scores
from minivl.metrics.caption_words import words
from minivl.metrics.captioning import _common_subsequence

FROZEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", range(len(FROZEN["captions"])))
def test_scores_equal_what_pycocoevalcap_gave(case):
    frozen = FROZEN["captions"][case]
    scores = caption_scores(frozen["references"], frozen["captions"], tokenize=str.split)
    assert scores == pytest.approx(frozen["scores"], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("caption", FROZEN["words"])
def test_words_equal_those_of_the_java_program(caption):
    assert " ".join(words(caption)) == FROZEN["words"][caption]


def test_a_perfect_caption_of_enough_words_is_perfect():
    references = {k: [f"a {shape} stands on the green hill", "something else"] for k, shape in enumerate("abc")}
    scores = caption_scores(references, {k: some[0] for k, some in references.items()})
    assert [scores[f"BLEU-{n}"] for n in range(1, 5)] == pytest.approx([1] * 4)
    assert scores["ROUGE-L"] == pytest.approx(1)


def test_a_caption_with_nothing_in_common_scores_0():
    scores = caption_scores({1: ["a red apple on a table"], 2: ["two cats"]}, {1: "birds fly", 2: "far away there"})
    assert all(score < 1e-4 for score in scores.values())


def test_bleu_by_hand():
    """Papineni et al. 2002, sec. 2: "the the the the the the the" has a clipped precision of 2/7."""
    references = ["The cat is on the mat.", "There is a cat on the mat."]
    scores = caption_scores({0: references}, {0: "the the the the the the the"})
    assert scores["BLEU-1"] == pytest.approx(2 / 7)
    short = caption_scores({0: references}, {0: "the cat"})  # 2 words where the closest reference has 6
    assert short["BLEU-2"] == pytest.approx(np.exp(1 - 6 / 2))


def test_what_is_peculiar_to_pycocoevalcap():
    three, two = {0: ["a red apple"], 1: ["one big dog"]}, {0: ["red apple"], 1: ["big dog"]}
    same = {k: some[0] for k, some in three.items()}
    assert caption_scores({0: three[0]}, {0: same[0]})["CIDEr"] == 0  # one picture: ln 1 = 0
    assert caption_scores(three, same)["CIDEr"] == pytest.approx(7.5)  # no 4-grams
    assert caption_scores(two, {0: "red apple", 1: "big dog"})["CIDEr"] == pytest.approx(5)
    assert caption_scores(three, same)["BLEU-4"] == pytest.approx(0.0316, abs=1e-4)


def test_a_caption_without_words_scores_0():
    scores = caption_scores({0: ["a cat sits here"], 1: ["a dog"]}, {0: "", 1: "..."})
    assert all(score < 1e-4 for score in scores.values())


def test_the_order_of_pictures_and_references_does_not_matter(random):
    vocabulary = ["a", "red", "cat", "on", "the", "mat", "two"]
    references = {k: [" ".join(random.choice(vocabulary, 7)) for _ in range(3)] for k in range(9)}
    captions = {k: " ".join(random.choice(vocabulary, 6)) for k in range(9)}
    shuffled = {int(k): list(random.permutation(references[int(k)])) for k in random.permutation(9)}
    assert caption_scores(shuffled, captions) == pytest.approx(caption_scores(references, captions))


def test_the_longest_common_subsequence_equals_the_table(random):
    for _ in range(200):
        one, other = (random.integers(0, 4, random.integers(1, 90)).tolist() for _ in range(2))
        table = np.zeros((len(one) + 1, len(other) + 1), int)
        for i, a in enumerate(one):
            for j, b in enumerate(other):
                table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
        places = {a: sum(1 << k for k, word in enumerate(one) if word == a) for a in one}
        assert _common_subsequence(places, len(one), other) == table[-1, -1]


@pytest.mark.parametrize(
    "references, captions, words",
    [
        ({}, {}, "at least one"),
        ({1: ["a"]}, {2: "a"}, "id 1 is in only one"),
        ({1: "a"}, {1: "a"}, "must be a list of texts"),
        ({1: []}, {1: "a"}, "must be a list of texts"),
        ({1: ["a"]}, {1: ["a"]}, "must be a list of texts"),
        ([["a"]], ["a"], "must be dicts"),
    ],
)
def test_what_cannot_be_scored_is_refused(references, captions, words):
    with pytest.raises(ValueError, match=words):
        caption_scores(references, captions)
