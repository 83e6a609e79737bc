"""Softmax: scores become shares of 1."""

from ..array import array_module, rowwise
from ..tensor import op


@op
def softmax(x):
    """p_i = exp x_i / sum_j exp x_j over the last axis.   x (..., C) -> p (..., C)

    The largest score is taken out first: the result is the same, and nothing overflows. A row of -inf gives 0.
    dx = p * (dp - sum(dp * p)): raising one share lowers the others.
    """
    xp = array_module(x)

    def rows(x):
        # minivl:exercise ex03.a points=2 "softmax, without overflow"
        # minivl:hint take the largest score of a row out before exp: the shares stay the same
        # minivl:hint what may be taken out of a row of -inf, at least? And the sum of its exps is 0
        p = x - xp.maximum(x.max(-1, keepdims=True), xp.finfo(x.dtype).min)
        xp.exp(p, out=p)
        p /= xp.maximum(p.sum(-1, keepdims=True), xp.finfo(x.dtype).tiny)
        return p
        # minivl:end

    p = rowwise(rows, x)

    def derivative(dp):
        # minivl:exercise ex03.b points=3 "softmax, its derivative"
        # minivl:hint dp_i / dx_j = p_i (1 if i = j else 0) - p_i p_j; multiply dp by that, and sum over i
        # minivl:hint no matrix is needed: only the sum of dp p, one number a row
        return rowwise(lambda dp, p: p * (dp - xp.einsum("rc,rc->r", dp, p)[:, None]), dp, p)
        # minivl:end

    return p, derivative


@op
def log_softmax(x):
    """log p of `softmax`, without ever forming a p that rounds to 0.   dx = d - p * sum(d)"""
    xp = array_module(x)

    def rows(x):
        y = x - x.max(-1, keepdims=True)
        y -= xp.log(xp.exp(y).sum(-1, keepdims=True))
        return y

    y = rowwise(rows, x)

    def derivative(d):
        return rowwise(lambda d, y: d - xp.exp(y) * d.sum(-1, keepdims=True), d, y)

    return y, derivative
