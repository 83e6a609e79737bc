"""Run lengths of masks: against plain loops, against strings of cocoapi, and against bytes made to break them."""

import contextlib
import itertools

import numpy as np
import pytest

from minivl.data import rle
from minivl.data.shards import DataError

FROZEN = [  # (mask, what pycocotools 2.0.11 makes of it)
    (["...", "..."], "6"),
    (["##", "##"], "04"),
    ([".#", ".#", "#."], "231"),
    ([".##", ".#.", "#.."], "231N1"),
]


def drawn(rows):
    return np.array([[c == "#" for c in row] for row in rows])


def counted(mask):
    """The run lengths down the columns, one pixel after another."""
    pixels = [bool(mask[y, x]) for x in range(mask.shape[1]) for y in range(mask.shape[0])]
    counts = [len(list(run)) for _, run in itertools.groupby(pixels)]
    return [0, *counts] if pixels[0] else counts


def unpacked(letters):
    """rleFrString of maskApi.c, in plain loops."""
    counts, p = [], 0
    while p < len(letters):
        x = k = 0
        more = True
        while more:
            c = ord(letters[p]) - 48
            x |= (c & 31) << 5 * k
            more = bool(c & 32)
            p, k = p + 1, k + 1
            if not more and c & 16:
                x |= -1 << 5 * k
        counts.append(x + counts[-2] if len(counts) > 2 else x)
    return counts


@pytest.mark.parametrize("rows, letters", FROZEN)
def test_a_drawing(rows, letters):
    mask = drawn(rows)
    assert rle.encode(mask) == {"size": list(mask.shape), "counts": letters}


def some_masks(random):
    for share in (0, 0.02, 0.5, 0.98, 1):
        for height, width in ((1, 1), (1, 9), (9, 1), (7, 5), (40, 61)):
            yield random.random((height, width)) < share
    big = np.zeros((700, 900), bool)
    big[200:500, 400:700] = True
    yield big


def test_runs_are_those_of_plain_loops_and_come_back_as_they_were(random):
    for mask in some_masks(random):
        packed = rle.encode(mask)
        assert unpacked(packed["counts"]) == counted(mask)
        back = rle.decode(packed)
        assert back.dtype == bool and back.flags.c_contiguous and np.array_equal(back, mask)
        assert rle.area(packed) == mask.sum()
        x, y, width, height = rle.box(packed)
        inside = np.zeros_like(mask)
        inside[y : y + height, x : x + width] = True
        assert not (mask & ~inside).any()
        if mask.any():
            assert mask[y].any() and mask[y + height - 1].any() and mask[:, x].any() and mask[:, x + width - 1].any()


def test_runs_that_touch_become_one():
    assert rle.pack([1, 3], [2, 1], (3, 2)) == rle.pack([1], [3], (3, 2)) == rle.encode(drawn([".#", "#.", "#."]))
    assert rle.pack([], [], (3, 2)) == rle.encode(np.zeros((3, 2)))


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        {"size": [2, 2]},
        {"size": [2, 2], "counts": [1, 3]},
        {"size": [2, 2], "counts": "13é"},
        {"size": [2, 2], "counts": "1"},
        {"size": [2, 2], "counts": "1P"},
        {"size": [2, 2], "counts": "!"},
        {"size": [2, 2], "counts": "_" * 50},
        {"size": [2, 2], "counts": "O14"},
        {"size": [-2, -2], "counts": "4"},
        {"size": [2.0, 2], "counts": "4"},
        {"size": [1 << 20, 1 << 20], "counts": "4"},
        {"size": [2, 2, 2], "counts": "4"},
    ],
)
def test_what_is_no_mask_is_refused(broken):
    with pytest.raises(DataError, match="^rle: "):
        rle.decode(broken)


def test_random_letters_give_a_mask_or_an_error(random):
    for _ in range(500):
        letters = "".join(map(chr, random.integers(40, 120, random.integers(0, 9))))
        with contextlib.suppress(DataError):
            assert rle.decode({"size": [4, 5], "counts": letters}).shape == (4, 5)


def test_a_mask_has_two_axes():
    with pytest.raises(ValueError, match=r"encode: mask has shape \(2, 2, 2\); it must be \(H, W\)"):
        rle.encode(np.zeros((2, 2, 2)))
