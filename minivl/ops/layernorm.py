"""Layer normalisation: every vector to mean 0 and variance 1, then scaled and shifted. Kernels: layernorm.cu."""

from .. import kernels
from ..array import array_module, column_sums, rowwise
from ..tensor import op
from . import rows


@op
def layernorm(x, weight, bias, *, eps=1e-5):
    """y = weight * (x - mean) / sqrt(var + eps) + bias over the last axis.   Ba et al. 2016, arXiv 1607.06450, eq. 4.

    x (..., C)   weight (C,)   bias (C,)   ->   y (..., C)

    The derivative keeps n = (x - mean) * rstd and rstd. With dn = dy * weight,
    dx = rstd * (dn - mean(dn) - n * mean(dn * n)): what is left of dn once the two directions that normalising
    erased, a shift and a stretch of x, are taken out of it.
    """
    xp, C = array_module(x), x.shape[-1]
    if weight.shape != (C,) or bias.shape != (C,):
        raise ValueError(f"layernorm: x {x.shape} needs weight and bias ({C},), got {weight.shape} and {bias.shape}")
    if rows.wanted(x, weight, bias):
        return _by_kernel(x, None, weight, bias, eps)

    def mean(x):
        return xp.einsum("rc->r", x)[:, None] / C  # three times as fast as x.mean(-1)

    def normalise(x, y, n):
        # minivl:exercise ex04.a points=2 "layer normalisation"
        # minivl:hint the mean and the variance of each row; `mean(x)` gives the means as a column
        # minivl:hint fill n with (x - mean) * rstd and y with the result, both of the shape of x
        # minivl:hint return rstd = 1 / sqrt(var + eps) as a column
        xp.subtract(x, mean(x), out=n)
        rstd = 1 / xp.sqrt(xp.einsum("rc,rc->r", n, n)[:, None] / C + eps)
        n *= rstd
        xp.multiply(n, weight, out=y)
        y += bias
        return rstd
        # minivl:end

    y, n = (xp.empty(x.shape, xp.result_type(x.dtype, weight.dtype)) for _ in range(2))
    rstd = rowwise(normalise, x, y, n)

    def derivative(dy):
        def a_few(dy, n, rstd, dx):
            # minivl:exercise ex04.b points=5 "layer normalisation, its derivatives"
            # minivl:hint a shift of x changes nothing, nor does a stretch: both directions must be missing from dx
            # minivl:hint with dn = dy * weight: dx = rstd (dn - mean(dn) - n mean(dn n))
            # minivl:hint fill dx, and return for these rows dweight = sum of dy n, dbias = sum of dy
            dyn = dy * n
            shift = (dy @ weight)[:, None] * (rstd / C)  # rstd mean(dn)
            stretch = (dyn @ weight)[:, None] * (rstd / C)  # rstd mean(dn n)
            xp.multiply(dy, weight, out=dx)
            dx *= rstd
            dx -= shift
            dx -= n * stretch
            return column_sums(dyn), column_sums(dy)
            # minivl:end

        dx = xp.empty(n.shape, n.dtype)
        return dx, *rowwise(a_few, dy, n, rstd, dx, sums=2)

    return y, derivative


@op
def add_layernorm(x, branch, weight, bias, *, eps=1e-5):
    """layernorm(x + branch): what closes a layer of the first transformers, Vaswani et al. 2017, arXiv 1706.03762.

    x, branch (..., C)   weight, bias (C,)   ->   y (..., C).   Both of the sum have its derivative.
    """
    if branch.shape != x.shape:
        raise ValueError(f"add_layernorm: branch {branch.shape} must have the shape of x, {x.shape}")
    if rows.wanted(x, branch, weight, bias):
        y, derivative = _by_kernel(x, branch, weight, bias, eps)
    else:
        y, derivative = layernorm.__wrapped__(x + branch, weight, bias, eps=eps)

    def of_both(dy):
        dsum, dweight, dbias = derivative(dy)
        return dsum, dsum, dweight, dbias

    return y, of_both


def _by_kernel(x, branch, weight, bias, eps):
    k, xp, v = kernels.load("layernorm", like=x), array_module(x), rows.matrix(x)
    weight, bias = rows.aligned(weight), rows.aligned(bias)
    y, mean, rstd = xp.empty_like(v), rows.sums_like(x, len(v)), rows.sums_like(x, len(v))
    if branch is None:
        total = v
        rows.run(k.layernorm_forward, v, (v, None, weight, bias, None, y, mean, rstd), (eps,))
    else:
        total = xp.empty_like(v)
        arguments = v, rows.matrix(branch), weight, bias, total, y, mean, rstd
        rows.run(k.layernorm_forward, v, arguments, (eps,), slots=2)

    def derivative(dy):
        dx = xp.empty_like(v)
        arguments = total, rows.matrix(dy), weight, mean, rstd, dx
        dweight, dbias = rows.run_summing(k.layernorm_backward, k.column_sums, v, arguments, tables=2)
        return dx.reshape(x.shape), dweight, dbias

    return y.reshape(x.shape), derivative
