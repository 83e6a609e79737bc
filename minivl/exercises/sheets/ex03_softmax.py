"""Softmax and cross-entropy, there and back.

Scores become shares of 1, and shares become surprise. Both are two lines on paper; what makes them work is that
nothing overflows, and that their derivatives are worked out by hand: the Jacobian of softmax has C x C entries for
every row, and is never written down.

    softmax          p_i = exp x_i / sum_j exp x_j              dx = p (dp - sum_j dp_j p_j)
    cross-entropy    L = -sum_v q_v log p_v, averaged            dx = (p - q) / rows

You will need: the chain rule, NumPy's `keepdims`. About 90 minutes. Read ops/layernorm.py first, to see what an op is.
"""

import numpy as np

from ..sheet import check, close, holds, scenario

FILES = ("minivl/ops/softmax.py", "minivl/ops/cross_entropy.py")


@scenario
def softmax_there(x):
    from minivl import ops

    return ops.softmax(x).numpy()


@scenario
def softmax_back(x, dp):
    from minivl import Tensor, ops

    x = Tensor(x, requires_grad=True)
    ops.softmax(x).backward(dp)
    return x.grad


@scenario
def cross_entropy_there(logits, target, smoothing=0.0):
    from minivl import ops

    return ops.cross_entropy(logits, target, label_smoothing=smoothing).numpy()


@scenario
def cross_entropy_back(logits, target, smoothing=0.0):
    from minivl import Tensor, ops

    logits = Tensor(logits, requires_grad=True)
    ops.cross_entropy(logits, target, label_smoothing=smoothing).backward()
    return logits.grad


def _shares(x):
    """Softmax, row by row in plain Python, in more digits than a row of floats has."""
    import math

    out = np.empty_like(x)
    for index in np.ndindex(x.shape[:-1]):
        top = x[index].max()
        terms = [math.exp(value - top) if value > -math.inf else 0.0 for value in x[index]]
        out[index] = np.array(terms) / math.fsum(terms)
    return out


_SHAPES = ((1, 1), (3, 4), (2, 3, 5), (7, 33))


@check("ex03.a", "p_i = exp x_i / sum_j exp x_j")
def shares_add_up_to_one(run, random):
    """Another axis than the last; shares that are no shares."""
    for shape in _SHAPES:
        x = 3 * random.standard_normal(shape)
        close("p", run(softmax_there, x), _shares(x), 1e-12)


@check("ex03.a", "softmax(x) = softmax(x - c)")
def large_scores_do_not_overflow(run, random):
    """exp of a large number."""
    x = random.standard_normal((3, 5)) + np.array([[1e4], [-1e4], [0]])
    close("p", run(softmax_there, x), _shares(x), 1e-9)
    holds(np.isfinite(run(softmax_there, x * 50)).all(), "p is not finite for scores of half a million")


@check("ex03.a", "a row of -inf gives 0")
def rows_that_nobody_may_see_give_nothing(run, random):
    """0 / 0, which a mask would meet."""
    x = random.standard_normal((3, 4))
    x[0, 1:], x[1] = -np.inf, -np.inf
    wanted = np.concatenate([[[1.0, 0, 0, 0]], np.zeros((1, 4)), _shares(x[2:])])
    close("p", run(softmax_there, x), wanted, 1e-12)


@check("ex03.b", "dx = p (dp - sum_j dp_j p_j)")
def derivative_is_the_jacobian(run, random):
    """The diagonal alone; a wrong axis; a numerical derivative, which has seven digits fewer."""
    for shape in _SHAPES:
        x, dp = random.standard_normal(shape), random.standard_normal(shape)
        p = _shares(x)
        jacobian = p[..., None] * (np.eye(shape[-1]) - p[..., None, :])
        close("dx", run(softmax_back, x, dp), np.einsum("...i,...ij->...j", dp, jacobian), 1e-12)


@check("ex03.b", "shares add up to 1, so sum_i dx_i = 0")
def gradients_of_a_row_cancel(run, random):
    x, dp = 4 * random.standard_normal((5, 9)), random.standard_normal((5, 9))
    close("1 + sum of dx", 1 + run(softmax_back, x, dp).sum(-1), np.ones(5), 1e-12)


def _surprise(x, target, smoothing):
    """-sum_v q_v log p_v of the rows that count, averaged; and q."""
    p, V = _shares(x), x.shape[-1]
    q = np.full(x.shape, smoothing / V)
    rows = [i for i in np.ndindex(x.shape[:-1]) if target[i] >= 0]
    for i in rows:
        q[i][target[i]] += 1 - smoothing
    return sum(-(q[i] * np.log(p[i])).sum() for i in rows) / max(1, len(rows)), p, q, rows


@check("ex03.c", "L = -sum_v q_v log p_v")
def surprise_of_the_truth(run, random):
    """A sum for a mean; label smoothing left out; rows that do not count."""
    for shape, smoothing in (((6, 5), 0.0), ((2, 4, 7), 0.1), ((9, 3), 0.3)):
        x, target = random.standard_normal(shape), random.integers(0, shape[-1], shape[:-1])
        target.reshape(-1)[::3] = -100
        close("L", run(cross_entropy_there, x, target, smoothing=smoothing), _surprise(x, target, smoothing)[0], 1e-12)


@check("ex03.c", "log p = x - max - log sum exp(x - max)")
def surprise_of_what_is_impossible_is_finite(run, random):
    """A logarithm of a share that rounded to 0."""
    x = np.array([[0.0, 800.0], [900.0, -900.0]])
    close("L", run(cross_entropy_there, x, np.array([0, 1])), (800 + 1800) / 2, 1e-12)


@check("ex03.c", "dx = (p - q) / rows")
def derivative_of_surprise(run, random):
    """p alone; divided by all rows rather than by those that count; a numerical derivative."""
    for shape, smoothing in (((6, 5), 0.0), ((2, 4, 7), 0.1), ((9, 3), 0.3)):
        x, target = random.standard_normal(shape), random.integers(0, shape[-1], shape[:-1])
        target.reshape(-1)[::3] = -100
        _, p, q, rows = _surprise(x, target, smoothing)
        wanted = np.zeros_like(x)
        for i in rows:
            wanted[i] = (p[i] - q[i]) / len(rows)
        close("dx", run(cross_entropy_back, x, target, smoothing=smoothing), wanted, 1e-12)
