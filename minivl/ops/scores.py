"""Rows of scores to the power of e, and their sums: what attention and cross-entropy begin with."""

import numpy as np

from ..array import array_module, on_gpu

_LEAST, _MOST = 1e-20, 1e20  # between these a row's sum has all its digits, whatever was taken out of the row before
_SHORT = range(2, 4097)  # columns; the sums of longer rows are left to NumPy, which adds them in pairs


def exponentials(scores, out=None):
    """e = exp(x - top), the sum of each row of it, and top; the ratios in a row are the same whatever top is.

    scores      gives x (..., C), at each call a new array, since e takes its place, unless there is another for it
    out         the array for e
    returns     (..., C), (..., 1), and (..., 1) or the number 0

    The largest number of each row would do for top, but NumPy is slow to find it. So at first nothing is taken out, and
    only rows whose sum is then very large or very small have their largest taken out; of a row of -inf the sum is 0.
    Each row by itself, so that no number of another makes a difference, not even by rounding.
    """
    x = scores()
    xp, zero, lost = array_module(x), x.dtype.type(0), np.True_
    e = x if out is None else out
    if not x.size:
        return e, total(e), zero
    if not on_gpu(x) and x.dtype.itemsize >= 4:
        with np.errstate(over="ignore"):
            np.exp(x, out=e)
        sums = total(e)
        lost = ~((sums > _LEAST) & (sums < _MOST))
        if not lost.any():
            return e, sums, zero
        x = scores()
    top = xp.where(lost, xp.maximum(x.max(-1, keepdims=True), xp.finfo(x.dtype).min), zero)
    xp.subtract(x, top, out=e)
    xp.exp(e, out=e)
    return e, total(e), top


def total(x):
    """The sum of each row, several times as fast as by x.sum if they are short.   x (..., C) -> (..., 1)"""
    if x.shape[-1] not in _SHORT:
        return x.sum(-1, keepdims=True)
    return array_module(x).einsum("...c->...", x)[..., None]
