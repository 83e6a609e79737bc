"""Elementwise arithmetic: what happens to every number by itself. Shapes are broadcast as NumPy does."""

import numpy as np

from ..array import array_module, elementwise
from ..tensor import op


def _split(formula, a, b):
    """formula(a, b), over the cores where two large arrays of one shape meet."""
    return elementwise(formula, a, b) if getattr(a, "shape", None) == getattr(b, "shape", 0) else formula(a, b)


@op
def add(a, b):
    return _split(np.add, a, b), lambda d: (d, d)


@op
def sub(a, b):
    return a - b, lambda d: (d, lambda: -d)


@op
def mul(a, b):
    return _split(np.multiply, a, b), lambda d: (lambda: d * b, lambda: d * a)


@op
def div(a, b):
    # minivl:exercise ex01.a points=2 "a quotient and its derivatives"
    # minivl:hint return a / b and a function of d, its gradient: that returns (da, db)
    # minivl:hint d(a/b)/da = 1/b, d(a/b)/db = -a/b^2
    return a / b, lambda d: (lambda: d / b, lambda: -d * a / (b * b))
    # minivl:end


@op
def neg(a):
    return -a, lambda d: -d


@op
def pow(a, *, exponent):
    """a ** exponent, for a fixed number as exponent."""
    # a ** 0 is 1 everywhere, also where a ** -1 is infinite.
    return a**exponent, lambda d: d * exponent * a ** (exponent - 1 if exponent else 0)


@op
def exp(a):
    y = array_module(a).exp(a)
    return y, lambda d: d * y


@op
def log(a):
    return array_module(a).log(a), lambda d: d / a


@op
def sqrt(a):
    y = array_module(a).sqrt(a)
    return y, lambda d: d / (2 * y)


@op
def abs(a):
    xp = array_module(a)
    return xp.abs(a), lambda d: d * xp.sign(a)


@op
def tanh(a):
    y = array_module(a).tanh(a)
    return y, lambda d: d * (1 - y * y)


@op
def sigmoid(a):
    """1 / (1 + exp(-a)), written with tanh so that no exponential overflows."""
    y = 0.5 * array_module(a).tanh(0.5 * a) + 0.5
    return y, lambda d: d * y * (1 - y)


@op
def softplus(a):
    """log(1 + exp(a)), for any size of a."""
    xp = array_module(a)
    return xp.logaddexp(a, xp.zeros((), a.dtype)), lambda d: d * (0.5 * xp.tanh(0.5 * a) + 0.5)


@op
def relu(a):
    return array_module(a).maximum(a, 0), lambda d: d * (a > 0)


@op
def maximum(a, b):
    """The larger of the two; where they are equal, the gradient goes to the first."""
    xp = array_module(a)
    return xp.maximum(a, b), lambda d: (lambda: d * (a >= b), lambda: d * (a < b))


@op
def minimum(a, b):
    """The smaller of the two; where they are equal, the gradient goes to the first."""
    xp = array_module(a)
    return xp.minimum(a, b), lambda d: (lambda: d * (a <= b), lambda: d * (a > b))


@op
def clamp(a, *, min=None, max=None):
    """a, kept between min and max; no gradient where it was cut."""
    y = array_module(a).clip(a, min, max)
    return y, lambda d: d * (y == a)


@op
def where(condition, a, b):
    """a where the boolean array `condition` is True, else b."""
    xp = array_module(condition)
    if condition.dtype != bool:
        raise TypeError(f"where: condition is {condition.dtype}, must be boolean")
    return xp.where(condition, a, b), lambda d: (None, lambda: d * condition, lambda: d * ~condition)
