"""Tensors that remember how they were made, and the walk back through them. The file to read first.

An op is a function on arrays that returns its output and its derivative:

    @op
    def mul(a, b):
        return a * b, lambda d: (d * b, d * a)

`@op` lets it take Tensors, keeps the derivative until `backward`, and sums a gradient over the axes that broadcasting
stretched. That is all the machinery there is; the mathematics stands in `minivl/ops/`, where Tensor also gets its
operators (`a + b` is `ops.add(a, b)`).

Why there is no topological sort: a tensor is numbered when it is made, so it is always younger than its inputs.
Visiting numbers downwards therefore meets every use of a tensor before the tensor itself. Without that order,
b = a + a; c = b + b would pass on half of db, and da would be 2 instead of 4.
"""

import functools
import heapq
import inspect
import itertools
import threading
from contextlib import contextmanager

import numpy as np

from .array import array_module, device_of, later, on_gpu

_numbers = itertools.count()
_NUMPY_1 = np.__version__.startswith("1.")  # makes float64 of a float32 without axes and a Python number


class _Mode(threading.local):
    recording = True  # False under no_grad
    watchers = ()  # what trace() and detect_anomaly() have put here: objects with `ran` and `derived`


_mode = _Mode()


class Tensor:
    """An array, and where it came from.

    data            the array (NumPy or CuPy). Its dtype decides the dtype of everything computed from it.
                    Python numbers and lists of them become float32, integers stay integers, arrays keep their dtype.
    requires_grad   whether backward should find d(loss)/d(data)
    grad            that derivative, an array shaped like `data`, on tensors that were not computed from others
                    (leaves); None before the first backward. A second backward adds to it.
    """

    __slots__ = ("data", "grad", "requires_grad", "number", "op", "node", "__weakref__")
    __array_ufunc__ = None  # array + tensor is left to Tensor.__radd__

    def __init__(self, data, requires_grad=False):
        if isinstance(data, Tensor):
            raise TypeError(
                "Tensor: got a Tensor; use tensor.detach() for one that shares its data but not its history"
            )
        if not hasattr(data, "dtype"):
            data = np.asarray(data)
            data = data.astype(np.float32) if data.dtype == np.float64 else data
        if data.dtype.kind not in "biufV":
            raise TypeError(f"Tensor: data must be numbers, got dtype {data.dtype}")
        if requires_grad and data.dtype.kind in "biu":
            raise TypeError(f"Tensor: only floating point numbers have a gradient, got dtype {data.dtype}")
        self.data = data if hasattr(data, "ndim") and not isinstance(data, np.generic) else np.asarray(data)
        self.grad = None
        self.requires_grad = requires_grad
        self.number = next(_numbers)
        self.op = None
        self.node = None

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    device = property(lambda self: device_of(self.data))

    def __len__(self):
        return len(self.data)

    def __repr__(self):
        made = f", made by {self.op}" if self.op else ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({np.array2string(self.numpy(), precision=4, threshold=20)}, {self.dtype}{made})"

    def numpy(self):
        """The data as a NumPy array: the same memory on the CPU, a copy from the GPU."""
        return self.data if self.device == "cpu" else self.data.get()

    def item(self):
        """The one number in this tensor, as a Python number."""
        return self.data.item()

    def detach(self):
        """A tensor of the same data without a history: no gradient flows through it."""
        return Tensor(self.data)

    def __setitem__(self, index, value):
        raise TypeError(
            "a Tensor is not changed in place: the derivatives of what was computed from it would be wrong. "
            "Use ops.where, or change tensor.data of a leaf before it is used"
        )

    def __array__(self, *arguments, **options):
        raise TypeError("NumPy functions do not see a Tensor's history: use minivl.ops, or tensor.numpy() for the data")

    def __bool__(self):
        if self.size != 1:
            raise ValueError(f"the truth of a Tensor of shape {self.shape} is ambiguous; compare tensor.data")
        return bool(self.data)

    def backward(self, grad=None):
        """Adds d(self)/d(leaf) to `leaf.grad` for every leaf that self was computed from. The graph is used up.

        grad    what self's own derivative is multiplied by, shaped like self; 1 where self is a single number

        Gradients of tensors in between live in `grads` only until they are passed on. A weight's derivative, which
        nothing in between waits for, goes to `late`: another core works it out meanwhile.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: nothing that this tensor was computed from has requires_grad=True")
        if grad is None and self.size != 1:
            raise ValueError(f"backward: a tensor of shape {self.shape} is not one number; sum it, or pass grad")
        grad = array_module(self.data).ones_like(self.data) if grad is None else _shaped_like(self, grad)
        grads, known = {self.number: grad}, {self.number: self.node or self}
        youngest, late = [-self.number], []
        # minivl:exercise ex01.c points=5 "backward through the whole graph"
        # minivl:hint `_passed_on(tensor, d, late)` gives pairs (source, gradient): what to add to whose gradient
        # minivl:hint a tensor passes its gradient on only when all of it has arrived: the youngest first
        # minivl:hint `youngest` is a heap of negative numbers; `grads`, `known`: gradient, tensor by number
        # minivl:hint a number stands in the heap once, and a sum is a new array: `a + b`, for others may share a
        while youngest:
            number = -heapq.heappop(youngest)
            tensor, d = known.pop(number), grads.pop(number)
            for source, part in _passed_on(tensor, d, late):
                if source.number in grads:
                    grads[source.number] = grads[source.number] + part
                else:
                    grads[source.number], known[source.number] = part, source
                    heapq.heappush(youngest, -source.number)
        # minivl:end
        for leaf, part in late:
            part = part()
            leaf.grad = part if leaf.grad is None else leaf.grad + part


class Node:
    """A place in the graph: what a tensor was made from, and how its gradient is passed on.

    inputs      the places of what it was made from: nodes, leaves themselves, None for what needs no gradient
    derivative  as `op` has it
    op, where   who made it; where its call stands, under detect_anomaly

    It knows the tensor's shape, but not its data: numbers that no derivative has kept are freed as soon as their Tensor
    goes. In a transformer that is a third of all.
    """

    __slots__ = ("number", "shape", "dtype", "inputs", "derivative", "op", "where")

    def __init__(self, tensor, inputs, derivative, op):
        self.number, self.shape, self.dtype = tensor.number, tensor.shape, tensor.dtype
        self.inputs, self.derivative, self.op, self.where = inputs, derivative, op, None


def _passed_on(tensor, d, late):
    """Pairs (source, gradient) that the place `tensor`, whose gradient is d, passes on. A leaf keeps its own instead.

    What a leaf is to get and has still to be worked out is put into `late`, as a pair (leaf, function).
    """
    if isinstance(tensor, Tensor):
        tensor.grad = d if tensor.grad is None else tensor.grad + d
        return
    if tensor.derivative is _used:
        raise RuntimeError(
            f"backward: the graph behind this result of {tensor.op} was used up by an earlier backward. "
            "Add the losses and call backward once, or compute it again"
        )
    inputs, derivative = tensor.inputs, tensor.derivative
    tensor.inputs, tensor.derivative = (), _used  # frees what the derivative kept
    parts = derivative(d)
    parts = parts if isinstance(parts, tuple) else (parts,)
    for place, (source, part) in enumerate(itertools.zip_longest(inputs, parts)):
        if source is not None:
            if part is None:
                raise TypeError(
                    f"backward: {tensor.op} has no derivative by argument {place}, a Tensor {source.shape} that "
                    "requires one; pass its data"
                )
            if callable(part) and isinstance(source, Tensor) and not _mode.watchers:
                late.append((source, later(functools.partial(_worked_out, part, source), source.device)))
                continue
            part = _worked_out(part, source)
            for watcher in _mode.watchers:
                watcher.derived(tensor, source, part)
            yield source, part


def _worked_out(part, source):
    """A gradient, or the function that gives it, as an array of the shape and dtype of `source`."""
    part = unbroadcast(part() if callable(part) else part, source.shape)
    return part if part.dtype == source.dtype else part.astype(source.dtype)


def _used(d):
    """Stands where a derivative stood before backward used it."""


def _shaped_like(tensor, grad):
    grad = grad.data if isinstance(grad, Tensor) else grad
    grad = array_module(tensor.data).asarray(grad, dtype=tensor.dtype)
    if grad.shape != tensor.shape:
        raise ValueError(f"backward: grad has shape {grad.shape}, must be shaped like the tensor, {tensor.shape}")
    return grad


def op(function):
    """Makes a function of Tensors of `function(*arrays, **options) -> (output, derivative)`.

    derivative(d)   gets d(loss)/d(output) and returns d(loss)/d(input) for each array in `function`'s order: arrays,
                    None where there is none, or functions without arguments that compute one if it is asked for.

    An argument may also be a plain array, list or number; it is taken as a constant, on the device of the tensors and,
    if it is floating point, in their dtype. What stands after `*` in the signature is an option and passed on
    untouched. An output of integers or booleans has no history. Example: minivl/ops/layernorm.py.
    """
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    op_name = function.__name__.lstrip("_")
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    by_name = frozenset(names)

    @functools.wraps(function)
    def call(*arguments, **options):
        if options and not by_name.isdisjoint(options):
            arguments = _in_order(arguments, options, names, defaults)
        arrays, learned, constants = [], False, False
        for a in arguments:
            if isinstance(a, Tensor):
                learned = learned or a.requires_grad
                arrays.append(a.data)
            else:
                constants = constants or a is not None
                arrays.append(a)
        if constants or _NUMPY_1:
            like = _floating(arguments)
            arrays = [a.data if isinstance(a, Tensor) else _constant(a, like) for a in arguments]
        watchers = _mode.watchers
        for watcher in watchers:
            watcher.starts(op_name)
        data, derivative = function(*arrays, **options)
        if _NUMPY_1 and like is not None and data.ndim == 0 and data.dtype.kind == "f" and "dtype" not in options:
            data = data.astype(like.dtype)
        out = _result(data, op_name)
        if learned and _mode.recording and data.dtype.kind in "fV":
            out.requires_grad, out.node = True, Node(out, [_place(a) for a in arguments], derivative, op_name)
        for watcher in watchers:
            watcher.ran(arguments, options, out)
        return out

    call.is_op = True
    return call


def _result(data, op_name):
    """A Tensor of what an op made, without the questions that `Tensor(data)` asks of a user's data."""
    out = Tensor.__new__(Tensor)
    out.data = data if hasattr(data, "ndim") and not isinstance(data, np.generic) else np.asarray(data)
    out.grad, out.requires_grad, out.number, out.op, out.node = None, False, next(_numbers), op_name, None
    return out


def _place(a):
    """Where in the graph the gradient of an argument goes: its node, or a leaf itself; None if it needs no gradient."""
    return (a.node or a) if isinstance(a, Tensor) and a.requires_grad else None


def _floating(arguments):
    """The data of the first Tensor of floating point numbers, None if there is none."""
    return next((a.data for a in arguments if isinstance(a, Tensor) and a.data.dtype.kind in "fV"), None)


def _in_order(arguments, options, names, defaults):
    """Arrays that were passed by name, put in their place among the arguments."""
    named = [n for n in names[len(arguments) :] if n in options]
    if not named:
        return arguments
    last = names.index(named[-1])
    arguments = list(arguments)
    for name in names[len(arguments) : last + 1]:
        if name not in options and name not in defaults:
            raise TypeError(f"missing argument {name!r}")
        arguments.append(options.pop(name, defaults.get(name)))
    return arguments


def _constant(a, like):
    """A number or array that is no Tensor, on the device of the tensors it meets and, if floating, in their dtype."""
    a = np.asarray(a) if isinstance(a, (list, tuple)) else a
    if like is None or not hasattr(a, "dtype"):
        return a
    if a.dtype.kind == "f" and a.dtype != like.dtype:
        a = a.astype(like.dtype)
    return array_module(like).asarray(a) if isinstance(a, np.ndarray) and on_gpu(like) else a


def unbroadcast(grad, shape):
    """`grad` summed over the axes along which an array of `shape` had been repeated."""
    if grad.shape == shape:
        return grad
    # minivl:exercise ex01.b points=3 "the derivative of broadcasting"
    # minivl:hint a number that was used many times gets the sum of the gradients of all its uses
    # minivl:hint first the axes in front that shape lacks, then, keeping them, those where it has a 1
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True) if stretched else grad
    # minivl:end


@contextmanager
def no_grad():
    """Nothing inside is recorded, in this thread: for evaluation and generation."""
    with _recording(False):
        yield


def recording():
    """Whether ops are recorded in this thread. If not, an op may leave undone what only its derivative would need."""
    return _mode.recording


@contextmanager
def _recording(on):
    before, _mode.recording = _mode.recording, on
    try:
        yield
    finally:
        _mode.recording = before


@contextmanager
def watched_by(watcher):
    """Tells `watcher` of each op and gradient inside, in this thread: `starts`, `ran`, `derived`. See trace.py."""
    before, _mode.watchers = _mode.watchers, (*_mode.watchers, watcher)
    try:
        yield watcher
    finally:
        _mode.watchers = before


def checkpoint(function, *inputs, random=None):
    """function(*inputs), keeping nothing for backward but the inputs: what lies between is computed again there.

    function    takes Tensors, returns one Tensor; it may also use parameters that are not among `inputs`
    random      a numpy.random.Generator that `function` draws from (dropout), so that the second time draws the same

    Memory for time: Chen et al. 2016, arXiv 1604.06174. The gradients are bit-equal to those without checkpoint: the
    second graph is joined on at the place of the first, so that every gradient is summed in the same order.
    """
    if not _mode.recording:
        return function(*inputs)
    drawn_from = None if random is None else random.bit_generator.state
    with no_grad():
        out = function(*inputs)
    if not isinstance(out, Tensor):
        raise TypeError(f"checkpoint: function must return one Tensor, got {type(out).__name__}")
    out = out.detach()
    source = []  # nothing, until the derivative has built the graph a second time; then its end

    def derivative(d):
        if random is not None:
            drawn_to, random.bit_generator.state = random.bit_generator.state, drawn_from
        with _recording(True):
            second = function(*inputs)
        if random is not None:
            random.bit_generator.state = drawn_to
        if not array_module(out.data).array_equal(second.data, out.data, equal_nan=True):
            raise RuntimeError(
                "checkpoint: computed again, the output differs; pass the generator it draws from as random"
            )
        source.append(_place(second))
        return d

    out.requires_grad, out.op, out.node = True, "checkpoint", Node(out, source, derivative, "checkpoint")
    return out
