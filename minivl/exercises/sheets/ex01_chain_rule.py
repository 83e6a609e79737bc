"""The chain rule, by machine.

A tensor knows what it was computed from, and an op knows its own derivative. What is left is to pass gradients back
through the graph, each along every path, and each tensor only once: that is all of autograd.

    c = a / b                 dc/da = 1 / b,  dc/db = -a / b^2
    y = f(g(x), h(x))         dy/dx = dy/dg dg/dx + dy/dh dh/dx           paths add up
    (3, 1) used as (3, 4)     its gradient is the sum over the axis that was stretched

You will need: derivatives of one variable, NumPy's broadcasting, Python's heapq. About 90 minutes. Read the docstring
of tensor.py first; tutorial 01 tells what part c is about, tutorial 03 part b.
"""

import numpy as np

from ..sheet import check, close, equal, holds, scenario

FILES = ("minivl/ops/math.py", "minivl/tensor.py")


def backward(y, grad=None):
    """y.backward(grad), with the two commonest mistakes called by their names instead of by what they end in."""
    try:
        y.backward(grad)
    except (RuntimeError, ValueError) as error:
        if "used up" in str(error):
            raise RuntimeError(
                "backward came to one tensor twice: it was taken before all of its gradient had come, or put into "
                "`youngest` twice"
            ) from None
        if "read-only" in str(error):
            raise ValueError(
                "backward changed a gradient in place (`+=`), but others may share that array: `a + b` makes a new one"
            ) from None
        raise


@scenario
def quotient(a, b, d):
    from minivl import Tensor

    a, b = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    c = a / b
    backward(c, d)
    return c.numpy(), a.grad, b.grad


@scenario
def unbroadcasted(grad, shape):
    from minivl.tensor import unbroadcast

    return unbroadcast(grad, tuple(int(n) for n in shape))


@scenario
def diamond(x):
    """Paths that part and meet again: y = sum(x x + exp(x) (x + exp(x)))"""
    from minivl import Tensor

    x = Tensor(x, requires_grad=True)
    e = x.exp()
    backward((x * x + e * (x + e)).sum())
    return x.grad


@scenario
def ladder(x, steps):
    """y = (y + y) / 2 + x, as deep as asked: every rung uses x, and the one before twice."""
    from minivl import Tensor

    x = Tensor(x, requires_grad=True)
    y = x
    for _ in range(int(steps)):
        y = (y + y) * 0.5 + x
    backward(y.sum())
    return x.grad


@scenario
def visits(width, depth):
    """How often each op's derivative ran, in a graph with width^depth paths."""
    from minivl import Tensor, op

    ran = []

    @op
    def counted(x):
        i = len(ran)
        ran.append(0)

        def derivative(d):
            ran[i] += 1
            return d

        return x * 1.0, derivative

    x = Tensor(np.ones(2), requires_grad=True)
    y = x
    for _ in range(int(depth)):
        y = counted(sum((y for _ in range(int(width) - 1)), y))
    backward(y.sum())
    return np.array(ran), x.grad


@scenario
def tangle(x, weights, first, second):
    """Every tensor is a sum of two earlier ones, the result the sum of all. dx, and how often each derivative ran."""
    from minivl import Tensor, op

    ran = []

    @op
    def weighed(a, b, *, u, v):
        i = len(ran)
        ran.append(0)

        def derivative(d):
            ran[i] += 1
            return u * d, v * d

        return u * a + v * b, derivative

    x = Tensor(x, requires_grad=True)
    line = [x]
    for (u, v), i, j in zip(weights, first, second, strict=True):
        line.append(weighed(line[i], line[j], u=u, v=v))
    total = line[0]
    for y in line[1:]:
        total = total + y
    backward(total.sum())
    return x.grad, np.array(ran)


@scenario
def added_up(x):
    """Two losses, one after the other: a leaf keeps the sum. What lies between keeps nothing."""
    from minivl import Tensor

    x = Tensor(x, requires_grad=True)
    between = x * 2
    backward((between * 3).sum())
    backward((x * 5).sum())
    return x.grad, np.array(getattr(between, "grad", None) is None)


@check("ex01.a", "d(a/b)/da = 1/b, d(a/b)/db = -a/b^2")
def quotient_and_derivatives(run, random):
    """A wrong sign; b for b^2."""
    for shape in ((), (4,), (3, 5)):
        a, b, d = random.standard_normal((3, *shape))
        b = np.sign(b) * (1 + np.abs(b))
        c, da, db = run(quotient, a, b, d)
        close("a / b", c, a / b, 1e-12)
        close("da", da, d / b, 1e-12)
        close("db", db, -d * a / b**2, 1e-12)


@check("ex01.b", "the sum over every axis that was stretched")
def stretched_axes_are_summed(run, random):
    """Axes in front only; axes of 1 only; kept where they should go, or gone where they should stay."""
    for full, shape in (((3, 4), (4,)), ((3, 4), (3, 1)), ((2, 3, 4), (1, 4)), ((2, 3, 4), ()), ((5, 1, 2), (1, 2)),
                        ((2, 3), (1, 1)), ((1, 3), (1, 3)), ((0, 3), (3,))):  # fmt: skip
        grad = random.standard_normal(full)
        wanted = np.zeros(shape)
        for index in np.ndindex(*full):
            own = index[len(full) - len(shape) :]
            wanted[tuple(0 if n == 1 else i for i, n in zip(own, shape, strict=True))] += grad[index]
        close(f"gradient of {shape} used as {full}", run(unbroadcasted, grad, np.array(shape, int)), wanted, 1e-12)


@check("ex01.c", "paths add up")
def paths_add_up(run, random):
    """The last path alone; a gradient that is passed on before all of it has come."""
    x = random.standard_normal((3, 2))
    e = np.exp(x)
    close("dx", run(diamond, x), 2 * x + e * (x + e) + e * (1 + e), 1e-12)


@check("ex01.c", "the youngest first, always")
def gradients_wait_for_each_other(run, random):
    """Any other order: a tensor that passes its gradient on before all of it has come."""
    for n in (12, 40):
        first = np.array([random.integers(0, i + 1) for i in range(n)])
        second = np.array([random.integers(0, i + 1) for i in range(n)])
        x, weights = random.standard_normal(3), random.standard_normal((n, 2))
        slope = [1.0]
        for i in range(n):
            slope.append(weights[i, 0] * slope[first[i]] + weights[i, 1] * slope[second[i]])
        dx, ran = run(tangle, x, weights, first, second)
        close("dx", dx, np.full(3, sum(slope)), 1e-9)
        holds(ran.max() <= 1, "a derivative ran more than once")


@check("ex01.c", "every derivative runs once")
def every_derivative_runs_once(run, random):
    """A walk along every path: right, and exponentially slow."""
    ran, dx = run(visits, 3, 12)
    equal("how often each derivative ran", ran, np.ones(12, int))
    close("dx", dx, np.full(2, 3.0**12), 1e-12)


@check("ex01.c", "deep graphs are walked without recursion")
def deep_graphs_are_walked(run, random):
    x = random.standard_normal(3)
    close("dx", run(ladder, x, steps=3000), np.full(3, 3001.0), 1e-12)


@check("ex01.c", "leaves add up, and nothing else keeps a gradient")
def leaves_add_up(run, random):
    dx, nothing = run(added_up, random.standard_normal(4))
    close("dx", dx, np.full(4, 11.0), 1e-12)
    holds(bool(nothing), "a tensor in between has kept its gradient")
