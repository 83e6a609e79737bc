"""Intersection over union: of masks as of their pixels, of boxes as of small masks."""

import numpy as np
import pytest

from minivl.data import rle
from minivl.metrics import box_iou, mask_iou, overlap


def pixel_iou(found, truth, crowd):
    both, either = (found & truth).sum(), (found | truth).sum()
    below = found.sum() if crowd else either
    return both / below if both else 0.0


def test_masks_equal_their_pixels(random, monkeypatch):
    for turn in range(150):
        for name in ("_PAIRS", "_TABLE", "_AT_A_TIME"):  # a few at a time, or all
            monkeypatch.setattr(overlap, name, 40 if turn % 2 else 1 << 16)
        shape = tuple(random.integers(1, 20, 2))
        found, truth = (random.random((random.integers(0, 5), *shape)) < random.random() for _ in range(2))
        crowd = random.random(len(truth)) < 0.3
        expected = [[pixel_iou(d, g, c) for g, c in zip(truth, crowd, strict=True)] for d in found]
        ious = mask_iou(rle.encode(found), rle.encode(truth), crowd)
        assert ious.shape == (len(found), len(truth))
        np.testing.assert_array_equal(ious, np.array(expected).reshape(ious.shape))


def test_boxes_on_whole_pixels_equal_masks(random):
    for _ in range(50):
        corners = random.integers(0, 12, (2, 4, 2)), random.integers(0, 9, (2, 4, 2))
        found, truth = np.concatenate(corners, 2)
        masks = np.zeros((2, 4, 24, 24), bool)
        for mask, (x, y, w, h) in zip(masks.reshape(8, 24, 24), np.concatenate([found, truth]), strict=True):
            mask[y : y + h, x : x + w] = True
        crowd = random.random(4) < 0.3
        expected = mask_iou(rle.encode(masks[0]), rle.encode(masks[1]), crowd)
        np.testing.assert_array_equal(box_iou(found, truth, crowd), expected)


def test_by_hand():
    np.testing.assert_allclose(box_iou([[0, 0, 2, 2]], [[1, 0, 2, 2], [2, 0, 1, 1], [0, 0, 2, 2]]), [[1 / 3, 0, 1]])
    np.testing.assert_allclose(box_iou([[0, 0, 2, 2]], [[1, 0, 2, 2]], [True]), [[1 / 2]])
    assert box_iou([], []).shape == (0, 0) and mask_iou([], []).shape == (0, 0)


def test_what_cannot_be_compared_is_refused():
    one, other = {"size": [2, 2], "counts": [0, 4]}, {"size": [2, 3], "counts": [0, 6]}
    with pytest.raises(ValueError, match=r"found mask 0 has size \[2, 2\], true mask 0 \[2, 3\]"):
        mask_iou([one], [other])
    with pytest.raises(ValueError, match="crowd"):
        mask_iou([one], [one], [True, False])
    with pytest.raises(ValueError, match="finite"):
        box_iou([[0, 0, np.nan, 1]], [])
