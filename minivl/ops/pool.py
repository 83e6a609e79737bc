"""Pooling: a map is made smaller by taking the mean or the largest of every window.   x (B, H, W, C), as in conv.py."""

from ..array import array_module
from ..tensor import op
from .conv import _each, _padded, _Windows


@op
def avg_pool2d(x, *, size, stride=None):
    """The mean of every window.   x (B, H, W, C) -> (B, H', W', C), H' = (H - size) // stride + 1

    size, stride   one number or (down, right); stride None: windows side by side
    """
    windows = _windows("avg_pool2d", x, size, stride)
    h, w = windows.kernel
    y = array_module(x).zeros((len(x), *windows.grid, x.shape[3]), x.dtype)

    def forward(piece):
        for _, _, pixels in windows.places(x, piece):
            y[piece] += pixels
        y[piece] *= 1 / (h * w)

    _each(forward, windows.pieces(), x)

    def derivative(dy):
        dx = array_module(x).zeros(x.shape, x.dtype)

        def work(examples):
            for rows in windows.steps:
                share = dy[examples, rows] * (1 / (h * w))
                for _, _, pixels in windows.places(dx, (examples, rows)):
                    pixels += share

        _each(work, windows.groups, x)
        return dx

    return y, derivative


@op
def max_pool2d(x, *, size, stride=None, padding=0):
    """The largest of every window; where several are, the gradient goes to the first, as in PyTorch.

    x (B, H, W, C) -> (B, H', W', C), H' = (H + 2 padding - size) // stride + 1. What is padded is never the largest.
    """
    windows = _windows("max_pool2d", x, size, stride, padding)
    xp, (down, right), (h, w) = array_module(x), windows.padding, windows.kernel
    if 2 * down > h or 2 * right > w:
        raise ValueError(f"max_pool2d: padding {padding} is more than half of size {size}: a window could be empty")
    padded = _padded(x, windows.padding, -xp.inf)
    y = xp.full((len(x), *windows.grid, x.shape[3]), -xp.inf, x.dtype)
    where = xp.zeros(y.shape, xp.int16)  # in its window, row by row

    def forward(piece):
        for p, q, pixels in windows.places(padded, piece):
            larger = pixels > y[piece]
            xp.copyto(where[piece], p * w + q, where=larger)
            xp.copyto(y[piece], pixels, where=larger | (pixels != pixels))  # a NaN is seen

    _each(forward, windows.pieces(), x)

    def derivative(dy):
        dpadded = xp.zeros(padded.shape, x.dtype)

        def work(examples):
            for rows in windows.steps:
                piece = examples, rows
                for p, q, pixels in windows.places(dpadded, piece):
                    pixels += xp.where(where[piece] == p * w + q, dy[piece], 0)

        _each(work, windows.groups, x)
        return dpadded[:, down : down + x.shape[1], right : right + x.shape[2]]

    return y, derivative


def _windows(name, x, size, stride, padding=0):
    if x.ndim != 4:
        raise ValueError(f"{name}: x {x.shape}, must be (B, H, W, C)")
    size = (size, size) if isinstance(size, int) else tuple(size)
    return _Windows(name, x, size, size if stride is None else stride, padding)
