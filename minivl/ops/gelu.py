"""GELU and its relatives: a number is let through by the share of a bell curve that lies below it. Kernels: gelu.cu."""

import numpy as np

from .. import kernels
from ..array import array_module, column_sums, elementwise, rowwise
from ..tensor import op, recording
from . import rows

# NumPy has no error function, but a quick tanh. In float32 Phi(x) = (1 + tanh(x U(x^2))) / 2, U a polynomial that makes
# the largest error of x Phi(x) smallest. tests/ops/test_gelu.py measures it against math.erfc: within the rounding.
_U = (0.797884268, 0.0363341492, -3.30267429e-05, -5.52733742e-05, 3.97406904e-06, -1.33783092e-07, 1.81392487e-09)

# In float64, where U would have to be long, Phi(-|x|) = t * Q(t) * exp(-x^2 / 2) with t = 1 / (1 + p |x|), the form of
# Abramowitz & Stegun 7.1.26. This Q was interpolated at Chebyshev points in 40 digits: within 1e-15.
_P = 0.21213203435596423
_Q = (
    0.08462894345933861,
    0.08461496088710559,
    0.08098529459261655,
    0.07197322470484499,
    0.06849032280113705,
    0.026985100797087786,
    0.09188492298620728,
    -0.08035423016647864,
    0.1256636470414935,
    -0.030095038656476704,
    -0.1505843214750529,
    0.3252107301639023,
    -0.37093456606851355,
    0.2555193029757245,
    -0.10629534984641857,
    0.024832787313855364,
    -0.0025257315103733,
)


@op
def gelu(x, bias=None, *, approximate="none"):
    """x Phi(x), Phi the normal distribution ('none'), or its approximation by tanh ('tanh').   Hendrycks & Gimpel 2016.

    exact   y = x Phi(x)                          dy/dx = Phi(x) + x phi(x)
    tanh    y = x/2 (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3)

    bias    (C,) or None, added to x (..., C) first: on a GPU that costs nothing here, and a whole pass elsewhere

    The derivative is worked out on the way, while the numbers are in the cache, and only multiplied in backward;
    without a graph (no_grad) it is left out.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is {approximate!r}, must be 'none' or 'tanh'")
    return _gate("gelu", _EXACT if approximate == "none" else _TANH, x, bias)


@op
def quick_gelu(x, bias=None):
    """x sigmoid(1.702 x): the GELU of OpenAI's CLIP.   dy/dx = s (1 + 1.702 x (1 - s)).   bias: as in gelu"""
    return _gate("quick_gelu", _QUICK, x, bias)


_EXACT, _TANH, _QUICK = range(3)  # as gelu.cu counts them


def _gate(name, kind, x, bias):
    if bias is not None and (x.ndim == 0 or bias.shape != x.shape[-1:]):
        raise ValueError(f"{name}: x {x.shape} needs a bias of its last axis, got {bias.shape}")
    if rows.wanted(*((x,) if bias is None else (x, bias))):
        return _by_kernel(kind, x) if bias is None else _with_bias_by_kernel(kind, x, bias)
    xp, fill = array_module(x), (_gelu_exact, _gelu_tanh, _quick_gelu)[kind]
    y, slope = xp.empty(x.shape, x.dtype), xp.empty(x.shape, x.dtype) if recording() else None
    made = (y,) if slope is None else (y, slope)
    if bias is None:
        elementwise(fill, x, *made)
        return y, lambda d: elementwise(np.multiply, d, slope)
    rowwise(lambda x, *made: fill(x + bias, *made), x, *made)

    def a_few(d, slope, dx):
        xp.multiply(d, slope, out=dx)
        return column_sums(dx)

    def derivative(d):
        dx = xp.empty(slope.shape, slope.dtype)
        return dx, rowwise(a_few, d, slope, dx, sums=1)

    return y, derivative


def _gelu_exact(x, y, slope=None):
    """Fills y and, if it is given, slope with dy/dx; so do the next two. They return nothing more."""
    xp = array_module(x)
    square = xp.multiply(x, x, out=slope)
    share = (_share if x.itemsize <= 4 else _share_by_tail)(x, square, y)
    if slope is not None:
        density = square
        density *= -0.5
        xp.exp(density, out=density)
        density *= x
        density *= 0.3989422804014327  # 1 / sqrt(2 pi)
        density += share
    share *= x
    return ()


def _share(x, square, out):
    """Phi(x), the share of a standard normal distribution below x, in float32.   square: x * x"""
    xp = array_module(x)
    with np.errstate(over="ignore"):  # tanh of what is endless is 1
        u = _polynomial(_U, square, out)
        u *= x
    share = xp.tanh(u, out=u)
    share += 1
    share *= 0.5
    return share


def _share_by_tail(x, square, out):
    """The same in float64."""
    xp = array_module(x)
    t = xp.abs(x)
    t *= _P
    t += 1
    xp.divide(1, t, out=t)
    tail = _polynomial(_Q, t, out)
    tail *= t
    tail *= xp.exp(square * -0.5)
    out[...] = xp.where(x < 0, tail, 1 - tail)
    return out


def _polynomial(coefficients, x, out):
    """The polynomial of x with these coefficients, the constant first: Horner's rule."""
    value = array_module(x).multiply(x, coefficients[-1], out=out)
    for coefficient in coefficients[-2:0:-1]:
        value += coefficient
        value *= x
    value += coefficients[0]
    return value


def _gelu_tanh(x, y, slope=None):
    xp, c, k = array_module(x), 0.7978845608028654, 0.044715
    square = xp.multiply(x, x, out=slope)
    u = xp.multiply(square, c * k, out=y)
    u += c
    u *= x
    t = xp.tanh(u, out=u)
    if slope is not None:  # (1 + t)/2 + x/2 (1 - t^2) du/dx,   du/dx = c + 3 c k x^2
        square *= 3 * c * k
        square += c
        square *= 1 - t * t
        square *= x
        square += t
        square += 1
        square *= 0.5
    t += 1
    t *= x
    t *= 0.5
    return ()


def _quick_gelu(x, y, slope=None):
    s = array_module(x).multiply(x, 0.851, out=y)  # sigmoid(z) = (1 + tanh(z/2)) / 2
    s = array_module(x).tanh(s, out=s)
    s += 1
    s *= 0.5
    if slope is not None:
        array_module(x).subtract(1, s, out=slope)
        slope *= x
        slope *= 1.702
        slope += 1
        slope *= s
    s *= x
    return ()


def _by_kernel(kind, x):
    k, xp, v = kernels.load("gelu", like=x), array_module(x), rows.aligned(x)
    grid, y = -(-x.size * x.itemsize // (256 * 4 * 16)), xp.empty_like(v)  # a thread takes 16 bytes four times
    k.gelu_forward(grid, 256, (v, y, x.size, kind))

    def derivative(dy):
        dx = xp.empty_like(v)
        k.gelu_backward(grid, 256, (rows.aligned(dy), v, dx, x.size, kind))
        return dx.reshape(x.shape)

    return y.reshape(x.shape), derivative


def _with_bias_by_kernel(kind, x, bias):
    k, xp, v, bias = kernels.load("gelu", like=x), array_module(x), rows.matrix(x), rows.aligned(bias)
    (many, C), y = v.shape, xp.empty_like(v)
    units = C // rows.width(v)
    threads, teams = rows.in_warps(min(32, units), 256)
    tiles = -(-units // threads)
    groups = max(1, min(-(-many // (4 * teams)), -(-rows.THREADS // (256 * tiles))))
    grid, block = (tiles, groups), (threads, teams)
    k.bias_gelu_forward(grid, block, (v, bias, y, many, C, kind))

    def derivative(dy):
        dx, partial = xp.empty_like(v), rows.sums_like(v, 1, groups, C)
        k.bias_gelu_backward(grid, block, (rows.matrix(dy), v, bias, dx, partial, many, C, kind))
        return dx.reshape(x.shape), rows.column_sums(k.column_sums, partial, v)[0]

    return y.reshape(x.shape), derivative
