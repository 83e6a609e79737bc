"""Questions about scenes: every answer is what the record says, and each question has one."""

import pytest

from minivl.data.questions import questions
from minivl.data.scenes import scene


@pytest.mark.parametrize("split", ["train", "val", "held-out"])
def test_answers_are_those_of_the_record(split):
    kinds = set()
    for i in range(200):
        s = scene(0, split, i, counts=(0.2, 0.5, 0.3))
        labels, asked = s.labels, questions(s)
        assert len({q["question"] for q in asked}) == len(asked) or len(set(labels)) < len(labels)
        for q in asked:
            [answer], kind, words = q["answers"], q["kind"], q["question"].removesuffix("?").split()
            kinds.add(kind)
            if kind == "number":
                assert answer == str(len(labels))
            elif kind == "colour":
                assert [label for label in labels if label.endswith(words[-1])] == [f"{answer} {words[-1]}"]
            elif kind == "shape":
                assert [label for label in labels if label.startswith(words[4])] == [f"{words[4]} {answer}"]
            elif kind == "yes or no":
                assert (answer == "yes") == (" ".join(words[-2:]) in labels)
            else:  # reading order is from left to right, or from top to bottom
                if kind == "relation":
                    other, before = " ".join(words[-2:]), words[2] in ("left", "above")
                    one, across = answer, words[2] in ("left", "right")
                else:
                    one, other = " ".join(words[3:5]), " ".join(words[-2:])
                    before, across = answer in ("left", "above"), answer in ("left", "right")
                assert across == s.across
                places = [(i, j) for i, a in enumerate(labels) for j, b in enumerate(labels) if (a, b) == (one, other)]
                assert (1 if before else -1) in [j - i for i, j in places]
    assert kinds == {"number", "colour", "shape", "yes or no", "relation", "place"}
