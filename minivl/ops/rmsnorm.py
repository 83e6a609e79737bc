"""Root mean square normalisation: every vector to a mean square of 1, then scaled. Kernels: rmsnorm.cu."""

from .. import kernels
from ..array import array_module, column_sums, rowwise
from ..tensor import op
from . import rows


@op
def rmsnorm(x, weight, *, eps=1e-6):
    """y = weight * x / sqrt(mean(x^2) + eps) over the last axis.   Zhang & Sennrich 2019, arXiv 1910.07467.

    x (..., C)   weight (C,)   ->   y (..., C)

    Layer normalisation without taking the mean out, and without a bias. The derivative keeps n = x * rms^-1. With
    dn = dy * weight, dx = rms^-1 * (dn - n * mean(dn * n)): only a stretch of x has been erased, no shift.
    """
    xp, C = array_module(x), x.shape[-1]
    if weight.shape != (C,):
        raise ValueError(f"rmsnorm: x {x.shape} needs weight ({C},), got {weight.shape}")
    if rows.wanted(x, weight):
        return _by_kernel(x, weight, eps)

    def normalise(x, y, n):
        scale = 1 / xp.sqrt(xp.einsum("rc,rc->r", x, x)[:, None] / C + eps)
        xp.multiply(x, scale, out=n)
        xp.multiply(weight, n, out=y)
        return scale

    y, n = (xp.empty(x.shape, xp.result_type(x.dtype, weight.dtype)) for _ in range(2))
    scale = rowwise(normalise, x, y, n)

    def derivative(dy):
        def a_few(dy, n, scale, dx):
            dyn = dy * n
            stretch = (dyn @ weight)[:, None] * (scale / C)  # mean(dn n) / rms
            xp.multiply(weight, dy, out=dx)
            dx *= scale
            dx -= n * stretch
            return column_sums(dyn)

        dx = xp.empty(n.shape, n.dtype)
        return dx, rowwise(a_few, dy, n, scale, dx, sums=1)

    return y, derivative


def _by_kernel(x, weight, eps):
    k, xp, v, weight = kernels.load("rmsnorm", like=x), array_module(x), rows.matrix(x), rows.aligned(weight)
    y, scale = xp.empty_like(v), rows.sums_like(x, len(v))
    rows.run(k.rmsnorm_forward, v, (v, weight, y, scale), (eps,))

    def derivative(dy):
        dx = xp.empty_like(v)
        arguments = v, rows.matrix(dy), weight, scale, dx
        (dweight,) = rows.run_summing(k.rmsnorm_backward, k.column_sums, v, arguments, tables=1)
        return dx.reshape(x.shape), dweight

    return y.reshape(x.shape), derivative
