"""The gradient check: how a derivative is proved right.

Two evaluations of a function tell its derivative along one direction; backward must tell the same. Whoever can write
this check needs to trust nobody's derivative, their own included.

    numerical    <u, (f(x + eps v) - f(x - eps v)) / 2 eps>      u and v random, u on the outputs, v on the inputs
    analytic     <gradient, v>                                   with the gradient of <u, f(x)>

You will need: what a directional derivative is, how rounding behaves. About 60 minutes. Read gradcheck.py first.
"""

import contextlib

import numpy as np

from ..sheet import check, close, equal, scenario

FILES = ("minivl/gradcheck.py",)


@scenario
def difference(x, v, u, eps):
    from minivl import Tensor

    t = Tensor(x)
    d = _module()._difference(lambda t: t * t * t + t.exp(), [t], [v], [t], u, float(eps))
    return np.array(d), t.data


@scenario
def put_back(x):
    from minivl import Tensor

    t = Tensor(x)

    def fails(t):
        raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        _module()._difference(fails, [t], [np.ones_like(x)], [t], np.ones_like(x), 1e-6)
    return t.data


@scenario
def verdicts(x):
    """Which of these derivatives the check refuses."""
    from minivl.gradcheck import GradientError
    from minivl.gradcheck import gradcheck as checked

    def off_at_one(d, x, share):
        g = 2 * x * d
        g.reshape(-1)[-1] *= share
        return g

    slopes = [
        lambda d, x: 2 * x * d,
        lambda d, x: 2 * (x * d) + 1e-13,
        lambda d, x: x * d,
        lambda d, x: -2 * x * d,
        lambda d, x: off_at_one(d, x, 1.001),
        lambda d, x: off_at_one(d, x, 0),
        lambda d, x: 2 * x * d * (1 + 1e-5),
        lambda d, x: x * np.nan,
        lambda d, x: off_at_one(d, x, np.nan),
        lambda d, x: 0 * d,
    ]
    refused = []
    for slope in slopes:
        try:
            checked(_square(slope), x)
            refused.append(False)
        except GradientError:
            refused.append(True)
    return np.array(refused)


def _square(slope):
    from minivl import op

    @op
    def square(x):
        return x * x, lambda d: slope(d, x)

    return square


def _module():
    """minivl.gradcheck is the function; this is the file."""
    import importlib

    return importlib.import_module("minivl.gradcheck")


@check("ex02.a", "<u, f(x + eps v) - f(x - eps v)> / 2 eps")
def central_difference(run, random):
    """A one-sided difference; a factor of 2; u or v left out."""
    x, v, u = random.standard_normal((3, 4, 3))
    for eps in (1e-3, 1e-5):
        f = lambda x: x**3 + np.exp(x)  # noqa: E731
        wanted = (u * (f(x + eps * v) - f(x - eps * v))).sum() / (2 * eps)
        d, after = run(difference, x, v, u, eps=eps)
        close("difference", d, wanted, 1e-9)
        close("x afterwards", after, x, 0)


@check("ex02.a", "x is put back")
def x_is_put_back(run, random):
    """A function that fails leaves x moved."""
    x = random.standard_normal(5)
    close("x after an error in f", run(put_back, x), x, 0)


@check("ex02.b", "right derivatives pass, wrong ones do not")
def right_ones_pass_and_wrong_ones_do_not(run, random):
    """A check that accepts everything, or nothing; one that NaN slips through; one without a tolerance."""
    x = random.standard_normal((3, 4)) + 2
    equal("refused", run(verdicts, x), [False, False] + 8 * [True])


@check("ex02.b", "a derivative of 0 may be right")
def constants_pass(run, random):
    """Only a share of the derivative's own size: then no rounding is allowed where it is 0."""
    equal("refused", run(verdicts, 1e-3 * (1 + random.random((2, 2))))[:1], [False])
