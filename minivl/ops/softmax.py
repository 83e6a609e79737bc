"""Softmax: scores become shares of 1. Kernels: softmax.cu."""

from .. import kernels
from ..array import array_module, rowwise
from ..tensor import op
from . import rows


@op
def softmax(x, mask=None):
    """p_i = exp x_i / sum_j exp x_j over the last axis.   x (..., C) -> p (..., C)

    mask    boolean, broadcastable to x: where it is False the share is 0, whatever the score. None: all take part

    The largest score is taken out first: the result is the same, and nothing overflows. A row of which nothing takes
    part, or of -inf, gives 0.   dx = p * (dp - sum(dp * p)): raising one share lowers the others.
    """
    xp = array_module(x)
    if mask is not None and mask.dtype != bool:
        raise TypeError(f"softmax: mask is {mask.dtype}, must be boolean, True = takes part")
    if rows.wanted(x):
        return _softmax_by_kernel(x, mask)
    if mask is not None:
        x = xp.where(_stretched(mask, x), x, x.dtype.type(-xp.inf))

    def a_few(x):
        # minivl:exercise ex03.a points=2 "softmax, without overflow"
        # minivl:hint take the largest score of a row out before exp: the shares stay the same
        # minivl:hint what may be taken out of a row of -inf, at least? And the sum of its exps is 0
        p = x - xp.maximum(x.max(-1, keepdims=True), xp.finfo(x.dtype).min)
        xp.exp(p, out=p)
        p /= xp.maximum(p.sum(-1, keepdims=True), xp.finfo(x.dtype).tiny)
        return p
        # minivl:end

    p = rowwise(a_few, x)

    def derivative(dp):
        # minivl:exercise ex03.b points=3 "softmax, its derivative"
        # minivl:hint dp_i / dx_j = p_i (1 if i = j else 0) - p_i p_j; multiply dp by that, and sum over i
        # minivl:hint no matrix is needed: only the sum of dp p, one number a row
        return rowwise(lambda dp, p: p * (dp - xp.einsum("rc,rc->r", dp, p)[:, None]), dp, p)
        # minivl:end

    return p, derivative


def _stretched(mask, x):
    try:
        return array_module(x).broadcast_to(mask, x.shape)
    except ValueError:
        raise ValueError(f"softmax: mask {mask.shape} cannot be broadcast to x {x.shape}") from None


@op
def log_softmax(x):
    """log p of `softmax`, without ever forming a p that rounds to 0.   dx = d - p * sum(d)"""
    xp = array_module(x)
    if rows.wanted(x):
        return _log_softmax_by_kernel(x)

    def a_few(x):
        y = x - x.max(-1, keepdims=True)
        y -= xp.log(xp.exp(y).sum(-1, keepdims=True))
        return y

    y = rowwise(a_few, x)

    def derivative(d):
        return rowwise(lambda d, y: d - xp.exp(y) * d.sum(-1, keepdims=True), d, y)

    return y, derivative


def _softmax_by_kernel(x, mask):
    k, xp, v = kernels.load("softmax", like=x), array_module(x), rows.matrix(x)
    p = xp.empty_like(v)
    mask, *where = _places(mask, x)
    rows.run(k.softmax_forward, v, (v, mask, p), where)

    def derivative(dp):
        dx = xp.empty_like(p)
        rows.run(k.softmax_backward, p, (rows.matrix(dp), p, dx), slots=2)
        return dx.reshape(x.shape)

    return p.reshape(x.shape), derivative


def _places(mask, x):
    """The mask, the lengths of x's second and third axis from four, and the mask's strides along all four of them.

    So a mask that is the same for all heads, or all queries, is read as it is. More axes are laid out in full.
    """
    if mask is None:
        return None, 1, 1, 0, 0, 0, 0
    full, mask = _stretched(mask, x), array_module(x).ascontiguousarray(mask)
    if x.ndim > 4:
        mask = full = array_module(x).ascontiguousarray(full).reshape(-1, x.shape[-1])
    shape = (1,) * (4 - full.ndim) + full.shape
    strides = (0,) * (4 - full.ndim) + _stretched(mask, full).strides  # a boolean is one byte
    return mask, shape[1], shape[2], *strides


def _log_softmax_by_kernel(x):
    k, xp, v = kernels.load("softmax", like=x), array_module(x), rows.matrix(x)
    y = xp.empty_like(v)
    rows.run(k.log_softmax_forward, v, (v, y))

    def derivative(d):
        dx = xp.empty_like(y)
        rows.run(k.log_softmax_backward, y, (rows.matrix(d), y, dx), slots=2)
        return dx.reshape(x.shape)

    return y.reshape(x.shape), derivative
