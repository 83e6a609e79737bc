"""Reductions: many numbers become one. `axis` is an int, a tuple of ints or None for all; `keepdims` as in NumPy."""

import numpy as np

from ..array import array_module
from ..tensor import op


def _stretched(d, x, axis, keepdims):
    """The gradient d of a reduction over `axis`, in a shape that broadcasts against x."""
    return d if keepdims or axis is None else array_module(x).expand_dims(d, axis)


def _count(x, axis):
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    n = 1
    for a in axes:
        n *= x.shape[a]
    return n


@op
def sum(x, *, axis=None, keepdims=False):
    xp = array_module(x)

    def derivative(d):
        return xp.broadcast_to(_stretched(d, x, axis, keepdims), x.shape)

    return x.sum(axis=axis, keepdims=keepdims), derivative


@op
def mean(x, *, axis=None, keepdims=False):
    xp, n = array_module(x), _count(x, axis)

    def derivative(d):
        return xp.broadcast_to(_stretched(d, x, axis, keepdims) / x.dtype.type(n), x.shape)

    return x.mean(axis=axis, keepdims=keepdims), derivative


@op
def var(x, *, axis=None, keepdims=False):
    """The mean squared distance from the mean (divided by n, not n - 1)."""
    n = x.dtype.type(_count(x, axis))
    away = x - x.mean(axis=axis, keepdims=True)

    def derivative(d):
        return _stretched(d, x, axis, keepdims) * away * (2 / n)

    return (away * away).mean(axis=axis, keepdims=keepdims), derivative


@op
def max(x, *, axis=None, keepdims=False):
    """The largest; where several are equal, they share the gradient."""
    top = x.max(axis=axis, keepdims=True)

    def derivative(d):
        here = x == top
        return _stretched(d, x, axis, keepdims) * here / here.sum(axis=axis, keepdims=True).astype(x.dtype)

    return top if keepdims else x.max(axis=axis), derivative


@op
def logsumexp(x, *, axis=-1, keepdims=False):
    """log sum exp x, with the largest taken out first so that nothing overflows; -inf where all x are."""
    xp = array_module(x)
    top = xp.maximum(x.max(axis=axis, keepdims=True), xp.finfo(x.dtype).min)
    p = xp.exp(x - top)
    total = p.sum(axis=axis, keepdims=True)
    with np.errstate(divide="ignore"):
        y = top + xp.log(total)
    p /= xp.maximum(total, xp.finfo(x.dtype).tiny)

    def derivative(d):
        return _stretched(d, x, axis, keepdims) * p

    return y if keepdims else y.squeeze(axis), derivative
