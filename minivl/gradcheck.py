"""The derivative that an op claims, against the one that two evaluations show.

Along a random direction v, and with random weights u on the outputs, in float64:

    numerical   <u, (f(x + eps v) - f(x - eps v)) / 2 eps>
    analytic    <J^T u, v>                                     which is what backward computes

Two evaluations whatever the size of x, so whole models can be checked; and since v touches every number with a weight
of its own, one wrong entry shows. Only where the two disagree is the place looked for, by halving.
"""

import numpy as np

from .tensor import Tensor, no_grad


class GradientError(AssertionError):
    """An analytic derivative that is not the numerical one. `argument`, `index`, `got`, `expected` say where."""

    def __init__(self, message, argument, index, got, expected):
        super().__init__(message)
        self.argument, self.index, self.got, self.expected = argument, index, got, expected


def gradcheck(fn, *tensors, seeds=(0, 1, 2), eps=1e-6, tolerance=1e-7, names=None):
    """Checks the derivative of fn(*tensors) with respect to every one of `tensors`, in float64; returns True.

    fn          returns a Tensor of any shape. It may also reach the tensors by itself: for a model,
                `gradcheck(lambda *_: model(batch)["loss"], *model.parameters())`.
    tensors     Tensors or arrays of float64; single precision has too few digits for a difference of neighbours
    seeds       one random direction for each
    tolerance   allowed error, as a share of the derivative's size along that direction
    names       what to call the arguments in the message; "argument 0", ... if not given

    Raises GradientError naming argument, index, got, expected and ratio; TypeError for anything but float64; ValueError
    where fn gives another value the second time (a generator that moves on, such as dropout's), or none of `tensors`
    requires a gradient.
    """
    tensors = [t if isinstance(t, Tensor) else Tensor(np.asarray(t), requires_grad=True) for t in tensors]
    names = list(names) if names is not None else [f"argument {i}" for i in range(len(tensors))]
    for name, t in zip(names, tensors, strict=True):
        if t.dtype != np.float64:
            raise TypeError(f"gradcheck: {name} is {t.dtype}, must be float64")
    checked = [i for i, t in enumerate(tensors) if t.requires_grad]
    if not checked:
        raise ValueError(f"gradcheck: none of {len(tensors)} tensors has requires_grad=True: nothing would be checked")
    for seed in seeds:
        _check_direction(fn, tensors, checked, names, np.random.default_rng(seed), eps, tolerance)
    return True


def _check_direction(fn, tensors, checked, names, random, eps, tolerance):
    for i in checked:
        tensors[i].grad = None
    y = fn(*tensors)
    u = random.standard_normal(y.shape)
    if y.requires_grad:
        y.backward(u)
    # No component near 0: an entry that hardly moves would escape.
    directions = [random.standard_normal(tensors[i].shape) for i in checked]
    directions = [v + 0.1 * np.sign(v) for v in directions]
    gradients = [np.zeros(tensors[i].shape) if tensors[i].grad is None else tensors[i].grad for i in checked]
    for i in checked:
        tensors[i].grad = None

    def numerical(directions):
        return _difference(fn, [tensors[i] for i in checked], directions, tensors, u, eps)

    with no_grad():
        if not np.array_equal(fn(*tensors).data, y.data, equal_nan=True):
            raise ValueError("gradcheck: fn gave another value the second time; seed its generator inside fn")
    # Differences of numbers the size of <u, y> lose digits, whatever the derivative.
    rounding = 20 * np.finfo(float).eps * float(np.linalg.norm(u * y.data)) / eps

    def wrong(parts):
        # minivl:exercise ex02.b points=4 "is this derivative wrong?"
        # minivl:hint got = <gradients, parts>, expected = numerical(parts); return (too far off?, how far)
        # minivl:hint too far: more than tolerance times their size, plus `rounding`; NaN always, infinitely far
        # Where v is 0, a gradient of NaN is looked at another time.
        along = [np.where(v == 0, 0, g * v) for g, v in zip(gradients, parts, strict=True)]
        got = sum(float(a.sum()) for a in along)
        size = np.sqrt(sum(float(np.square(a).sum()) for a in along))
        expected = numerical(parts)
        allowed = tolerance * max(size, abs(expected)) + rounding
        off = abs(got - expected)
        return not off <= allowed, off if off == off else np.inf  # NaN is as far off as can be
        # minivl:end

    if wrong(directions)[0]:
        _locate(wrong, numerical, directions, gradients, [names[i] for i in checked])


def _difference(fn, moved, directions, tensors, u, eps):
    """<u, (f(x + eps v) - f(x - eps v)) / 2 eps>"""
    kept = [t.data for t in moved]
    # minivl:exercise ex02.a points=3 "a central difference"
    # minivl:hint move all of `moved` by eps along `directions`, then by -eps; each time sum fn(*tensors) times u
    # minivl:hint put the data back as it was (`kept`), also where fn raises an error: try, finally
    total = 0.0
    try:
        for sign in (1, -1):
            for t, x, v in zip(moved, kept, directions, strict=True):
                t.data = x + sign * eps * v
            with no_grad():
                total += sign * float((fn(*tensors).data * u).sum())
    finally:
        for t, x in zip(moved, kept, strict=True):
            t.data = x
    return total / (2 * eps)
    # minivl:end


def _locate(wrong, numerical, directions, gradients, names):
    """Finds one wrong entry by halving the direction, keeping the half that is further off; raises GradientError."""
    zero = [np.zeros_like(v) for v in directions]

    def only(i, flat):
        part = [z.copy() for z in zero]
        part[i].reshape(-1)[flat] = directions[i].reshape(-1)[flat]
        return part

    i = max(range(len(directions)), key=lambda i: wrong(only(i, slice(None)))[1])
    first, last = 0, directions[i].size
    while last - first > 1:
        middle = (first + last) // 2
        halves = (first, middle), (middle, last)
        first, last = max(halves, key=lambda half: wrong(only(i, slice(*half)))[1])
    part = only(i, slice(first, last))
    v = directions[i].reshape(-1)[first]
    index = tuple(int(n) for n in np.unravel_index(first, directions[i].shape))
    got, expected = float(gradients[i].reshape(-1)[first]), numerical(part) / v
    ratio = got / expected if expected else float("inf")
    raise GradientError(
        f"gradcheck: {names[i]} at index {index}: got {got:.10g}, expected {expected:.10g} (ratio {ratio:.6g})",
        names[i],
        index,
        got,
        expected,
    )
