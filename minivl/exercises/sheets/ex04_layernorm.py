"""Layer normalisation, there and back.

Every vector is moved to mean 0 and stretched to variance 1. Two directions are lost on the way, a shift and a stretch
of x, and the derivative must know it: whatever gradient comes back, those two are taken out of it.

    y = weight n + bias,  n = (x - mean) rstd,  rstd = 1 / sqrt(var + eps)
    dx = rstd (dn - mean(dn) - n mean(dn n)),  dn = dy weight

You will need: the chain rule for a mean. About 90 minutes. Derive the formula on paper before you believe it.
"""

import numpy as np

from ..sheet import check, close, holds, scenario

FILES = ("minivl/ops/layernorm.py",)


@scenario
def there(x, weight, bias, eps):
    from minivl import ops

    return ops.layernorm(x, weight, bias, eps=eps).numpy()


@scenario
def back(x, weight, bias, dy, eps):
    from minivl import Tensor, ops

    x, weight, bias = (Tensor(a, requires_grad=True) for a in (x, weight, bias))
    ops.layernorm(x, weight, bias, eps=eps).backward(dy)
    return x.grad, weight.grad, bias.grad


def _inputs(random, shape):
    C = shape[-1]
    return 2 + 3 * random.standard_normal(shape), random.standard_normal(C), random.standard_normal(C)


_SHAPES = ((1, 4), (3, 5), (2, 3, 8), (7, 33))


@check("ex04.a", "y = weight (x - mean) / sqrt(var + eps) + bias")
def rows_are_normalised(run, random):
    """The variance of n - 1; eps outside of the root; the wrong axis; weight or bias left out."""
    for shape in _SHAPES:
        for eps in (1e-5, 0.3):
            x, weight, bias = _inputs(random, shape)
            wanted = np.empty(shape)
            for i in np.ndindex(shape[:-1]):
                row = [float(n) for n in x[i]]
                mean = sum(row) / len(row)
                var = sum((n - mean) ** 2 for n in row) / len(row)
                wanted[i] = weight * np.array([(n - mean) / (var + eps) ** 0.5 for n in row]) + bias
            close("y", run(there, x, weight, bias, eps=eps), wanted, 1e-11)


@check("ex04.a", "a row of equal numbers becomes the bias")
def constant_rows_are_finite(run, random):
    x, weight, bias = np.full((2, 6), 7.0), random.standard_normal(6), random.standard_normal(6)
    close("y", run(there, x, weight, bias, eps=1e-5), np.stack([bias, bias]), 1e-9)


@check("ex04.b", "dx = rstd (dn - mean(dn) - n mean(dn n))")
def derivative_is_the_jacobian(run, random):
    """One of the two directions forgotten; weight forgotten; a numerical derivative."""
    for shape in _SHAPES:
        x, weight, bias = _inputs(random, shape)
        dy, eps, C = random.standard_normal(shape), 0.1, shape[-1]
        centre = np.eye(C) - 1 / C
        wanted = np.empty(shape)
        for i in np.ndindex(shape[:-1]):
            z = centre @ x[i]
            s = (z @ z / C + eps) ** 0.5
            jacobian = (weight[:, None] * (np.eye(C) / s - np.outer(z, z) / (C * s**3))) @ centre
            wanted[i] = dy[i] @ jacobian
        close("dx", run(back, x, weight, bias, dy, eps=eps)[0], wanted, 1e-11)


@check("ex04.b", "dweight = sum of dy n, dbias = sum of dy")
def derivatives_of_weight_and_bias(run, random):
    """A mean for a sum; dy x in place of dy n."""
    for shape in _SHAPES:
        x, weight, bias = _inputs(random, shape)
        dy = random.standard_normal(shape)
        n = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1)
        _, dweight, dbias = run(back, x, weight, bias, dy, eps=0.1)
        close("dweight", dweight, (dy * n).reshape(-1, shape[-1]).sum(0), 1e-11)
        close("dbias", dbias, dy.reshape(-1, shape[-1]).sum(0), 1e-11)


@check("ex04.b", "a shift of x changes nothing: sum of dx = 0")
def two_directions_are_lost(run, random):
    x, weight, bias = _inputs(random, (4, 9))
    dy = random.standard_normal((4, 9))
    dx = run(back, x, weight, bias, dy, eps=0.0)[0]
    holds(np.abs(dx.sum(-1)).max() < 1e-10 * np.abs(dx).max(), "dx has a part along a shift of x")
    along = (dx * (x - x.mean(-1, keepdims=True))).sum(-1)
    holds(np.abs(along).max() < 1e-9 * np.abs(dx).max(), "dx has a part along a stretch of x")
