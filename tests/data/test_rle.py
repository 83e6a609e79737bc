"""Masks as run lengths: against masks of pixels, plain loops, strings of cocoapi, by hand, and codes that are none."""

import contextlib

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


def blobs(random, shape):
    """A mask of any shape: noise, coarse noise, nothing, everything."""
    kind = random.integers(5)
    if kind < 2:
        return random.random(shape) < random.random()
    if kind == 2:
        coarse = random.random((-(-shape[0] // 4), -(-shape[1] // 5))) < 0.5
        return np.repeat(np.repeat(coarse, 4, 0), 5, 1)[: shape[0], : shape[1]]
    return np.full(shape, kind == 3)


def loop_counts(mask):
    """The definition: pixel by pixel, column by column."""
    counts, before = [0], False
    for pixel in mask.T.reshape(-1):
        if pixel != before:
            counts.append(0)
            before = pixel
        counts[-1] += 1
    return counts


def test_the_drawing_of_the_docstring():
    mask = np.array([[0, 1, 1], [0, 1, 0]])
    assert rle.encode(mask) == {"size": [2, 3], "counts": "231"}
    np.testing.assert_array_equal(rle.decode({"size": [2, 3], "counts": [2, 3, 1]}), mask)


def test_masks_survive_and_count_what_pixels_count(random):
    for _ in range(80):
        shape = tuple(random.integers(0, 30, 2))
        masks = np.stack([blobs(random, shape) for _ in range(random.integers(1, 5))])
        coded = rle.encode(masks)
        np.testing.assert_array_equal(rle.decode(coded), masks)
        np.testing.assert_array_equal(rle.area(coded), masks.sum((1, 2)))
        for mask, code, box in zip(masks, coded, rle.box(coded), strict=True):
            listed = {"size": list(shape), "counts": loop_counts(mask)}
            np.testing.assert_array_equal(rle.decode(listed), mask)
            assert rle.union([listed]) == code == rle.encode(mask) == rle.pack(*rle.runs(mask), shape)
            assert unpacked(code["counts"]) == listed["counts"]
            y, x = np.nonzero(mask)
            assert box.tolist() == ([x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1] if len(x) else [0] * 4)


def test_the_union_is_that_of_the_pixels(random):
    for _ in range(100):
        shape = tuple(random.integers(1, 25, 2))
        masks = np.stack([blobs(random, shape) for _ in range(random.integers(1, 5))])
        assert rle.union(rle.encode(masks)) == rle.encode(masks.any(0))


def test_masks_have_one_code_however_they_lie_in_memory(random):
    """By rows, by columns, neither; with few changes, which are sorted, and with many."""
    for share in (0.0, 0.001, 0.5):
        masks = (random.random((3, 37, 41)) < share) ^ (random.random((3, 1, 1)) < 0.5)
        coded = rle.encode(masks)
        assert coded == [rle.encode(mask) for mask in masks]
        assert coded == rle.encode(np.ascontiguousarray(masks.transpose(0, 2, 1)).transpose(0, 2, 1))
        assert coded == rle.encode(np.repeat(masks, 2, 2)[:, :, ::2]) == rle.encode(masks.astype(np.uint8))
        assert [rle.Runs.of([code]).counts.tolist() for code in coded] == [loop_counts(mask) for mask in masks]


def test_a_large_count_takes_several_characters():
    mask = np.zeros((1000, 1000), bool)
    mask[-1, -1] = True
    code = rle.encode(mask)
    assert rle.Runs.of([code]).counts.tolist() == [999_999, 1]
    np.testing.assert_array_equal(
        rle.decode({**code, "counts": code["counts"].encode()}), mask
    )  # pycocotools has bytes


def test_an_outline_on_whole_pixels_is_a_box():
    mask = np.zeros((8, 10), bool)
    mask[2:6, 3:9] = True
    assert rle.from_polygons([[3, 2, 9, 2, 9, 6, 3, 6]], (8, 10)) == rle.encode(mask)
    mask[0:2, 0:2] = True
    parts = [[3, 2, 9, 2, 9, 6, 3, 6], [0, 0, 2, 0, 2, 2, 0, 2]]
    assert rle.from_polygons(parts, (8, 10)) == rle.encode(mask)
    assert rle.area(rle.from_polygons([[-50, -50, 90, -50, 90, 90, -50, 90]], (8, 10))) == 80  # beyond the picture


@pytest.mark.parametrize("turn", range(6))
def test_an_outline_has_the_area_of_its_polygon(turn):
    """The shoelace formula, within the pixels that the outline crosses; in whichever sense it is walked."""
    angle = np.linspace(0, 2 * np.pi, 9)[:8] + turn
    x, y = 150 + 100 * np.cos(angle), 140 + 80 * np.sin(angle)
    shoelace = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    for step in (1, -1):
        outline = np.stack([x, y], 1)[::step].ravel().tolist()
        assert rle.area(rle.from_polygons([outline], (300, 300))) == pytest.approx(shoelace, rel=0.01)


@pytest.mark.parametrize(
    "mask",
    [
        {"size": [2, 3], "counts": "23"},  # 5 pixels of 6
        {"size": [2, 3], "counts": [7, -1]},
        {"size": [2, 3], "counts": [2.5, 3.5]},
        {"size": [2, 3], "counts": "2\x003"},
        {"size": [2, 3], "counts": "2é1"},
        {"size": [2, 3], "counts": "P"},  # says that more follows
        {"size": [2, 3], "counts": "PPPPPPPPPPPP0"},
        {"size": [2, 3], "counts": None},
        {"size": [2], "counts": "6"},
        {"size": [2, 2.5], "counts": "5"},
        {"size": [1 << 40, 1 << 40], "counts": "0"},
        {"size": "ab", "counts": "0"},
        {"counts": "6"},
        {"size": [2, 2], "counts": "O14"},
        {"size": [-2, -2], "counts": "4"},
        {"size": [2, 2, 2], "counts": "8"},
        None,
        [6],
    ],
)
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(DataError, match="^rle: "):
        rle.area([mask])


def test_a_mask_too_large_to_be_decoded_still_has_an_area():
    vast = {"size": [1 << 15, 1 << 15], "counts": [1 << 29, 1 << 29]}
    assert rle.area(vast) == 1 << 29
    with pytest.raises(DataError, match="more than .* pixels"):
        rle.decode(vast)


@pytest.mark.parametrize(
    "polygons", [[], [[1, 2, 3, 4]], [[1, 2, 3]], [[0, 0, np.nan, 1, 1, 1]], [[0, 0, 1e12, 0, 5, 5]], [["a"] * 6], [3]]
)
def test_what_is_no_outline_is_refused(polygons):
    with pytest.raises(DataError, match="outline"):
        rle.from_polygons(polygons, (10, 10))


def test_runs_that_touch_become_one():
    assert rle.pack([1, 3], [2, 1], (3, 2)) == rle.pack([1], [3], (3, 2)) == rle.encode(drawn([".#", "#.", "#."]))
    assert rle.pack([], [], (3, 2)) == rle.encode(np.zeros((3, 2)))


def test_random_letters_give_a_mask_or_an_error(random):
    for _ in range(500):
        letters = "".join(map(chr, random.integers(40, 120, random.integers(0, 9))))
        with contextlib.suppress(DataError):
            assert rle.decode({"size": [4, 5], "counts": letters}).shape == (4, 5)


def test_arrays_and_lists_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        rle.encode(np.zeros(4))
    with pytest.raises(ValueError, match="of one size"):
        rle.decode([{"size": [1, 2], "counts": [2]}, {"size": [2, 1], "counts": [2]}])
