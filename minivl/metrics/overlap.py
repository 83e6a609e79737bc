"""How far two boxes, two masks, or two pictures of class numbers cover each other: intersection over union.

    IoU(a, b) = |a and b| / |a or b|      (Jaccard 1912)

With a crowd, a region of many things that nobody outlined one by one, it is |a and b| / |a|, a being what was found: to
find any part of a crowd is right (Lin et al. 2014, arXiv 1405.0312; pycocotools' `iscrowd`).
"""

import numpy as np

from minivl.data.rle import Runs

_RUNS = 1 << 18  # compared at a time, so that memory does not grow with the pairs


def box_iou(found, truth, crowd=None):
    """(D, G): the IoU of each box found with each true one.

    found (D, 4), truth (G, 4)   x, y, width, height, of any numbers      crowd (G,)   true where a box is of a crowd
    """
    found, truth = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (found, truth))
    if not (np.isfinite(found).all() and np.isfinite(truth).all()):
        raise ValueError("boxes: must be finite numbers x, y, width, height")
    return _box_iou(found[:, None], truth, _flags(crowd, len(truth)))


def _box_iou(found, truth, crowd):
    """The same of boxes (..., 4) that are broadcast against each other."""
    low = np.maximum(found[..., :2], truth[..., :2])
    side = np.minimum(found[..., 2:] + found[..., :2], truth[..., 2:] + truth[..., :2]) - low
    common = side[..., 0] * side[..., 1]
    mine, theirs = found[..., 2] * found[..., 3], truth[..., 2] * truth[..., 3]
    apart = (side <= 0).any(-1)
    below = np.where(crowd, mine, mine + theirs - common)
    return np.where(apart, 0.0, common / np.where(apart, 1.0, below))


def mask_iou(found, truth, crowd=None):
    """(D, G): the IoU of each mask found with each true one, lists of masks as `rle.encode` makes them, not decoded."""
    found, truth = Runs.of(found), Runs.of(truth)
    d, g = np.nonzero(box_iou(found.boxes(), truth.boxes()) > 0)
    ious = np.zeros((len(found), len(truth)))
    ious[d, g] = _mask_iou(found, truth, d, g, _flags(crowd, len(truth)))
    return ious


def _mask_iou(found, truth, d, g, crowd):
    """(P,): the IoU of pairs: masks d (P,) of those found with masks g (P,) of the true ones."""
    for pair in np.flatnonzero((found.size[d] != truth.size[g]).any(1))[:1]:
        sizes = f"{found.size[d[pair]].tolist()}, true mask {g[pair]} {truth.size[g[pair]].tolist()}"
        raise ValueError(f"found mask {d[pair]} has size {sizes}; they must be of one picture")
    common = _common(found, truth, d, g)
    mine, theirs = found.areas()[d], truth.areas()[g]
    return common / np.maximum(1, np.where(crowd[g], mine, mine + theirs - common))


def _common(found, truth, d, g):
    """(P,): pixels in common of each pair.

    Lay the true masks one behind the other. F(p), the pixels that are on before place p, is a line between any two ends
    of runs, flat or rising by 1; so a run [s, e) of a mask found has F(e) - F(s) pixels in common with what it lies on.
    """
    place = np.append(0, np.cumsum(truth.counts))
    before = np.append(0, np.cumsum(truth.counts * truth.on))
    mask, start, end = found.spans
    first = np.searchsorted(mask, np.arange(len(found) + 1))
    length = np.diff(first)[d]
    begin = np.append(0, np.cumsum(length))
    common = np.zeros(len(d))
    cuts = np.unique(np.searchsorted(begin, np.arange(0, begin[-1] + _RUNS, _RUNS)).clip(0, len(d)))
    for a, b in zip(cuts[:-1], cuts[1:], strict=True):
        pair = np.repeat(np.arange(a, b), length[a:b])
        run = first[d[pair]] + np.arange(begin[a], begin[b]) - begin[pair]
        laid_on = place[truth.first[g[pair]]]
        inside = np.interp(laid_on + end[run], place, before) - np.interp(laid_on + start[run], place, before)
        common[a:b] = np.bincount(pair - a, inside, b - a)
    return common


def _flags(crowd, count):
    """crowd as (G,) bool; none of them where it is None."""
    flags = np.zeros(count, bool) if crowd is None else np.asarray(crowd).astype(bool)
    if flags.shape != (count,):
        raise ValueError(f"crowd: shape {flags.shape}; it must be ({count},), one flag for each true one")
    return flags
