"""Matrix products, where nearly all the time goes. GEMM itself is left to BLAS and cuBLAS."""

import math

import numpy as np

from .. import array
from ..array import parallel, slices
from ..tensor import op, unbroadcast


def _product(a, b):
    """a (..., M, K) @ b (..., K, N); a stack of products is spread over the cores."""
    if b.ndim == 2:  # every row of a meets the same b: one large product
        return array.matmul(_rows(a), b).reshape(*a.shape[:-1], b.shape[-1])
    if array.on_gpu(a) and a.dtype.kind != "V":
        return a @ b
    stack, (M, K), N = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2:], b.shape[-1]
    n = math.prod(stack)
    a = np.broadcast_to(a, (*stack, M, K)).reshape(n, M, K)
    b = np.broadcast_to(b, (*stack, K, N)).reshape(n, K, N)
    out = array.array_module(a).empty((n, M, N), np.result_type(a, b))
    if array.on_gpu(a):  # CuPy 14.2 multiplies matrices of bfloat16, but no stack of them
        for i in range(n):
            np.matmul(a[i], b[i], out=out[i])
    else:
        step = max(1, array.PRODUCT_FLOPS // max(1, 2 * M * K * N))
        parallel(lambda some: np.matmul(a[some], b[some], out=out[some]), slices(n, step))
    return out.reshape(*stack, M, N)


def _rows(x):
    """(..., C) -> (rows, C)"""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


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
                return array.matmul(_rows(A).T, _rows(D)).reshape(b.shape)
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
    rows = _rows(x)
    y = array.matmul(rows, weight, bias).reshape(*x.shape[:-1], weight.shape[1])

    def derivative(dy):
        d = _rows(dy)
        return (
            lambda: array.matmul(d, weight.T).reshape(x.shape),
            lambda: array.matmul(rows.T, d),
            None if bias is None else lambda: array.sum_rows(d),
        )

    return y, derivative
