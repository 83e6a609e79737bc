"""Convolution: one linear map, put to every place of a picture and its neighbours.

Features lie on the last axis, as those of tokens do: a map is (B, H, W, C). A place's features are then side by side in
memory, all places together are the rows of one matrix, and a convolution is one matrix product.
"""

import operator

import numpy as np

from .. import array
from ..array import array_module, evenly, on_gpu, parallel
from ..tensor import op
from .matmul import _rows

_GPU_CHUNK_BYTES = 1 << 28


@op
def conv2d(x, weight, bias=None, *, stride=1, padding=0):
    """y_ij = sum over (p, q) of x_(i s + p - padding, j s + q - padding) W_pq + bias: no flip, as in every library.

    x         (B, H, W, C)
    weight    (h, w, C, D): its shape says how large the window is
    bias      (D,) or None
    stride    from window to window, one number or (down, right)
    padding   rows and columns of zeros around x, likewise
    ->        (B, H', W', D), H' = (H + 2 padding - h) // stride + 1; what is left over belongs to no window

    Windows are laid side by side as rows (im2col), a few at a time, and multiplied by the weights as a matrix; backward
    lays them out once more instead of keeping them: they overlap, and together are h w times as large as x.
    """
    if x.ndim != 4 or weight.ndim != 4 or weight.shape[2] != x.shape[3]:
        raise ValueError(f"conv2d: x {x.shape} and weight {weight.shape}: want (B, H, W, C) and (h, w, C, D)")
    windows = _Windows("conv2d", x, weight.shape[:2], stride, padding)
    xp, D = array_module(x), weight.shape[-1]
    matrix = _rows(weight)
    y = xp.empty((len(x), *windows.grid, D), np.result_type(x, weight))
    pieces, padded = windows.pieces(), _padded(x, windows.padding)

    def forward(piece):
        product = xp.matmul(windows.rows(padded, piece), matrix)
        if bias is not None:
            product += bias
        y[piece] = product.reshape(y[piece].shape)

    _each(forward, pieces, x)

    def derivative(dy):
        def dx():
            dpadded = _padded(xp.zeros_like(x), windows.padding)

            def work(examples):
                for rows in windows.steps:
                    d = dy[examples, rows]
                    windows.put_back(dpadded, xp.matmul(_rows(d), matrix.T), (examples, rows))

            _each(work, windows.groups, x)
            (down, right), (_, H, W, _) = windows.padding, x.shape
            return dpadded[:, down : down + H, right : right + W]

        def dweight():
            padded, parts = _padded(x, windows.padding), {}

            def work(piece):
                place = piece[0].start, piece[1].start
                parts[place] = xp.matmul(windows.rows(padded, piece).T, _rows(dy[piece]))

            _each(work, pieces, x)
            return sum((parts[place] for place in sorted(parts)), xp.zeros_like(matrix)).reshape(weight.shape)

        return dx, dweight, None if bias is None else lambda: array.sum_rows(_rows(dy))

    return y, derivative


class _Windows:
    """The windows (h, w) of x (B, H, W, C): where they lie, and how they are cut into pieces of bounded size.

    grid     (H', W'), how many there are
    groups   slices of the examples, which have no pixel in common
    steps    slices of the rows of windows in an example
    """

    def __init__(self, name, x, kernel, stride, padding):
        self.kernel, self.stride, self.padding = kernel, _pair(stride), _pair(padding)
        pairs = {len(self.kernel), len(self.stride), len(self.padding)} == {2}
        if not pairs or min(self.kernel) < 1 or min(self.stride) < 1 or min(self.padding) < 0:
            raise ValueError(
                f"{name}: window {kernel}, stride {stride}, padding {padding}: want at least 1, 1 and 0, each one "
                "number or a pair (down, right)"
            )
        sizes = zip(x.shape[1:3], self.kernel, self.stride, self.padding, strict=True)
        self.grid = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)
        if min(self.grid) < 1:
            raise ValueError(f"{name}: x {x.shape} with padding {padding} has no whole window of {kernel}")
        row = self.grid[1] * self.kernel[0] * self.kernel[1] * x.shape[3] * x.itemsize  # bytes of a row of windows
        most = max(1, (_GPU_CHUNK_BYTES if on_gpu(x) else array.CHUNK_BYTES // 2) // max(1, row))  # such rows a piece
        self.groups = evenly(len(x), -(-len(x) * self.grid[0] // most))
        self.steps = evenly(self.grid[0], -(-self.grid[0] // most))

    def pieces(self):
        return [(examples, rows) for examples in self.groups for rows in self.steps]

    def rows(self, padded, piece):
        """The windows of a piece as a matrix, one a row. What is cut out is a view; laying it out copies it."""
        (examples, rows), (h, w), (down, right) = piece, self.kernel, self.stride
        part = padded[examples, rows.start * down :]
        n, c = part.strides[0], part.strides[3]
        shape = (len(part), rows.stop - rows.start, self.grid[1], h, w, padded.shape[3])
        strides = (n, down * part.strides[1], right * part.strides[2], *part.strides[1:3], c)
        view = array_module(part).lib.stride_tricks.as_strided(part, shape, strides)
        return view.reshape(len(part) * shape[1] * shape[2], h * w * shape[5])

    def places(self, a, piece):
        """For each place (p, q) in a window, the pixels of a (B, H, W, ...) that stand there in a piece's windows."""
        (examples, rows), (h, w), (down, right) = piece, self.kernel, self.stride
        for p in range(h):
            for q in range(w):
                first = rows.start * down + p
                last = (rows.stop - 1) * down + p
                yield p, q, a[examples, first : last + 1 : down, q : q + (self.grid[1] - 1) * right + 1 : right]

    def put_back(self, padded, drows, piece):
        """Adds the gradient of each window to the pixels that it was cut from."""
        (examples, rows), (h, w) = piece, self.kernel
        n = examples.stop - examples.start, rows.stop - rows.start
        drows = drows.reshape(*n, self.grid[1], h, w, padded.shape[3])
        for p, q, pixels in self.places(padded, piece):
            pixels += drows[:, :, :, p, q]


def _pair(n):
    return (operator.index(n),) * 2 if hasattr(n, "__index__") else tuple(n)


def _padded(x, padding, value=0):
    """x (B, H, W, C) with rows and columns of `value` around every picture; x itself where there are none."""
    (down, right), (B, H, W, C) = padding, x.shape
    if not down and not right:
        return x
    padded = array_module(x).full((B, H + 2 * down, W + 2 * right, C), value, x.dtype)
    padded[:, down : down + H, right : right + W] = x
    return padded


def _each(body, pieces, x):
    """body(piece) for each: on all cores, but one after the other on a GPU, which has its own way of being busy."""
    if on_gpu(x):
        for piece in pieces:
            body(piece)
    else:
        parallel(body, pieces)
