"""Masks as run lengths, in the form of COCO's annotations: how many pixels are off, on, off, on, ... column by column.

    0 1 1
    0 1 0    ->  columns 00, 11, 10  ->  2 off, 3 on, 1 off  ->  {"size": [2, 3], "counts": "231"}

A mask of H x W pixels is {"size": [H, W], "counts": ...}. The counts are a list, or a text in COCO's code: each count
(from the fourth on, its difference to the count before the last) in pieces of 5 bits, the lowest first; a sixth bit
says that more follow; with 48 added, each piece is a printable character.

Source: pycocotools, whose codes these are (Lin et al. 2014, arXiv 1405.0312; common/maskApi.c of the COCO API). A mask
costs memory and time by its outline, not by its area, and many masks in one call cost hardly more than one.

    encode, decode    arrays of True and False to masks and back
    runs, pack        an array to the runs that are on, and runs to a mask
    from_polygons     COCO's outlines, [[x, y, x, y, ...], ...], to a mask
    union             of masks of one size
    area, box         of masks, not decoded

A mask that is none is a `DataError`.
"""

import operator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from minivl.data.tar import DataError

MOST_PIXELS = 1 << 28  # that are decoded in one call, or lie inside an outline
_MOST_STEPS = 1 << 22  # around an outline; one of 16384 x 16384 pixels takes 330,000
_SPARSE = 32  # pixels to a change: where there are more, sorting the changes is quicker than transposing the pixels
_FINE = 5  # an outline is followed in fifths of a pixel
_BAD = "bad mask"
_ZERO = 48  # "0", the character of an empty piece


def encode(masks):
    """masks (H, W) or (N, H, W), true where the object is  ->  a mask, or a list of N"""
    masks = np.asarray(masks)
    if masks.ndim == 2:
        return encode(masks[None])[0]
    if masks.ndim != 3:
        raise ValueError(f"encode: masks have shape {masks.shape}; it must be (H, W) or (N, H, W)")
    N, H, W = masks.shape
    places = _changes(masks.astype(bool, copy=False)) if masks.size else np.zeros(0, np.int64)
    begin = np.arange(N + 1) * (H * W)  # of each mask
    mask = np.repeat(np.arange(N), np.diff(np.searchsorted(places, begin)))
    return Runs.from_places(np.full((N, 2), (H, W)), mask, places - begin[mask]).dicts()


def _changes(on):
    """Where pixels differ from those before them, the masks one behind the other, column by column.   on (N, H, W)

    Rows that lie one behind the other are compared as such, and the few places sorted: bytes are slow to transpose. If
    the places are many, that is quicker all the same.
    """
    N, H, W = on.shape
    if on.flags.c_contiguous and H > 1 and W > 1:
        changes = np.empty(on.shape, bool)
        np.not_equal(on.ravel()[W:], on.ravel()[:-W], out=changes.ravel()[W:])
        changes[:, 0, 0] = on[:, 0, 0]  # before the first pixel all is off
        np.not_equal(on[:, 0, 1:], on[:, -1, :-1], out=changes[:, 0, 1:])
        if np.count_nonzero(changes) * _SPARSE < changes.size:
            row, x = np.divmod(_true_places(changes.ravel()), W)
            mask, y = np.divmod(row, H)
            return np.sort((mask * W + x) * H + y)
    on = on.transpose(0, 2, 1).reshape(N, H * W)
    changes = np.empty(on.shape, bool)
    np.not_equal(on.ravel()[1:], on.ravel()[:-1], out=changes.ravel()[1:])
    changes[:, 0] = on[:, 0]
    return _true_places(changes.ravel())


def _true_places(flags):
    """`np.flatnonzero` of flags (K,) of which few are true: it looks at eight of them at a time."""
    whole = len(flags) // 8
    words = np.flatnonzero(flags[: 8 * whole].view(np.uint64) != 0)
    if len(words) * 4 > whole:
        return np.flatnonzero(flags)
    within = np.flatnonzero(flags[: 8 * whole].reshape(-1, 8)[words])
    places = words[within >> 3] * 8 + (within & 7)
    return np.append(places, 8 * whole + np.flatnonzero(flags[8 * whole :]))


def decode(masks):
    """A mask  ->  (H, W) bool; a list of masks of one size  ->  (N, H, W) bool"""
    if not isinstance(masks, (list, tuple)):
        return decode([masks])[0]
    runs = Runs.of(masks)
    H, W = runs.one_size()
    if len(runs) * H * W > MOST_PIXELS:
        raise DataError(f"rle: {len(runs)} x {H} x {W} is more than {MOST_PIXELS} pixels to decode at a time", _BAD)
    return np.repeat(runs.on, runs.counts).reshape(len(runs), W, H).transpose(0, 2, 1)


def runs(mask):
    """starts (S,), lengths (S,) of the runs that are on, counted down the columns.   mask (H, W)"""
    _, start, end = Runs.of([encode(mask)]).spans
    return start, end - start


def pack(starts, lengths, size):
    """The mask of runs in ascending order; they may touch, and must not overlap.   size: [H, W]"""
    ends = np.stack([starts, np.add(starts, lengths)], 1).astype(np.int64).ravel()
    off_and_on = np.flatnonzero(ends[2::2] == ends[1:-1:2]) * 2 + 1 if len(ends) else []
    return _mask(np.delete(ends, np.append(off_and_on, np.add(off_and_on, 1)).astype(int)), size)


def area(masks):
    """The pixels of a mask, an int; of a list of masks (N,)"""
    if not isinstance(masks, (list, tuple)):
        return int(area([masks])[0])
    return Runs.of(masks).areas()


def box(masks):
    """[x, y, width, height], the smallest box around a mask; of a list of masks (N, 4). Around nothing: zeros."""
    if not isinstance(masks, (list, tuple)):
        return box([masks])[0].tolist()
    return Runs.of(masks).boxes()


def union(masks):
    """The mask of what is in any of these masks."""
    runs = Runs.of(masks)
    size, (_, start, end) = runs.one_size(), runs.spans
    places = np.concatenate([start, end])
    order = np.argsort(places, kind="stable")
    places = places[order]
    in_how_many = np.cumsum(np.where(order < len(start), 1, -1))
    last = np.diff(places, append=-1) != 0  # of the changes at one place
    places, on = places[last], in_how_many[last] > 0
    return _mask(places[np.diff(on, prepend=False)], size)


# ---- outlines --------------------------------------------------------------------------------------------------------


def from_polygons(polygons, size):
    """Outlines [[x, y, x, y, ...], ...] in pixels, the parts of one object  ->  its mask of size [H, W]

    As pycocotools draws them: an outline is walked in fifths of a pixel, and wherever it crosses the middle of a column
    the pixels below turn over.
    """
    H, W = _size(size)
    if H * W > MOST_PIXELS:
        raise DataError(f"rle: size {H} x {W}; it must be at most {MOST_PIXELS} pixels", _BAD)
    if not isinstance(polygons, (list, tuple)) or not polygons:
        raise DataError(f"rle: outlines {str(polygons)[:60]}; they must be a list of at least one", _BAD)
    parts = [_mask(_crossings(polygon, H, W), (H, W)) for polygon in polygons]
    return parts[0] if len(parts) == 1 else union(parts)


def _mask(places, size):
    """The mask that turns on or off at places (K,), which are sorted."""
    places = places[places < size[0] * size[1]]
    return Runs.from_places(np.array([size]), np.zeros(len(places), np.int64), places).dicts()[0]


def _crossings(polygon, H, W):
    """The places, column by column, where an outline turns pixels over. What is turned over twice stays."""
    try:
        corners = np.asarray(polygon, np.float64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"rle: an outline must be numbers x, y, x, y, ... ({error})", _BAD) from None
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise DataError(f"rle: an outline of {len(corners)} corners; it must have 3, and all of them finite", _BAD)
    x, y = _walk(np.trunc(_FINE * corners + 0.5))
    turn = np.flatnonzero(x[1:] != x[:-1]) + 1
    column = (np.where(x[turn] < x[turn - 1], x[turn], x[turn] - 1) + 0.5) / _FINE - 0.5
    row = np.ceil(np.clip((np.minimum(y[turn], y[turn - 1]) + 0.5) / _FINE - 0.5, 0, H))
    middle = (column == np.floor(column)) & (column >= 0) & (column <= W - 1)
    places, times = np.unique((column[middle] * H + row[middle]).astype(np.int64), return_counts=True)
    return places[times % 2 == 1]


def _walk(corners):
    """x, y of every step around the outline, both ends of each side among them: whole numbers, kept as float64.

    A side is walked along its longer axis from its lower end, so that both directions take the same steps.
    """
    start, end = corners, np.roll(corners, -1, 0)
    side = np.arange(len(corners))
    longer = np.diff(np.abs(end - start))[:, 0] > 0  # False: x, True: y
    along, aside = longer.astype(int), 1 - longer
    back = start[side, along] > end[side, along]
    low, high = np.where(back[:, None], end, start), np.where(back[:, None], start, end)
    length = (high - low)[side, along]
    if length.sum() > _MOST_STEPS:
        around = f"{length.sum() / _FINE:g} pixels around"
        raise DataError(f"rle: an outline {around}; it must be {_MOST_STEPS // _FINE} at most", _BAD)
    slope = (high - low)[side, aside] / np.maximum(length, 1)

    steps = length.astype(np.int64) + 1
    s = np.repeat(side, steps)
    t = np.arange(len(s)) - np.repeat(np.cumsum(steps) - steps, steps)
    t = np.where(back[s], length[s] - t, t)
    along_axis = low[s, along[s]] + t
    aside_axis = np.trunc(low[s, aside[s]] + slope[s] * t + 0.5)
    return np.where(longer[s], aside_axis, along_axis), np.where(longer[s], along_axis, aside_axis)


# ---- many masks at a time --------------------------------------------------------------------------------------------


@dataclass
class Runs:
    """Many masks.   size (N, 2)   counts (R,), one mask's behind the other's   first (N + 1,), where each begins"""

    size: np.ndarray
    counts: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, *lists):
        """From a list of dicts; of several, one behind the other."""
        for masks in lists:
            if not isinstance(masks, (list, tuple)):
                raise DataError(f"rle: {str(masks)[:50]}; it must be a list of masks", _BAD)
        masks = [mask for masks in lists for mask in masks]
        for n, mask in enumerate(masks):
            if not isinstance(mask, dict) or "size" not in mask or "counts" not in mask:
                raise DataError(
                    f'rle: mask {n} is {str(mask)[:60]}; it must be {{"size": [H, W], "counts": ...}}', _BAD
                )
        size = np.array([_size(mask["size"]) for mask in masks], np.int64).reshape(-1, 2)
        counts, first = _read([mask["counts"] for mask in masks])
        if masks:
            total, least = (f.reduceat(counts, first[:-1]) for f in (np.add, np.minimum))
            for n in ((total != size.prod(1)) | (least < 0)).nonzero()[0][:1]:
                had = f"counts of {total[n]} pixels, the smallest {least[n]}"
                raise DataError(f"rle: mask {n} has {had}; they must be those of its size, {size[n].tolist()}", _BAD)
        return cls(size, counts, first)

    def behind(self, other):
        """These masks behind the others."""
        counts, first = np.append(other.counts, self.counts), np.append(other.first, other.first[-1] + self.first[1:])
        return Runs(np.append(other.size, self.size, 0), counts, first)

    @classmethod
    def from_places(cls, size, mask, place):
        """From the places (K,) where a mask (K,) turns on or off: sorted by mask, and by place within a mask."""
        first = np.append(0, np.cumsum(np.bincount(mask, minlength=len(size)) + 1))
        ends = np.empty(first[-1], np.int64)
        ends[np.arange(len(place)) + mask] = place
        ends[first[1:] - 1] = size.prod(1)
        counts = np.diff(ends, prepend=0)
        counts[first[:-1]] = ends[first[:-1]]
        return cls(size, counts, first)

    def __len__(self):
        return len(self.size)

    def one(self, n):
        """counts, on of mask n"""
        own = slice(self.first[n], self.first[n + 1])
        return self.counts[own], self.on[own]

    def dicts(self):
        texts = _write(self.counts, self.first)
        return [{"size": size, "counts": text} for size, text in zip(self.size.tolist(), texts, strict=True)]

    def one_size(self):
        """(H, W) of all of them."""
        if len(self) == 0 or (self.size != self.size[0]).any():
            raise DataError(f"rle: {len(self)} masks; there must be at least one, and all of one size", _BAD)
        return self.size[0].tolist()

    @cached_property
    def number(self):
        """(R,) each run's number in its own mask; those with odd numbers are on"""
        return _within(self.first)

    @cached_property
    def on(self):
        return (self.number & 1).astype(bool)

    @cached_property
    def spans(self):
        """(S,) each: of the runs that are on and not empty, the mask, the first place and the end."""
        number = np.diff(self.first) // 2
        mask = np.repeat(np.arange(len(self)), number)
        end = np.cumsum(self.counts)
        before = (end - self.counts)[self.first[:-1]]  # the pixels of the masks before
        run = 2 * np.arange(len(mask)) + np.repeat(self.first[:-1] + 1 - 2 * (np.cumsum(number) - number), number)
        length, end = self.counts[run], end[run] - np.repeat(before, number)
        some = length > 0
        if some.all():
            return mask, end - length, end
        return mask[some], (end - length)[some], end[some]

    def areas(self):
        """(N,)"""
        mask, start, end = self.spans
        return np.bincount(mask, end - start, len(self)).astype(np.int64)

    def boxes(self):
        """(N, 4) x, y, width, height"""
        mask, start, end = self.spans
        H = self.size[mask, 0]
        x, y, right, bottom = start // H, start % H, (end - 1) // H, (end - 1) % H
        y, bottom = np.where(x < right, 0, y), np.where(x < right, H - 1, bottom)  # over into the next column
        found = np.zeros((len(self), 4), np.int64)
        first = np.flatnonzero(np.diff(mask, prepend=-1))
        some = mask[first]
        if len(some):
            low = np.stack([np.minimum.reduceat(v, first) for v in (x, y)], 1)
            high = np.stack([np.maximum.reduceat(v, first) for v in (right, bottom)], 1)
            found[some] = np.hstack([low, high - low + 1])
        return found


def _within(first):
    """0, 1, 2, ... anew in each part that first (N + 1,) marks off."""
    return np.arange(first[-1]) - np.repeat(first[:-1], np.diff(first))


def _size(size):
    """(H, W) of a mask, as whole numbers."""
    try:
        H, W = map(operator.index, size)
        if min(H, W) >= 0 and H * W < 1 << 40:
            return H, W
    except (TypeError, ValueError):
        pass
    raise DataError(f"rle: size {str(size)[:60]}; it must be [H, W], the pixels of a picture", _BAD)


# ---- counts as text --------------------------------------------------------------------------------------------------


def _write(counts, first):
    """COCO's code of the counts of many masks  ->  one text for each"""
    value = counts.copy()
    value[2:] -= counts[:-2]
    for n in range(3):  # each mask's first three are written as they are
        place = first[:-1][np.diff(first) > n] + n
        value[place] = counts[place]
    size = value ^ (value >> 63)  # the bits without the sign
    pieces = np.ones(len(value), np.int64)
    for bits in range(4, int(size.max(initial=0)).bit_length(), 5):
        pieces += size >> bits > 0
    end = np.cumsum(pieces)
    code = np.empty(end[-1] if len(end) else 0, np.uint8)
    code[end - 1] = (value >> 5 * (pieces - 1) & 31) + _ZERO
    more = np.flatnonzero(pieces > 1)
    for piece in range(1, pieces.max(initial=1)):  # from the last but one back to the first
        code[end[more] - 1 - piece] = (value[more] >> 5 * (pieces[more] - 1 - piece) & 31) + (_ZERO + 32)
        more = more[pieces[more] > piece + 1]
    text, cut = code.tobytes().decode("ascii"), np.append(0, end)[first].tolist()
    return [text[a:b] for a, b in zip(cut[:-1], cut[1:], strict=True)]


def _read(masks):
    """The counts of many masks, each a list or a text  ->  counts (R,), first (N + 1,), as `Runs` has them"""
    is_text = [isinstance(counts, (str, bytes)) for counts in masks]
    counts, first = _read_texts([counts for counts, text in zip(masks, is_text, strict=True) if text])
    if all(is_text):
        return counts, first
    texts = iter(np.split(counts, first[1:-1]))
    parts = [next(texts) if text else _listed(counts) for counts, text in zip(masks, is_text, strict=True)]
    return np.concatenate(parts), np.cumsum([0, *map(len, parts)])


def _listed(counts):
    try:
        array = np.asarray(counts if len(counts) else [0])
        if array.ndim == 1 and array.dtype.kind in "iu" and (array < 1 << 40).all():
            return array.astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        pass
    raise DataError(f"rle: counts {str(counts)[:60]}; they must be whole numbers, or a text in COCO's code", _BAD)


def _read_texts(texts):
    texts = [text.encode("utf-8", "replace") if isinstance(text, str) else text for text in texts]
    texts = [text or b"0" for text in texts]  # no count at all is one of no pixel
    end = np.cumsum([0, *map(len, texts)])
    code = np.frombuffer(b"".join(texts), np.uint8) - np.uint8(_ZERO)  # what is below "0" comes out large
    last = (code < 32).nonzero()[0]  # pieces of their value
    pieces = np.diff(last, prepend=-1)
    if len(code) and (code.max() > 63 or (code[end[1:] - 1] > 31).any() or pieces.max() > 8):
        raise DataError(f"rle: counts {str(texts)[:60]}; that is not COCO's code", _BAD)
    value = (code[last] ^ 16).astype(np.int64) - 16  # the fifth bit of the last piece is the sign
    more = np.flatnonzero(pieces > 1)
    piece = 1
    while len(more):
        value[more] = value[more] << 5 | code[last[more] - piece] & 31
        piece += 1
        more = more[pieces[more] > piece]
    first = np.searchsorted(last, end)
    return _undo_differences(value, first), first


def _undo_differences(value, first):
    """From the fourth count on, the count before the last is added: odd and even numbers are a running sum each."""
    total = np.zeros(2 + len(value) + len(value) % 2, np.int64)  # of every second, begun anew by what is taken off
    total[2 : 2 + len(value)] = value
    total = np.cumsum(total.reshape(-1, 2), 0).ravel()
    begin, length = first[:-1], np.diff(first)
    even, odd = np.repeat(total[begin + 2], length), np.repeat(total[begin + 1], length)
    counts = total[2 : 2 + len(value)] - np.where(_within(first) & 1, odd, even)
    counts[begin] = value[begin]
    return counts
