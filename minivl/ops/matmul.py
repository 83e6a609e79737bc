"""Matrix products, where nearly all the time goes. GEMM itself is left to BLAS and cuBLAS."""

from .. import array
from ..array import array_module, parallel, slices
from ..tensor import op, unbroadcast


def _product(a, b):
    """a (..., M, K) @ b (..., K, N); a stack of products is spread over the cores."""
    if b.ndim == 2 and a.ndim >= 2:  # every row of a meets the same b: one large product
        return array.matmul(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    if a.ndim == 3 and b.ndim == 3 and a.shape[0] == b.shape[0] and not array.on_gpu(a):
        xp = array_module(a)
        out = xp.empty((*a.shape[:-1], b.shape[-1]), xp.result_type(a, b))
        flops = 2 * a.shape[1] * a.shape[2] * b.shape[2]
        step = max(1, array.PRODUCT_FLOPS // max(1, flops))
        parallel(lambda n: xp.matmul(a[n], b[n], out=out[n]), slices(len(a), step))
        return out
    return a @ b


@op
def matmul(a, b):
    """a (..., M, K) @ b (..., K, N) -> (..., M, N); a vector counts as one row on the left, one column on the right."""
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != (b.shape[-2] if b.ndim > 1 else b.shape[0]):
        raise ValueError(
            f"matmul: shapes {a.shape} and {b.shape} do not fit: the last axis of a must be b's last but one"
        )
    A, B = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    Y = _product(A, B)
    y = Y.reshape(Y.shape[:-2] + Y.shape[-2:][a.ndim == 1 : 2 - (b.ndim == 1)])

    def derivative(d):
        D = d.reshape(Y.shape)

        def da():
            return unbroadcast(_product(D, B.swapaxes(-1, -2)), A.shape).reshape(a.shape)

        def db():
            if B.ndim == 2:
                return array.matmul(A.reshape(-1, A.shape[-1]).T, D.reshape(-1, D.shape[-1])).reshape(b.shape)
            return unbroadcast(_product(A.swapaxes(-1, -2), D), B.shape).reshape(b.shape)

        return da, db

    return y, derivative


@op
def linear(x, weight, bias=None):
    """y = x W + b.   x (..., C)   weight (C, D)   bias (D,) or None   ->   y (..., D)"""
    if x.shape[-1] != weight.shape[0]:
        raise ValueError(
            f"linear: x {x.shape} has {x.shape[-1]} features, weight {weight.shape} takes {weight.shape[0]}"
        )
    rows = x.reshape(-1, x.shape[-1])
    y = array.matmul(rows, weight, bias).reshape(*x.shape[:-1], weight.shape[1])

    def derivative(dy):
        d = dy.reshape(-1, dy.shape[-1])
        return (
            lambda: array.matmul(d, weight.T).reshape(x.shape),
            lambda: array.matmul(rows.T, d),
            None if bias is None else lambda: array.sum_rows(d),
        )

    return y, derivative
