"""Masks as COCO writes them: lengths of runs down the columns, packed into letters.

    . #     read down the columns:  . . #  # # .  ->  2 not, 3 in, 1 not
    . #     packed:  {"size": [3, 2], "counts": "231"}
    # .

A run is written as its difference to the run before last, from the third on, in groups of five bits, the lowest first,
each group a letter from chr(48) on: bit 6 says that more follow, and the last group carries the sign (maskApi.c of
cocoapi, `rleToString`).
"""

import numpy as np

from minivl.data.tar import DataError

MAX_PIXELS = 1 << 26


def encode(mask):
    """mask (H, W), anything that is not 0 belongs to it  ->  {"size": [H, W], "counts": str}"""
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"encode: mask has shape {mask.shape}; it must be (H, W)")
    starts, lengths = runs(mask)
    return pack(starts, lengths, mask.shape)


def runs(mask):
    """Where each run of a mask starts, counted down the columns, and how long it is.   (H, W)  ->  (n,), (n,)"""
    flat = np.zeros(mask.size + 2, np.int8)
    flat[1:-1] = (np.asarray(mask) != 0).T.ravel()
    edges = np.flatnonzero(np.diff(flat))
    return edges[::2], edges[1::2] - edges[::2]


def pack(starts, lengths, shape):
    """The RLE of runs in ascending order, which may touch but not overlap.   shape: (H, W) of the picture"""
    height, width = (int(side) for side in shape)
    edges = np.column_stack([starts, np.add(starts, lengths)]).astype(np.int64).ravel()
    if len(edges):
        touching = edges[1:-1:2] == edges[2::2]
        edges = np.delete(edges, np.flatnonzero(np.repeat(touching, 2)) + 1)
    counts = np.diff(edges, prepend=0, append=height * width).tolist()
    if counts[-1] == 0:
        counts.pop()
    return {"size": [height, width], "counts": _letters(counts)}


def _letters(counts):
    letters = []
    for k, count in enumerate(counts):
        value = count - counts[k - 2] if k > 2 else count
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            letters.append(chr(48 + group + 32 * more))
    return "".join(letters)


def decode(rle):
    """{"size": [H, W], "counts": str}  ->  (H, W) bool.   DataError: it is no mask"""
    height, width, counts = _counts(rle)
    inside = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, counts).reshape(width, height).T)


def area(rle):
    """The number of pixels in the mask."""
    return sum(_counts(rle)[2][1::2])


def box(rle):
    """[x, y, width, height] in pixels, the smallest that holds the mask; [0, 0, 0, 0] of an empty one."""
    mask = decode(rle)
    if not mask.any():
        return [0, 0, 0, 0]
    x, y = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return [int(x[0]), int(y[0]), int(x[-1] - x[0] + 1), int(y[-1] - y[0] + 1)]


def _counts(rle):
    """(H, W, run lengths), checked: they come out of files."""
    try:
        height, width = rle["size"]
        letters = rle["counts"].encode("ascii")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(f'rle: must be {{"size": [H, W], "counts": str}}, not {rle!r:.80}', "bad mask") from error
    if not (type(height) is type(width) is int and min(height, width) > 0 and height * width <= MAX_PIXELS):
        raise DataError(
            f"rle: size {[height, width]} must be two whole numbers, {MAX_PIXELS} pixels at most", "bad mask"
        )
    counts, value, shift = [], 0, 0
    for letter in letters:
        group = letter - 48
        if not 0 <= group < 64 or shift > 30:
            raise DataError(f"rle: letter {chr(letter)!r} cannot stand at run {len(counts)}", "bad mask")
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (group & 16) << (shift - 4)  # the highest bit is the sign
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift or min(counts, default=0) < 0 or sum(counts) != height * width:
        raise DataError(f"rle: its runs add up to {sum(counts)} pixels, not to {height} x {width}", "bad mask")
    return height, width, counts
