"""Answers: by hand, and against frozen results of VQA's own evaluation code."""

import json
from pathlib import Path

import pytest

from minivl.metrics import vqa_scores
from minivl.metrics.vqa import answer_accuracy, normalised

FROZEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text(encoding="utf-8"))["vqa"]


def test_scores_equal_what_the_official_code_gave():
    for case in FROZEN:
        assert normalised(case["found"]) == case["normalised"]
        assert answer_accuracy(case["found"], case["truth"]) == pytest.approx(case["accuracy"])
    truth = {k: case["truth"] for k, case in enumerate(FROZEN)}
    scores = vqa_scores(truth, {k: case["found"] for k, case in enumerate(FROZEN)})
    assert scores["accuracy"] == pytest.approx(sum(case["accuracy"] for case in FROZEN) / len(FROZEN))


@pytest.mark.parametrize("same, accuracy", [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_how_many_of_ten_make_an_answer_right(same, accuracy):
    answers = ["cat"] * same + [f"dog {k}" for k in range(10 - same)]
    assert answer_accuracy("cat", answers) == pytest.approx(accuracy)


@pytest.mark.parametrize(
    "answer, expected",
    [
        ("Two of the Dogs.", "2 of dogs"),
        ("it is 3.5 kg", "it is 3.5 kg"),
        ("1,000", "1000"),
        ("red, white", "red white"),
        ("blue-green", "blue green"),
        ("dont know", "don't know"),
        ("An apple\n", "apple"),
        ("none", "0"),
        ("girl's", "girl's"),
        ("2:50 PM", "2:50 pm"),
    ],
)
def test_answers_are_normalised(answer, expected):
    assert normalised(answer) == expected


def test_kinds_and_exact_match():
    truth = {1: ["yes"] * 10, 2: ["2"] * 9 + ["3"], 3: ["a red ball"]}
    found = {1: "Yes.", 2: "three", 3: "red ball"}
    scores = vqa_scores(truth, found, {1: "yes/no", 2: "number", 3: "other"})
    assert scores["exact_match"] == 1 and scores["accuracy"] is None  # one answer is too few to be accurate
    assert scores["by_kind"]["yes/no"] == {"accuracy": 1.0, "exact_match": 1.0, "questions": 1}
    assert scores["by_kind"]["number"]["accuracy"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    "truth, found, kinds, words",
    [
        ({}, {}, None, "none at all"),
        ({1: ["a"]}, {2: "a"}, None, "1 is in one of them"),
        ({1: "yes"}, {1: "yes"}, None, "list of answers"),
        ({1: []}, {1: "yes"}, None, "list of answers"),
        ({1: ["a"]}, {1: 3}, None, "list of answers"),
        ({1: ["a"]}, {1: "a"}, {}, "kinds"),
    ],
)
def test_what_cannot_be_scored_is_refused(truth, found, kinds, words):
    with pytest.raises(ValueError, match=words):
        vqa_scores(truth, found, kinds)
