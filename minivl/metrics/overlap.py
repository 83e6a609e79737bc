"""How far two boxes, two masks, or two pictures of class numbers cover each other: intersection over union.

    IoU(a, b) = |a and b| / |a or b|      (Jaccard 1912)

With a crowd, a region of many things that nobody outlined one by one, it is |a and b| / |a|, a being what was found: to
find any part of a crowd is right (Lin et al. 2014, arXiv 1405.0312; pycocotools' `iscrowd`).
"""

import numpy as np

from minivl.data.rle import Runs

_PAIRS = 1 << 20  # looked at together, so that memory does not grow with all of them
_TABLE = 1 << 18  # columns of masks in a table
_AT_A_TIME = 1 << 17  # columns of pairs compared together: they stay in a core's cache
_MOST_STRIPS = 1 << 12  # of a picture; one that is wider than that is cut into strips of more than a column
_MOST_LAYERS, _MOST_PIECES = 64, 8  # of a mask, and of its strips on the average; what has more is tangled
_BITS_A_RUN = 64  # at most, if masks are to be compared by bits
_MOST_BITS = 1 << 30  # kept


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
    masks = Runs.of(found, truth)
    D, G = len(found), len(truth)
    crowd, strips = _flags(crowd, G), _Strips(masks, D)
    one_picture = (masks.size == masks.size[:1]).all()
    boxes = None if one_picture else masks.boxes().astype(np.float64)  # masks of two pictures may lie apart
    ious = np.zeros((D, G))
    for rows in np.array_split(np.arange(D), -(-D * G // _PAIRS) or 1):
        meet = np.True_ if one_picture else _box_iou(boxes[rows, None], boxes[D:], np.False_) > 0
        d, g = np.nonzero(np.broadcast_to(meet, (len(rows), G)))
        ious[rows[d], g] = _mask_iou(strips, rows[d], g, crowd[g])
    return ious


def _mask_iou(strips, d, g, crowd):
    """(P,): the IoU of pairs: masks d (P,) of those found with masks g (P,) of the true ones."""
    size, area, true, g = strips.runs.size, strips.runs.areas(), g, strips.found + g
    for pair in np.flatnonzero((size[d] != size[g]).any(1))[:1]:
        sizes = f"{size[d[pair]].tolist()}, true mask {true[pair]} {size[g[pair]].tolist()}"
        raise ValueError(f"found mask {d[pair]} has size {sizes}; they must be of one picture")
    common = strips.common(d, g)
    return common / np.maximum(1, np.where(crowd, area[d], area[d] + area[g] - common))


class _Strips:
    """Masks cut into columns, so that two of them are compared by subtraction, without a search or a branch.

    In each column that it touches, an object is mostly on in one piece, from low to up. Where there are more, the
    first piece of each column belongs to the mask's first layer, the second to its second, ... Then

        pixels in common = sum over the layers of both and over columns of max(0, min(up, up') - max(low, low'))

    layer (N + 1,)             where the layers of each mask begin
    first, end (L,)            the strips of each layer
    row, strip, low, up (Q,)   of each piece; row is the number of its layer
    """

    def __init__(self, runs, found):
        """Of masks of which so many were found; the true ones stand behind them."""
        self.runs, self.found, N = runs, found, len(runs)
        high = np.maximum(1, np.maximum(runs.size[:, 0], -(-runs.size.prod(1) // _MOST_STRIPS)))
        mask, strip, low, up = _pieces(high, *runs.spans)
        begin = _changes(mask, strip)
        self.tangled = np.zeros(N, bool)
        if len(begin) == len(mask):
            rows = _changes(mask)
        else:
            layer = np.arange(len(strip)) - np.repeat(begin, np.diff(begin, append=len(strip)))
            self.tangled = np.bincount(mask, minlength=N) > _MOST_PIECES * np.bincount(mask[begin], minlength=N)
            self.tangled[mask[layer >= _MOST_LAYERS]] = True
            key = mask * _MOST_LAYERS + layer
            key = key[kept := ~self.tangled[mask]]
            order = np.argsort(key, kind="stable")
            mask, strip, low, up = (values[kept][order] for values in (mask, strip, low, up))
            rows = _changes(key[order])
        length = np.diff(rows, append=len(strip))
        self.row, self.strip, self.low, self.up = np.repeat(np.arange(len(rows)), length), strip, low, up
        self.first, self.end = strip[rows], strip[rows + length - 1] + 1
        layers = np.bincount(mask[rows], minlength=N)
        self.layer, self.layered = np.append(0, np.cumsum(layers)), (layers != 1).any()
        self.kind = np.float32 if runs.size.prod(1).max(initial=0) < 1 << 24 else np.float64  # both exact

    def common(self, d, g):
        """(P,): pixels in common of masks d (P,) with masks g (P,)."""
        common, some = np.zeros(len(d)), np.diff(self.layer) > 0
        tangled = self.tangled[d] | self.tangled[g]
        common[tangled] = _one_by_one(self.runs, d[tangled], g[tangled])
        rest = np.flatnonzero(some[d] & some[g])  # tangled ones have no layers here
        rest = rest[np.argsort(d[rest], kind="stable")]
        rows = max(1, _TABLE // int(self.end.max(initial=1)))
        block = self.layer[d[rest]] // rows * len(self.first) + self.layer[g[rest]] // rows
        for n in np.unique(block):
            own = rest[block == n]
            common[own] = self._common_in_tables(d[own], g[own])
        return common

    def _common_in_tables(self, d, g):
        """The same. Masks that pair with the same ones are worked out together: (rows of d, rows of g, strips)."""
        low, up = self._table(d[0], d[-1] + 1)
        low2, up2 = self._table(base := g.min(), g.max() + 1)
        row, row2 = self.layer - self.layer[d[0]], self.layer - self.layer[base]
        nothing, ones = np.zeros(low.shape[1], low.dtype), np.ones(low.shape[1], low.dtype)
        common = np.empty(len(d))
        for p, q, a, b in self._together(d, g, low.shape[1]):
            own = slice(self.layer[d[p]], self.layer[d[q - 1] + 1])
            strips = slice(self.first[own].min(), self.end[own].max())
            mine, theirs = np.s_[row[d[p]] : row[d[q - 1] + 1], None, strips], np.s_[row2[a] : row2[b], strips]
            on = np.minimum(up[mine], up2[theirs])
            on -= np.maximum(low[mine], low2[theirs])
            total = np.maximum(on, nothing[strips], out=on) @ ones[strips]  # a plain 0 would take thrice as long
            if self.layered:
                total = np.add.reduceat(total, row[d[p] : d[q - 1] + 1] - row[d[p]], 0)
                total = np.add.reduceat(total, row2[a:b] - row2[a], 1)
            common[p:q] = total[d[p:q] - d[p], g[p:q] - a]
        return common

    def _together(self, d, g, strips):
        """p, q, a, b: pairs p to q, of masks a to b, that are to be worked out at a time."""
        cuts = np.flatnonzero(np.diff(d, prepend=-1))
        low, high = np.minimum.reduceat(g, cuts).tolist(), (np.maximum.reduceat(g, cuts) + 1).tolist()
        layers = self.layer.tolist()
        cuts, masks = [*cuts.tolist(), len(d)], d[cuts].tolist()
        p, a, b, begin = 0, low[0], high[0], masks[0]
        for n in range(1, len(masks)):
            a2, b2 = min(a, low[n]), max(b, high[n])
            size = (layers[masks[n] + 1] - layers[begin]) * (layers[b2] - layers[a2]) * strips
            if size > _AT_A_TIME or low[n] >= b or high[n] <= a:
                yield p, cuts[n], a, b
                p, begin, a2, b2 = cuts[n], masks[n], low[n], high[n]
            a, b = a2, b2
        yield p, len(d), a, b

    def _table(self, a, b):
        """low, up (R, strips) of the layers of masks a to b"""
        own = slice(*np.searchsorted(self.row, self.layer[[a, b]]))
        table = np.zeros((2, self.layer[b] - self.layer[a], int(self.end.max())), self.kind)
        place = (self.row[own] - self.layer[a]) * table.shape[2] + self.strip[own]
        for values, part in zip((self.low, self.up), table, strict=True):
            part.ravel()[place] = values[own]
        return table


def _changes(*keys):
    """The places at which one of some arrays (K,) is not what it was at the place before."""
    new = np.ones(len(keys[0]), bool)
    new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.flatnonzero(new)


def _pieces(high, mask, start, end):
    """mask, strip, low, up of the pieces of runs: those that go over into the next strip are cut.   high (N,)"""
    high = high[:1] if (high == high[:1]).all() else high[mask]  # to divide by one number is quicker
    strip = start // high
    pieces = (end - 1) // high - strip + 1
    if pieces.max(initial=1) > 1:
        high = np.broadcast_to(high, mask.shape)
        within = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        mask, high, start, end, strip = (np.repeat(values, pieces) for values in (mask, high, start, end, strip))
        strip = strip + within
    return mask, strip, np.maximum(start - strip * high, 0), np.minimum(end - strip * high, high)


def _one_by_one(runs, d, g):
    """(P,): pixels in common of pairs of tangled masks: by bits, where these take no more room than the runs."""
    common, kept = np.zeros(len(d)), {}
    for p, pair in enumerate(zip(d.tolist(), g.tolist(), strict=True)):
        pixels, counts = int(runs.size[pair[0]].prod()), [runs.one(n)[0] for n in pair]
        if pixels > _BITS_A_RUN * sum(map(len, counts)):
            common[p] = _common_of_runs(*runs.one(pair[0]), *runs.one(pair[1]))
            continue
        if len(kept) * pixels > _MOST_BITS:
            kept.clear()
        for n in set(pair) - kept.keys():
            kept[n] = np.packbits(np.repeat(*runs.one(n)[::-1]))
        common[p] = np.count_nonzero(np.unpackbits(kept[pair[0]] & kept[pair[1]]))
    return common


def _common_of_runs(mine, mine_on, theirs, theirs_on):
    """F(p), their pixels on before place p, is a line between ends of runs; my run [s, e) has F(e) - F(s) in common."""
    place, before = (np.append(0, np.cumsum(v)) for v in (theirs, theirs * theirs_on))
    return (np.diff(np.interp(np.cumsum(mine), place, before), prepend=0) * mine_on).sum()


def _flags(crowd, count):
    """crowd as (G,) bool; none of them where it is None."""
    flags = np.zeros(count, bool) if crowd is None else np.asarray(crowd).astype(bool)
    if flags.shape != (count,):
        raise ValueError(f"crowd: shape {flags.shape}; it must be ({count},), one flag for each true one")
    return flags
