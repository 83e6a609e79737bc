"""Which token a number belongs to: followed through every op, so that a row of a matrix can be called "red" or patch 7.

Each tensor has a shadow, an array of its shape that holds in each place the id of a token. Ops that only move numbers
(reshape, cat, getitem, ...) move the shadow by the very same function; ops that mix features keep it; attention gives
the token that asked. A matrix of inner products has two shadows, one for whose rows and one for whose columns they are.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..ops import patch_grid, shape
from ..tensor import Tensor

_MOVERS = {name: getattr(shape, name).__wrapped__ for name in ("reshape", "transpose", "expand", "getitem", "cast")}
_MOVERS["cat"] = shape._cat.__wrapped__
_REDUCTIONS = ("sum", "mean", "max", "var", "logsumexp")
_STRENGTH = {"none": 0, "learned": 1}  # of two tokens that are added, the stronger gives its name; all others: 2


@dataclass(frozen=True)
class Token:
    """What a row of numbers stands for.

    kind    "patch", "tube" (of a clip; name is where it lies), "word", "learned" (a row of a parameter; name is which),
            "together" (several of a kind), "picture" or "text" (whole ones), "none"
    place   its number among its kind, counted from 0
    """

    kind: str
    name: str = ""
    place: int = 0


class Tokens:
    """The shadows of all tensors of a pass.

    rows         how many examples the batch has
    parameters   {tensor.number: name}
    """

    def __init__(self, rows, parameters):
        self.B, self.parameters = rows, parameters
        self.table, self.known = [], {}
        self.strength = []
        self.id(Token("none"))
        self.shadows, self.columns, self.sees = {}, {}, {}
        self.grid = None  # rows and columns of the patches
        self.boxes = {}  # of the tubes: {(frame, row, column, and as many of each): number}, in pixels

    def id(self, token, row=-1):
        """The id of a token of example `row`; -1: of all examples alike."""
        if token not in self.known:
            self.known[token] = len(self.table)
            self.table.append(token)
            self.strength.append(_STRENGTH.get(token.kind, 2))
        return self.known[token] * (self.B + 1) + row + 1

    def token(self, id):
        """(Token, row) of an id."""
        return self.table[id // (self.B + 1)], id % (self.B + 1) - 1

    # ---- following the ops -------------------------------------------------------------------------------------------

    def of(self, tensor, columns=False):
        """The shadow of a tensor, an array of ids of its shape."""
        if not isinstance(tensor, Tensor):
            return np.zeros(np.shape(tensor), np.int64)
        if columns:
            return self.columns.get(tensor.number, np.zeros(tensor.shape, np.int64))
        if tensor.number not in self.shadows:
            self.shadows[tensor.number] = self._leaf(tensor)
        return self.shadows[tensor.number]

    def _leaf(self, tensor):
        name, rows = self.parameters.get(tensor.number), tensor.shape[:-1]
        if name is None or len(rows) == 0:
            return np.zeros(tensor.shape, np.int64)
        ids = [self.id(Token("learned", name, i)) for i in range(int(np.prod(rows)))]
        return np.broadcast_to(np.reshape(ids, rows)[..., None], tensor.shape)

    def follow(self, op, arguments, options, out):
        """Finds the shadow of `out`, the output of an op."""
        tensors = [a for a in arguments if isinstance(a, Tensor)]
        self.sees[out.number] = self._seen(op, arguments, tensors)
        follow = getattr(self, f"_{op}", None) or self._other(op)
        self.shadows[out.number] = follow(arguments, options, out)
        if any(t.number in self.columns for t in tensors):
            columns = [self.of(a, columns=True) for a in arguments]
            self.columns[out.number] = (
                self._moved(op, columns, options) if op in _MOVERS else self._merged(columns, out.shape)
            )

    def follow_like(self, known, out):
        """Gives `out` the shadow of `known`, which the same op made in another model."""
        for kept in (self.shadows, self.columns, self.sees):
            if known.number in kept:
                kept[out.number] = kept[known.number]

    def _seen(self, op, arguments, tensors):
        """What a tensor was computed from: "picture", "text", or both."""
        seen = frozenset().union(*(self.sees.get(t.number, frozenset()) for t in tensors))
        if op in ("patch_embed", "conv2d"):
            seen |= {"picture"}
        return seen | {"text"} if op == "embedding" else seen

    def _other(self, op):
        if op in _MOVERS:
            return lambda arguments, options, out: self._moved(op, [self.of(a) for a in arguments], options)
        if op in _REDUCTIONS:
            return self._reduced
        if op in ("conv2d", "avg_pool2d", "max_pool2d"):
            return self._cells
        return lambda arguments, options, out: self._merged([self.of(a) for a in arguments], out.shape)

    def _moved(self, op, shadows, options):
        moved = _MOVERS[op](*shadows, **({} if op == "cast" else options))[0] if op != "cast" else shadows[0]
        if op == "expand" and moved.ndim > 2 and len(moved) == self.B and not (moved % (self.B + 1)).any():
            rows = np.arange(1, self.B + 1).reshape(-1, *[1] * (moved.ndim - 1))
            return np.where(moved > 0, moved + rows, 0)  # one for each example
        return moved

    def _merged(self, shadows, whole):
        """Element by element, the strongest token; of equals the first."""
        found = np.zeros(whole, np.int64)
        strength = np.array(self.strength)
        for shadow in shadows:
            try:
                shadow = np.broadcast_to(shadow, whole)
            except ValueError:
                continue
            here, before = strength[shadow // (self.B + 1)], strength[found // (self.B + 1)]
            found = np.where(here > before, shadow, found)
        return found

    def _reduced(self, arguments, options, out):
        """Several tokens become one: if they are all the same it stays that, otherwise it is them together."""
        shadow, axis = self.of(arguments[0]), options.get("axis")
        keepdims = {"keepdims": options.get("keepdims", False)}
        low, high = shadow.min(axis=axis, **keepdims), shadow.max(axis=axis, **keepdims)
        base = self.B + 1
        together = self.id(Token("together", self.token(int(np.max(high, initial=0)))[0].kind))
        one_row = low % base == high % base
        return np.where(low == high, low, np.where(one_row, together - together % base + low % base, 0))

    def _linear(self, arguments, options, out):
        return np.broadcast_to(self.of(arguments[0])[..., :1], out.shape)

    def _matmul(self, arguments, options, out):
        a, b = (self.of(x) for x in arguments)
        if a.ndim < 2 or b.ndim < 2:
            return np.zeros(out.shape, np.int64)
        whole = self._whole_examples(arguments, out)
        if whole is not None:
            return whole
        if (b[..., :1, :] != b[..., :1, :1]).any():
            self.columns[out.number] = np.broadcast_to(b[..., :1, :], out.shape)
        return np.broadcast_to(a[..., :1], out.shape)

    def _whole_examples(self, arguments, out):
        """Each example's vector with each example's: pictures with texts. None where that is not what is multiplied."""
        if out.shape != (self.B, self.B):
            return None
        sides = []
        for tensor, shadow in zip(arguments, (self.of(arguments[0])[:, 0], self.of(arguments[1])[0]), strict=True):
            rows, seen = shadow % (self.B + 1) - 1, self.sees.get(getattr(tensor, "number", None), frozenset())
            if not np.array_equal(rows, np.arange(self.B)) or len(seen) != 1:
                return None
            sides.append(np.array([self.id(Token(*seen), row) for row in rows]))
        self.columns[out.number] = np.broadcast_to(sides[1][None, :], out.shape)
        return np.broadcast_to(sides[0][:, None], out.shape)

    def _attention(self, arguments, options, out):
        return np.broadcast_to(self.of(arguments[0])[..., :1], out.shape)

    def _patch_embed(self, arguments, options, out):
        B, N, C = out.shape
        pictures, weight = arguments[0], arguments[1]
        size, kernel = pictures.shape[2:], weight.shape[1:-1]
        if len(kernel) == 2:
            self.grid = patch_grid(size, kernel, kernel, (0, 0))
            found = [Token("patch", place=n) for n in range(N)]
        else:
            found = self._tubes(patch_grid(size, kernel, options["stride"], options["offset"]), kernel, options)
        ids = [[self.id(token, b) for token in found] for b in range(B)]
        return np.broadcast_to(np.array(ids)[..., None], out.shape)

    def _tubes(self, grid, kernel, options):
        """The tubes of one shape, told by their frames, row and column; counted on from those of other shapes."""
        found, offset = [], options["offset"]
        for at in np.ndindex(grid):
            start = [o + s * i for o, s, i in zip(offset, options["stride"], at, strict=True)]
            last = start[0] + kernel[0]
            frames = f"frame {last}" if kernel[0] == 1 else f"frames {start[0] + 1}–{last}"
            place = self.boxes.setdefault((*start, *kernel), len(self.boxes))
            found.append(Token("tube", f"{frames}, row {at[1] + 1}, column {at[2] + 1}", place))
        return found

    def _cells(self, arguments, options, out):
        """Maps of a convolution: each place is named like a patch of a grid as fine as the map."""
        B, h, w, C = out.shape
        self.grid = (h, w)
        ids = [[self.id(Token("patch", place=n), b) for n in range(h * w)] for b in range(B)]
        return np.broadcast_to(np.array(ids).reshape(B, h, w, 1), out.shape)

    def _embedding(self, arguments, options, out):
        ids = np.asarray(arguments[1])
        if ids.ndim != 2:
            return np.zeros(out.shape, np.int64)
        words = [[self.id(Token("word", place=t), b) for t in range(ids.shape[1])] for b in range(len(ids))]
        return np.broadcast_to(np.array(words)[..., None], out.shape)

    # ---- what is asked of them ---------------------------------------------------------------------------------------

    def along(self, tensor, axis, columns=False):
        """The ids along one axis, in the first place of all other axes; those of the shadow that varies there."""
        for shadow in (self.of(tensor), self.of(tensor, columns=True)):
            index = tuple(slice(None) if a == axis % tensor.ndim else 0 for a in range(tensor.ndim))
            ids = shadow[index] if shadow.size else np.zeros(tensor.shape[axis], np.int64)
            if (ids != ids[:1]).any():
                return ids
        return self.of(tensor)[tuple(slice(None) if a == axis % tensor.ndim else 0 for a in range(tensor.ndim))]

    def example(self, tensor, row=0):
        """What indexes the numbers of one example in a tensor: an int or an array for the first axis; None: all."""
        if not tensor.ndim:
            return None
        rows = self.along(tensor, 0) % (self.B + 1) - 1
        if len(rows) == self.B and np.array_equal(rows, np.arange(self.B)):
            return row
        if (rows >= 0).any():
            return np.flatnonzero(rows == row)
        return row if tensor.ndim > 2 and len(tensor.data) == self.B else None

    def axes(self, tensor, letters):
        """[(letter, size)] of a tensor's axes.   letters: {size: letter} of the widths that the model's Config names"""
        found = []
        for axis, size in enumerate(tensor.shape):
            ids = self.along(tensor, axis)
            rows, bases = ids % (self.B + 1), ids // (self.B + 1)
            if size > 1 and len(set(rows.tolist())) > 1:
                found.append(("B" if len(set(rows.tolist())) == size == self.B else "n", size))
            elif axis == 0 and tensor.ndim > 2 and size == self.B:
                found.append(("B", size))
            elif size > 1 and len(set(bases.tolist())) > 1:
                found.append((self._sequence(bases), size))
            elif axis == 0 and tensor.ndim == 2 and size == len(self.boxes):
                found.append(("N", size))  # the places of a clip's tokens, before these are added
            elif axis == tensor.ndim - 1:
                found.append(("D" if tensor.ndim == 4 and size not in letters else _feature(size, letters), size))
            else:
                found.append(("1" if size == 1 else "H", size))
        return found

    def _sequence(self, bases):
        """N for patches, T for words, Q for learned queries; 1+N, T+1 where there are some of each."""
        parts, counted = [], Counter(self.table[base].kind for base in bases)
        for kind in dict.fromkeys(self.table[base].kind for base in bases):
            letter = {"patch": "N", "word": "T", "learned": "Q", "tube": "N"}.get(kind, "?")
            parts.append(str(counted[kind]) if kind == "learned" and len(counted) > 1 else letter)
        return "+".join(parts)


def _feature(size, letters):
    if size in letters:
        return letters[size]
    width = next((n for n, letter in letters.items() if letter == "C" and size % n == 0), None)
    return f"{size // width}C" if width else "C"
