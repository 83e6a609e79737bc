"""Mean IoU: against loops over classes, and by hand."""

import numpy as np
import pytest

from minivl.metrics import mean_iou


def test_equals_loops_over_classes(random):
    for _ in range(20):
        shapes = [tuple(random.integers(1, 9, 2)) for _ in range(3)]
        truth = {k: random.choice([0, 1, 2, 4, 255], shape) for k, shape in enumerate(shapes)}
        found = {k: random.integers(0, 5, shape).astype(np.uint8) for k, shape in enumerate(shapes)}
        t, f = (np.concatenate([maps[k].ravel() for k in truth]) for maps in (truth, found))
        t, f = t[t != 255], f[t != 255]
        if not len(t):
            continue
        classes = [c for c in range(6) if (t == c).any() or (f == c).any()]
        ious = [((t == c) & (f == c)).sum() / ((t == c) | (f == c)).sum() for c in classes]
        scores = mean_iou(truth, found, 6)
        assert scores["by_class"] == pytest.approx(dict(zip(classes, ious, strict=True)))
        assert scores["mean_iou"] == pytest.approx(np.mean(ious))
        assert scores["pixel_accuracy"] == pytest.approx((t == f).mean())


def test_by_hand():
    scores = mean_iou({"a": np.array([[0, 0], [1, 255]])}, {"a": np.array([[0, 1], [1, 0]])}, 3)
    assert scores["by_class"] == {0: 0.5, 1: 0.5} and scores["pixel_accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "truth, found, words",
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "one shape"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "whole numbers"),
        (np.full((2, 2), 7), np.zeros((2, 2), int), "truth has classes 7 to 7"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), "found has classes -1"),
        (np.full((2, 2), 255), np.zeros((2, 2), int), "does not count"),
    ],
)
def test_what_cannot_be_scored_is_refused(truth, found, words):
    with pytest.raises(ValueError, match=words):
        mean_iou({"a": truth}, {"a": found}, 5)


def test_pictures_must_be_the_same():
    with pytest.raises(ValueError, match="b is in one of them"):
        mean_iou({"a": np.zeros((1, 1), int)}, {"a": np.zeros((1, 1), int), "b": np.zeros((1, 1), int)}, 2)
