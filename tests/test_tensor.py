"""The engine: recording, the walk back, constants, threads, and checkpointing."""

import gc
import sys
import threading
import tracemalloc
import types
import weakref

import numpy as np
import pytest

from minivl import Tensor, checkpoint, detect_anomaly, no_grad, op, ops
from minivl.tensor import unbroadcast


def leaf(*numbers):
    return Tensor(np.array(numbers if len(numbers) > 1 else numbers[0], np.float64), requires_grad=True)


# ---- what a Tensor is made of ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1, np.int64), (1.5, np.float32), ([1, 2], np.int64), ([1.0, 2.0], np.float32), (True, np.bool_),
        (np.float64(1), np.float64), (np.ones(2), np.float64), (np.ones(2, np.float32), np.float32),
        (np.ones(2, np.int32), np.int32), (np.ones(2, np.float16), np.float16),
    ],
)  # fmt: skip
def test_dtype(data, dtype):
    t = Tensor(data)
    assert t.dtype == dtype and isinstance(t.data, np.ndarray) and t.shape == np.shape(data)


def test_what_is_no_tensor():
    with pytest.raises(TypeError, match=r"got a Tensor; use tensor.detach\(\)"):
        Tensor(Tensor(1.0))
    with pytest.raises(TypeError, match="data must be numbers, got dtype <U3"):
        Tensor("abc")
    with pytest.raises(TypeError, match="only floating point numbers have a gradient, got dtype int64"):
        Tensor([1, 2], requires_grad=True)


def test_properties():
    t = Tensor(np.zeros((2, 3)), requires_grad=True)
    assert (t.ndim, t.size, len(t), t.device, t.grad) == (2, 6, 2, "cpu", None)
    assert t.numpy() is t.data and t.detach().data is t.data and not t.detach().requires_grad
    assert repr(Tensor(1.5)) == "Tensor(1.5, float32)"
    assert repr(t[0, 0]) == "Tensor(0., float64, made by getitem)"
    assert "requires_grad=True" in repr(t)
    assert Tensor(2.5).item() == 2.5 and bool(Tensor(0)) is False
    with pytest.raises(ValueError, match=r"truth of a Tensor of shape \(2, 3\)"):
        bool(t)


def test_rows_can_be_walked_through():
    t = leaf(1, 2, 3)
    assert [row.item() for row in t] == [1, 2, 3]


def test_it_is_not_changed_in_place():
    t = leaf(1, 2)
    with pytest.raises(TypeError, match="not changed in place"):
        t[0] = 1
    t += 1  # a new tensor under the old name
    assert t.op == "add"


def test_numpy_does_not_take_it_apart():
    t = leaf(1, 2)
    for take in (np.asarray, np.array, np.exp, np.sum):
        with pytest.raises(TypeError):
            take(t)
    with pytest.raises(TypeError, match=r"use minivl.ops, or tensor.numpy\(\)"):
        np.asarray(t)


def test_arrays_meet_tensors_on_either_side():
    t, a = leaf(1, 2), np.array([10.0, 20.0])
    for y, expected in [(t + a, [11, 22]), (a + t, [11, 22]), (a - t, [9, 18]), (a * t, [10, 40]), (a / t, [10, 10])]:
        assert isinstance(y, Tensor) and y.data.tolist() == expected
    assert (np.float64(3) * t).data.tolist() == [3, 6]


@pytest.mark.parametrize("constant", [2, 2.5, np.float64(2.5), np.ones(3), np.ones((2, 1)), [1.0, 2.0, 3.0], [1, 2, 3]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_constants_take_the_tensors_dtype(constant, dtype):
    t = Tensor(np.ones((2, 3), dtype), requires_grad=True)
    if isinstance(constant, list) and isinstance(constant[0], int):
        constant = [float(n) for n in constant]
    for f in (ops.add, ops.sub, ops.mul, ops.div, ops.maximum, ops.minimum):
        assert f(t, constant).dtype == f(constant, t).dtype == dtype
    y = t * constant
    y.sum().backward()
    assert t.grad.dtype == dtype
    assert ops.where(np.ones(3, bool), t, 0.0).dtype == dtype


def test_constants_follow_the_tensors_to_their_device(monkeypatch):
    """With a stand-in for CuPy: arrays of another type, which no op may mix with NumPy's."""
    cupy = types.ModuleType("cupy")
    cupy.ndarray = type("ndarray", (np.ndarray,), {"__module__": "cupy"})
    cupy.asarray = lambda a: np.asarray(a).view(cupy.ndarray)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    seen = []

    @op
    def look(*arrays):
        seen.extend(type(a) for a in arrays)
        return arrays[0], lambda d: d

    x = Tensor(cupy.asarray(np.ones(2)))
    look(x, np.ones(2, bool), [1, 2], np.arange(2), cupy.asarray(np.ones(2)))
    assert seen == [cupy.ndarray] * 5 and x.device == "cuda"


# ---- backward --------------------------------------------------------------------------------------------------------


def test_every_use_counts():
    a = leaf(1)
    b = a + a
    (b + b).backward()
    assert a.grad == 4


def test_a_tensor_used_in_several_places():
    x = leaf(3)
    y = x * x + x * 2 + x
    y.backward()
    assert x.grad == 2 * 3 + 2 + 1


def test_gradients_add_up_over_two_backwards():
    x = leaf(1, 2)
    (x * 3).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert x.grad.tolist() == [5, 7] and first.tolist() == [3, 3]


@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_a_weight_used_twice_gets_both_on_any_number_of_threads(random, monkeypatch, threads):
    """Derivatives of weights are worked out on another core, while the walk goes on."""
    monkeypatch.setenv("MINIVL_THREADS", threads)
    x, w, d = (random.standard_normal(shape) for shape in ((300, 4), (4, 4), (300, 4)))
    weight = Tensor(w, requires_grad=True)
    for times in (1, 2):
        ops.linear(ops.linear(Tensor(x), weight), weight).backward(d)
        np.testing.assert_allclose(weight.grad, times * ((x @ w).T @ d + x.T @ (d @ w.T)), rtol=1e-12)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_an_error_in_a_weights_derivative_comes_out_of_backward(monkeypatch, threads):
    monkeypatch.setenv("MINIVL_THREADS", threads)

    def fails():
        raise ArithmeticError("no derivative today")

    with pytest.raises(ArithmeticError, match="no derivative today"):
        op(lambda x: (x * 1, lambda d: fails))(leaf(1.0)).backward()


def test_a_gradient_may_be_given():
    x = leaf(1, 2)
    (x * x).backward([1.0, 10.0])
    assert x.grad.tolist() == [2, 40]
    x.grad = None
    (x * x).backward(Tensor(np.array([1, 10])))
    assert x.grad.tolist() == [2, 40]
    x.backward(np.ones(2))  # a leaf itself
    assert x.grad.tolist() == [3, 41]


def test_backward_on_the_wrong_thing():
    with pytest.raises(RuntimeError, match="nothing that this tensor was computed from has requires_grad=True"):
        (Tensor(1.0) * 2).backward()
    with pytest.raises(ValueError, match=r"a tensor of shape \(2,\) is not one number; sum it, or pass grad"):
        leaf(1, 2).backward()
    with pytest.raises(ValueError, match=r"grad has shape \(3,\), must be shaped like the tensor, \(2,\)"):
        leaf(1, 2).backward(np.ones(3))


def test_numbers_that_no_derivative_keeps_are_freed_with_their_tensor():
    x = leaf(1, 2, 3)
    h = x + 1.0
    kept = h * h
    data, last = weakref.ref(h.data), weakref.ref(kept.data)
    y = (kept + 1.0).sum()
    del kept
    assert last() is None  # a sum asks for nothing
    del h
    assert data() is not None  # a product asks for its factors
    y.backward()
    assert data() is None
    np.testing.assert_array_equal(x.grad, [4, 6, 8])


@pytest.mark.parametrize(
    "op",
    [ops.gelu, ops.quick_gelu, ops.layernorm, ops.rmsnorm, ops.batch_norm, ops.softmax, ops.cross_entropy, ops.exp],
)
def test_what_an_op_works_out_its_derivative_without_is_freed(random, op):
    x = Tensor(random.standard_normal((4, 8)), requires_grad=True)
    h = x + 1.0
    data = weakref.ref(h.data)
    more = {
        ops.gelu: (np.ones(8),),
        ops.layernorm: (np.ones(8), np.zeros(8)),
        ops.rmsnorm: (np.ones(8),),
        ops.batch_norm: (np.ones(8), np.zeros(8), np.zeros(8), np.ones(8)),
        ops.cross_entropy: (np.arange(4),),
    }.get(op, ())
    y = op(h, *more)
    del h
    assert data() is None
    y.sum().backward()
    assert x.grad.shape == (4, 8)


@pytest.mark.parametrize(
    "op",
    [ops.transpose, lambda x: ops.reshape(x, shape=(8, 4)), lambda x: ops.cast(x, dtype=np.float32), lambda x: x[1:]],
)
def test_what_only_rearranges_numbers_does_not_keep_them(random, op):
    x = Tensor(random.standard_normal((4, 8)), requires_grad=True)
    h = x + 1.0
    data = weakref.ref(h.data)
    y = op(h) + 1.0  # the sum is no view of them
    del h
    assert data() is None
    y.sum().backward()
    assert x.grad.shape == (4, 8)


def test_a_graph_is_used_once():
    x = leaf(1)
    y = ops.exp(x)
    y.backward()
    with pytest.raises(RuntimeError, match="graph behind this result of exp was used up by an earlier backward"):
        y.backward()


def test_two_losses_on_one_graph():
    x = leaf(2)
    shared = x * x
    first, second = shared * 3, shared.exp()
    first.backward()
    with pytest.raises(RuntimeError, match="result of mul was used up.*Add the losses and call backward once"):
        second.backward()
    x.grad = None
    shared = x * x
    (shared * 3 + shared * 5).backward()
    assert x.grad == 8 * 4


@pytest.mark.parametrize("end", ["backward", "never"])
def test_a_graph_of_20_000_nodes(end):
    x = leaf(1)
    y = x
    for _ in range(20_000):
        y = y + 1
    if end == "backward":
        y.backward()
        assert x.grad == 1
    del y  # and no recursion here either
    gc.collect()


def test_what_the_derivatives_kept_is_freed_on_the_way_back():
    x = Tensor(np.ones(1000, np.float32), requires_grad=True)
    tracemalloc.start()
    y = x
    for _ in range(50):
        y = (y * 0.9).tanh()
    y = y.sum()
    before = tracemalloc.get_traced_memory()[0]
    y.backward()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after < before / 5


def test_gradients_are_not_worked_out_for_nobody():
    @op
    def product(a, b):
        def forbidden():
            raise AssertionError("asked for the gradient of a constant")

        return a * b, lambda d: (lambda: d * b, forbidden)

    x = leaf(2)
    product(x, np.array(3.0)).backward()
    assert x.grad == 3


def test_an_input_without_a_derivative_is_an_error_not_a_silent_zero():
    @op
    def scaled(x, scale):
        return x * scale, lambda d: (d * scale, None)

    @op
    def scaled_too(x, scale):
        return x * scale, lambda d: d * scale

    for f in (scaled, scaled_too):
        f(leaf(1, 2), 3.0).sum().backward()
        with pytest.raises(TypeError, match=rf"{f.__name__} has no derivative by argument 1, a Tensor \(\)"):
            f(leaf(1, 2), leaf(3)).sum().backward()


def test_arguments_by_name():
    q = Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    bias = Tensor(np.zeros((2, 2)), requires_grad=True)
    ops.attention(q, q, v=q, bias=bias).sum().backward()
    assert bias.grad.shape == (2, 2)
    with pytest.raises(TypeError, match="missing argument 'weight'"):
        ops.layernorm(q, bias=bias)


def test_integers_have_no_history():
    x = leaf(1.5, 2.5)
    y = x.to(np.int64)
    assert not y.requires_grad
    with pytest.raises(RuntimeError, match="nothing that this tensor was computed from"):
        y.sum().backward()


@pytest.mark.parametrize(
    ("big", "small", "expected"),
    [
        ((2, 3), (2, 3), np.ones((2, 3))),
        ((2, 3), (3,), [2, 2, 2]),
        ((2, 3), (1, 3), [[2, 2, 2]]),
        ((2, 3), (2, 1), [[3], [3]]),
        ((2, 3), (), 6),
        ((4, 2, 3), (2, 1), [[12], [12]]),
        ((0, 3), (3,), [0, 0, 0]),
        ((0, 3), (1, 3), [[0, 0, 0]]),
        ((1, 1), (1,), [1]),
    ],
)
def test_unbroadcast(big, small, expected):
    got = unbroadcast(np.ones(big), small)
    assert got.shape == small
    np.testing.assert_array_equal(got, expected)


# ---- no_grad ---------------------------------------------------------------------------------------------------------


def test_no_grad():
    x = leaf(1)
    with no_grad():
        assert not (x * 2).requires_grad
        with no_grad():
            pass
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (x * 2).requires_grad


def test_no_grad_is_of_one_thread():
    x, inside, checked, seen = leaf(1), threading.Event(), threading.Event(), []

    def evaluate():
        with no_grad():
            inside.set()
            checked.wait(5)
            seen.append((x * 2).requires_grad)

    thread = threading.Thread(target=evaluate)
    thread.start()
    inside.wait(5)
    assert (x * 2).requires_grad
    checked.set()
    thread.join()
    assert seen == [False]


def test_two_threads_build_graphs_at_once():
    results = {}

    def work(n):
        x = leaf(float(n))
        y = x
        for _ in range(300):
            y = y + x
        y.backward()
        results[n] = float(x.grad)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == dict.fromkeys(range(4), 301.0)


# ---- checkpoint ------------------------------------------------------------------------------------------------------


def gradients(function, *leaves):
    for t in leaves:
        t.grad = None
    out = function()
    (out * out).sum().backward()
    return [out.data.tobytes()] + [t.grad.tobytes() for t in leaves]


def weights(random, n, size=8):
    return [Tensor(random.standard_normal((size, size)).astype(np.float32) / 3, requires_grad=True) for _ in range(n)]


def test_checkpoint_gives_the_same_bits(random):
    """Parameters inside, outside, and both; an input that is used again outside."""
    shared, inner, outer, x = weights(random, 4)

    def block(h):
        return (h @ shared).tanh() @ inner + h @ shared

    def model(run):
        h = x @ shared
        h = run(block, h) + h @ outer
        return run(block, h) @ shared + h

    leaves = shared, inner, outer, x
    plain = gradients(lambda: model(lambda f, h: f(h)), *leaves)
    assert gradients(lambda: model(checkpoint), *leaves) == plain


def test_nested_checkpoints_and_several_inputs(random):
    a, b, x = weights(random, 3)

    def inner(h):
        return (h @ a).tanh()

    def outer(run, h, skip):
        return run(inner, h) @ b + run(inner, skip) * skip

    plain = gradients(lambda: outer(lambda f, h: f(h), x, x @ b), a, b, x)
    assert gradients(lambda: checkpoint(lambda h, s: outer(checkpoint, h, s), x, x @ b), a, b, x) == plain


def test_checkpoint_with_dropout(random):
    a, x = weights(random, 2)

    def model(run, generator):
        def block(h):
            return ops.dropout((h @ a).tanh(), p=0.4, random=generator)

        h = run(block, x)
        h = ops.dropout(h, p=0.2, random=generator)
        return run(block, h)

    def plain(generator):
        return gradients(lambda: model(lambda f, h: f(h), generator), a, x)

    def checkpointed(generator):
        return gradients(lambda: model(lambda f, h: checkpoint(f, h, random=generator), generator), a, x)

    first, second = np.random.default_rng(7), np.random.default_rng(7)
    for _ in range(2):  # and in the next step the generator stands where it would have stood
        assert plain(first) == checkpointed(second)
    assert first.bit_generator.state == second.bit_generator.state


def test_a_generator_that_checkpoint_does_not_know_of(random):
    (x,) = weights(random, 1)
    y = checkpoint(lambda h: ops.dropout(h, p=0.5, random=random), x)
    with pytest.raises(RuntimeError, match="the output differs; pass the generator it draws from as random"):
        y.sum().backward()


def test_checkpoint_returns_one_tensor(random):
    with pytest.raises(TypeError, match="function must return one Tensor, got tuple"):
        checkpoint(lambda x: (x, x), leaf(1))


def test_checkpoint_under_no_grad_only_runs(random):
    (x,) = weights(random, 1)
    with no_grad():
        assert not checkpoint(lambda h: h @ h, x).requires_grad


def test_a_checkpointed_graph_is_used_once(random):
    (x,) = weights(random, 1)
    y = checkpoint(lambda h: h @ h, x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="used up"):
        y.backward()


def test_an_error_inside_a_checkpoint_names_its_op(random):
    x = leaf(-1.0, 4.0)
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match="log at .*test_tensor.py"),
        detect_anomaly(),
    ):
        checkpoint(lambda h: h.log(), x)


def peak_of_training(random, checkpointed, blocks=8, size=64, rows=256):
    layers = [weights(random, 2, size) for _ in range(blocks)]
    x = Tensor(random.standard_normal((rows, size)).astype(np.float32))
    gc.collect()
    tracemalloc.start()
    h = x
    for a, b in layers:

        def block(h, a=a, b=b):
            return h + ops.gelu(ops.gelu(h @ a) @ b)

        h = checkpoint(block, h) if checkpointed else block(h)
    h.sum().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_checkpoint_takes_less_memory(random, monkeypatch):
    monkeypatch.setenv("MINIVL_THREADS", "1")
    plain, checkpointed = peak_of_training(random, False), peak_of_training(random, True)
    assert checkpointed < 0.5 * plain, f"{checkpointed / 1e6:.2f} MB with, {plain / 1e6:.2f} MB without"
