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


def test_tangled_masks_equal_their_pixels(random, monkeypatch):
    """By bits, or by runs where bits would take more room; beside masks that are not tangled, and empty ones."""
    for bits in (0, 64):
        monkeypatch.setattr(overlap, "_BITS_A_RUN", bits)
        for _ in range(20):
            shape = tuple(random.integers(30, 90, 2))
            noise = random.random((2, 3, *shape)) < random.random((2, 3, 1, 1))
            noise[:, 1] = np.repeat(noise[:, :1, :1], shape[0], 2)[:, 0]  # stripes
            expected = [[pixel_iou(d, g, False) for g in noise[1]] for d in noise[0]]
            np.testing.assert_array_equal(mask_iou(*map(rle.encode, noise)), expected)


def test_wide_masks_equal_their_pixels(random):
    """Of more columns than are told apart, or in one column only; a vast one is not decoded."""
    for shape in [(2, 9001), (1, 20_000), (9001, 2), (20_000, 1)]:
        masks = np.repeat(random.random((2, 4, shape[0], -(-shape[1] // 50))) < 0.5, 50, 3)[..., : shape[1]]
        expected = [[pixel_iou(d, g, False) for g in masks[1]] for d in masks[0]]
        np.testing.assert_array_equal(mask_iou(*map(rle.encode, masks)), expected)
    for size in ([1, 1 << 39], [1 << 39, 1], [1 << 20, 1 << 19]):
        one, other = ({"size": size, "counts": [n, 1 << 38, (1 << 38) - n]} for n in (0, 1 << 37))
        assert mask_iou([one], [other])[0, 0] == 1 / 3


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
