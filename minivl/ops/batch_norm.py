"""Batch normalisation: every feature to mean 0 and variance 1 over a batch, then scaled and shifted."""

from ..array import array_module, rowwise
from ..tensor import Tensor, op


def batch_moments(x):
    """Mean and variance of every feature over all other axes, as arrays without a history.   x (..., C) -> (C,), (C,)

    The variance is taken from the differences to the mean: that of numbers far from 0 is not lost in float32.
    """
    x = x.data if isinstance(x, Tensor) else x
    n = x.size // x.shape[-1]
    mean = rowwise(lambda x: _sum(x), x, sums=1) / n

    def squares(x):
        x = x - mean
        return array_module(x).einsum("rc,rc->c", x, x)

    return mean, rowwise(squares, x, sums=1) / n


def _sum(x):
    """Over the rows of x (rows, C)."""
    return array_module(x).ones(len(x), x.dtype) @ x


@op
def batch_norm(x, weight, bias, mean, var, *, training=False, eps=1e-5):
    """y = weight * (x - mean) / sqrt(var + eps) + bias.   Ioffe & Szegedy 2015, arXiv 1502.03167, algorithm 1.

    x           (..., C)
    mean, var   (C,): in training those of the batch, as `batch_moments(x)` gives them; in use those of the training
    training    mean and var were taken from x: they change with it, and the derivative knows

    The derivative keeps n = (x - mean) * rstd. With dn = dy * weight, as in layernorm but down the columns,
    dx = rstd * (dn - mean(dn) - n * mean(dn * n)) in training, dx = rstd * dn in use.
    """
    xp, C = array_module(x), x.shape[-1]
    if any(a.shape != (C,) for a in (weight, bias, mean, var)):
        shapes = ", ".join(str(a.shape) for a in (weight, bias, mean, var))
        raise ValueError(f"batch_norm: x {x.shape} needs weight, bias, mean and var ({C},), got {shapes}")
    rstd = 1 / xp.sqrt(var + eps)

    def normalise(x):
        n = x - mean
        n *= rstd
        y = n * weight
        y += bias
        return y, n

    y, n = rowwise(normalise, x)

    def derivative(dy):
        def sums(dy, n):
            return xp.einsum("rc,rc->c", dy, n), _sum(dy)

        dweight, dbias = rowwise(sums, dy, n, sums=2)
        rows = n.size // C  # not x.size: x need not be kept

        def dx():
            scale = weight * rstd
            if not training:
                return rowwise(lambda dy: dy * scale, dy)

            def formula(dy, n):
                d = n * (dweight / -rows)
                d += dy
                d -= dbias / rows
                d *= scale
                return d

            return rowwise(formula, dy, n)

        return dx, dweight, dbias, None, None

    return y, derivative
