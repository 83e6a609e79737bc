"""The table of ops: each against its definition in loops, its derivative in float64, its dtype, shapes and strides."""

import importlib
import math
import pkgutil
from typing import NamedTuple

import naive
import numpy as np
import pytest

import minivl
from minivl import Tensor, gradcheck, masks, ops


class Case(NamedTuple):
    op: str  # the name that the op has in its file
    call: callable  # arrays or Tensors -> Tensor
    naive: callable  # arrays -> array
    shapes: tuple  # of the inputs
    positive: bool = False


def normal(random, shape, positive=False):
    x = random.standard_normal(shape)
    return 0.5 + abs(x) if positive else x


def cases(op, call, reference, *shapes, positive=False):
    return [Case(op, call, reference, s if s and isinstance(s[0], tuple) else (s,), positive) for s in shapes]


ANY = [(3, 5), (1,), (), (0, 3), (2, 1, 3), (7,)]
PAIRS = [((3, 5), (3, 5)), ((3, 5), (5,)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 3), ()), ((0, 3), (3,)), ((), ())]
BIASED = [((3, 5), (5,)), ((2, 1, 3), (3,)), ((4,), (4,)), ((0, 2), (2,))]
ROWS = [(3, 5), (7,), (2, 3, 1), (0, 4), (2, 1, 6)]
IDS = np.array([[1, 4, 1], [0, 1, 2]])
CHOICE = np.random.default_rng(0).random((3, 5)) < 0.5
TARGET = np.array([[2, -100, 0], [4, 4, 1]])
SAME = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 1]], dtype=bool)  # not mirrored: the two directions are told apart
EXPERTS = np.array([[[0, 1], [0, 2], [2, 0], [0, 2]], [[3, 2], [3, 1], [3, 0], [1, 3]]])  # (G, T, K)
PLACES, ROUTING = naive.route(EXPERTS, 4, 2), ops.expert_slots(EXPERTS, 4, 2)  # six of sixteen are dropped

E, R = naive.elementwise, naive.reduction
TABLE = [
    *cases("add", ops.add, E(lambda a, b: a + b), *PAIRS),
    *cases("sub", ops.sub, E(lambda a, b: a - b), *PAIRS),
    *cases("mul", ops.mul, E(lambda a, b: a * b), *PAIRS),
    *cases("div", ops.div, E(lambda a, b: a / b), *PAIRS, positive=True),
    *cases("maximum", ops.maximum, E(max), *PAIRS),
    *cases("minimum", ops.minimum, E(min), *PAIRS),
    *cases("neg", ops.neg, E(lambda a: -a), *ANY),
    *cases("pow", lambda a: ops.pow(a, exponent=3), E(lambda a: a**3), *ANY),
    *cases("pow", lambda a: ops.pow(a, exponent=-1.5), E(lambda a: a**-1.5), *ANY, positive=True),
    *cases("exp", ops.exp, E(math.exp), *ANY),
    *cases("log", ops.log, E(math.log), *ANY, positive=True),
    *cases("sqrt", ops.sqrt, E(math.sqrt), *ANY, positive=True),
    *cases("abs", ops.abs, E(abs), *ANY),
    *cases("tanh", ops.tanh, E(math.tanh), *ANY),
    *cases("sigmoid", ops.sigmoid, E(naive.sigmoid), *ANY),
    *cases("softplus", ops.softplus, E(lambda a: math.log(1 + math.exp(a))), *ANY),
    *cases("relu", ops.relu, E(lambda a: max(a, 0.0)), *ANY),
    *cases("clamp", lambda a: ops.clamp(a, min=-0.5, max=0.7), E(lambda a: min(max(a, -0.5), 0.7)), *ANY),
    *cases("clamp", lambda a: ops.clamp(a, min=0.1), E(lambda a: max(a, 0.1)), (3, 5)),
    *cases(
        "where",
        lambda a, b: ops.where(CHOICE, a, b),
        lambda a, b: E(lambda c, a, b: a if c else b)(CHOICE, a, b),
        ((3, 5), (3, 5)),
        ((5,), (3, 1)),
        ((), (3, 5)),
    ),
    *cases("gelu", ops.gelu, E(naive.gelu), *ANY),
    *cases("gelu", lambda x: ops.gelu(x, approximate="tanh"), E(naive.gelu_tanh), *ANY),
    *cases("quick_gelu", ops.quick_gelu, E(lambda a: a * naive.sigmoid(1.702 * a)), *ANY),
    *cases("gelu", ops.gelu, E(lambda a, b: naive.gelu(a + b)), *BIASED),
    *cases("gelu", lambda x, b: ops.gelu(x, b, approximate="tanh"), E(lambda a, b: naive.gelu_tanh(a + b)), *BIASED),
    *cases("quick_gelu", ops.quick_gelu, E(lambda a, b: (a + b) * naive.sigmoid(1.702 * (a + b))), *BIASED),
    # What dropout gives is random: its values have a test of their own.
    *cases("_dropout", lambda x: ops.dropout(x, p=0.4, random=np.random.default_rng(1)), None, (4, 6), (0, 3), ()),
    #
    *cases("sum", ops.sum, R(sum), (3, 5), (7,), (0, 3), (1, 1)),
    *cases("sum", lambda x: ops.sum(x, axis=1), lambda x: R(sum)(x, 1), (3, 5), (2, 1, 3), (3, 0)),
    *cases("sum", lambda x: x.sum((0, -1), True), lambda x: R(sum)(x, (0, -1), True), (2, 3, 4)),
    *cases("mean", ops.mean, R(naive.mean), (3, 5), (1,)),
    *cases("mean", lambda x: x.mean(-2), lambda x: R(naive.mean)(x, -2), (3, 5), (2, 3, 4)),
    *cases("mean", lambda x: x.mean((0, 1), True), lambda x: R(naive.mean)(x, (0, 1), True), (3, 5), (0, 3, 2)[::-1]),
    *cases("var", lambda x: x.var(-1), lambda x: R(naive.var)(x, -1), (3, 5), (2, 4, 1)),
    *cases("var", lambda x: x.var((0, 1), True), lambda x: R(naive.var)(x, (0, 1), True), (3, 5)),
    *cases("max", ops.max, R(max), (3, 5), (1,)),
    *cases("max", lambda x: x.max(0), lambda x: R(max)(x, 0), (3, 5), (4, 0), (2, 3, 2)),
    *cases("max", lambda x: x.max((0, 2), True), lambda x: R(max)(x, (0, 2), True), (2, 3, 2)),
    *cases("logsumexp", ops.logsumexp, lambda x: R(naive.logsumexp)(x, -1), (3, 5), (4,), (0, 2)),
    *cases(
        "logsumexp",
        lambda x: ops.logsumexp(x, axis=(0, 1), keepdims=True),
        lambda x: R(naive.logsumexp)(x, (0, 1), True),
        (3, 5),
    ),
    #
    *cases("reshape", lambda x: x.reshape(-1, 2), lambda x: np.array(list(x.flat)).reshape(-1, 2), (4, 3), (2,)),
    *cases("reshape", lambda x: x.reshape((0, 4)), lambda x: np.zeros((0, 4)), (2, 0)),
    *cases("transpose", lambda x: x.T, lambda x: np.array(list(zip(*x, strict=True))), (4, 3), (1, 5)),
    *cases("transpose", lambda x: x.transpose(2, 0, -2), lambda x: np.moveaxis(x, 2, 0), (2, 3, 4), (0, 3, 1)),
    *cases("transpose", lambda x: x.swapaxes(-1, 0), lambda x: np.swapaxes(x, -1, 0), (2, 3, 4)),
    *cases("expand", lambda x: ops.expand(x, shape=(2, 3, 4)), E(lambda a: a), (2, 3, 4)),
    *cases(
        "expand",
        lambda x: ops.expand(x, shape=(2, 3, 4)),
        lambda x: E(lambda a, _: a)(x, np.zeros((2, 3, 4))),
        (3, 1),
        (4,),
        (),
        (1, 1, 1),
    ),
    *cases("getitem", lambda x: x[1], lambda x: np.array([x[1, j] for j in range(5)]), (3, 5)),
    *cases("getitem", lambda x: x[1:, ::2], lambda x: np.array([[x[i, j] for j in (0, 2, 4)] for i in (1, 2)]), (3, 5)),
    *cases("getitem", lambda x: x[..., None, -1], lambda x: np.array([[x[i, 4]] for i in range(3)]), (3, 5)),
    *cases("getitem", lambda x: x[IDS % 3, IDS], lambda x: E(lambda i: x[int(i) % 3, int(i)])(IDS), (3, 5)),
    *cases("getitem", lambda x: x[CHOICE], lambda x: np.array([x[i] for i in np.ndindex(3, 5) if CHOICE[i]]), (3, 5)),
    *cases("getitem", lambda x: x[[2, 2, 0]], lambda x: np.array([x[2], x[2], x[0]]), (3, 5)),
    *cases("getitem", lambda x: x[2:2], lambda x: np.zeros((0, 5)), (3, 5)),
    *cases("_cat", lambda *x: ops.cat(x), lambda *x: np.array([r for a in x for r in a]), ((2, 3), (1, 3), (4, 3))),
    *cases(
        "_cat",
        lambda a, b: ops.cat([a, b], axis=-1),
        lambda a, b: np.array([[*r, *s] for r, s in zip(a, b, strict=True)]).reshape(len(a), -1),
        ((2, 3), (2, 1)),
        ((2, 0), (2, 1)),
    ),
    *cases("_cat", lambda a, b: ops.stack([a, b], axis=1), lambda a, b: np.array([[a[0], b[0]], [a[1], b[1]]]),
           ((2, 3), (2, 3))),
    *cases("_cat", lambda a, b: ops.stack([a, b], -1), lambda a, b: np.array([a, b]), ((), ())),
    *cases("cast", lambda x: x.to(np.float64), E(lambda a: a), (3, 5), ()),
    *cases("move", lambda x: x.to("cpu"), E(lambda a: a), (3, 5), ()),
    #
    *cases("matmul", ops.matmul, naive.matmul, ((3, 4), (4, 2)), ((1, 1), (1, 1)), ((3,), (3,)), ((4,), (4, 2)),
           ((2, 3), (3,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)),
           ((2, 3, 1, 4), (2, 3, 4, 2)), ((0, 3), (3, 2)), ((3, 0), (0, 2)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)),
           ((0, 2, 3), (0, 3, 1)), ((300, 2), (2, 3)), ((2, 3), (3, 300))),
    *cases("linear", ops.linear, naive.linear, ((3, 4), (4, 2), (2,)), ((2, 3, 4), (4, 1), (1,)), ((4,), (4, 2), (2,)),
           ((0, 4), (4, 2), (2,)), ((300, 2), (2, 3), (3,)), ((3, 0), (0, 2), (2,))),
    *cases("linear", ops.linear, naive.linear, ((2, 1, 3), (3, 2))),
    *cases("embedding", lambda t: ops.embedding(t, IDS), lambda t: naive.embedding(t, IDS), (5, 3), (6, 1)),
    *cases("embedding", lambda t: ops.embedding(t, IDS[:0]), lambda t: np.zeros((0, 3, 2)), (5, 2)),
    *cases("embedding", lambda t: ops.embedding(t, IDS[0, 0]), lambda t: t[1], (5, 2)),
    *cases("layernorm", ops.layernorm, naive.rowwise(naive.layernorm), *(((*s,), s[-1:], s[-1:]) for s in ROWS)),
    *cases("add_layernorm", ops.add_layernorm, lambda x, b, *w: naive.rowwise(naive.layernorm)(x + b, *w),
           *(((*s,), (*s,), s[-1:], s[-1:]) for s in ROWS)),
    *cases("rmsnorm", ops.rmsnorm, naive.rowwise(naive.rmsnorm), *(((*s,), s[-1:]) for s in ROWS)),
    *cases("softmax", ops.softmax, naive.rowwise(naive.softmax), *ROWS),
    *cases("softmax", lambda x: ops.softmax(x, CHOICE), lambda x: naive.masked_softmax(x, CHOICE), (3, 5), (2, 3, 5)),
    *cases("softmax", lambda x: ops.softmax(x, CHOICE[:, :1]), lambda x: naive.masked_softmax(x, CHOICE[:, :1]),
           (3, 5), (2, 3, 4)),
    *cases("log_softmax", ops.log_softmax, naive.rowwise(naive.log_softmax), *ROWS),
    *cases("normalize", ops.normalize, naive.rowwise(naive.normalize), *ROWS),
    *cases("contrastive", ops.contrastive, naive.contrastive, ((3, 4), (3, 4), ()), ((1, 2), (1, 2), (1,)),
           ((5, 1), (5, 1), ()), ((0, 3), (0, 3), ())),
    *cases("contrastive", lambda *a: ops.contrastive(*a, SAME), lambda *a: naive.contrastive(*a, SAME),
           ((3, 4), (3, 4), ())),
    *cases("cross_entropy", lambda x: ops.cross_entropy(x, TARGET), lambda x: naive.cross_entropy(x, TARGET),
           (2, 3, 5)),
    *cases("attention", ops.attention, naive.attention, ((2, 3, 4, 2), (2, 3, 5, 2), (2, 3, 5, 3)),
           ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)), ((0, 2, 3, 2), (0, 2, 3, 2), (0, 2, 3, 2)),
           ((2, 2, 3, 2), (2, 2, 0, 2), (2, 2, 0, 2)), ((1, 2, 0, 2), (1, 2, 3, 2), (1, 2, 3, 2))),
    *cases(
        "attention",
        lambda q, k, v, bias: ops.attention(q, k, v, masks.causal(4) & masks.padding([4, 2], 4), bias),
        lambda q, k, v, bias: naive.attention(q, k, v, masks.causal(4) & masks.padding([4, 2], 4), bias),
        ((2, 3, 4, 2), (2, 3, 4, 2), (2, 3, 4, 2), (3, 4, 4)),
    ),
    *cases("patch_embed", ops.patch_embed,
           lambda x, w, b: naive.patch_embed(x, w, b, w.shape[1:-1], (0, 0, 0)[: x.ndim - 2]),
           ((2, 3, 4, 6), (3, 2, 2, 5), (5,)), ((1, 3, 4, 4, 2), (3, 2, 2, 1, 3), (3,)),
           ((0, 3, 4, 4), (3, 2, 2, 1), (1,))),
    *cases("gates", lambda x: ops.gates(x, EXPERTS), lambda x: naive.gates(x, EXPERTS), (2, 4, 4)),
    *cases("gates", lambda x: ops.gates(x, EXPERTS, renormalise=False), lambda x: naive.gates(x, EXPERTS, False),
           (2, 4, 5)),
    *cases("dispatch", lambda x: ops.dispatch(x, routing=ROUTING), lambda x: naive.dispatch(x, PLACES, 4, 2),
           (2, 4, 3), (2, 4, 0)),
    *cases("combine", lambda y, g: ops.combine(y, g, routing=ROUTING), lambda y, g: naive.combine(y, g, PLACES),
           ((4, 2, 2, 3), (2, 4, 2)), ((4, 2, 2, 0), (2, 4, 2))),
    *cases("load_balance", lambda x: ops.load_balance(x, EXPERTS[..., 0]),
           lambda x: naive.load_balance(x, EXPERTS[..., 0]), (2, 4, 4)),
    *cases("conv2d", ops.conv2d, naive.conv2d, ((2, 4, 5, 3), (3, 2, 3, 4), (4,)), ((1, 1, 1, 1), (1, 1, 1, 1), (1,)),
           ((0, 3, 3, 2), (2, 2, 2, 1), (1,)), ((2, 3, 3, 0), (2, 2, 0, 2), (2,))),
    *cases("conv2d", lambda x, w: ops.conv2d(x, w, stride=2, padding=1),
           lambda x, w: naive.conv2d(x, w, None, (2, 2), (1, 1)), ((3, 5, 4, 2), (3, 3, 2, 3))),
    *cases("avg_pool2d", lambda x: ops.avg_pool2d(x, size=2), lambda x: naive.pool2d(naive.mean, x, (2, 2), (2, 2)),
           (3, 4, 5, 2), (0, 2, 2, 1)),
    *cases("max_pool2d", lambda x: ops.max_pool2d(x, size=3, stride=2, padding=1),
           lambda x: naive.pool2d(max, x, (3, 3), (2, 2), (1, 1)), (3, 4, 5, 2), (0, 3, 3, 1)),
    *cases("batch_norm", lambda x, w, b: ops.batch_norm(x, w, b, *ops.batch_moments(x), training=True),
           naive.batch_norm, ((4, 3), (3,), (3,)), ((2, 3, 2, 5), (5,), (5,)), ((2, 1), (1,), (1,))),
    *cases("batch_norm", lambda x, w, b: ops.batch_norm(x, w, b, np.arange(3.0), np.arange(3.0) + 1),
           lambda x, w, b: naive.batch_norm(x, w, b, np.arange(3.0), np.arange(3.0) + 1),
           ((4, 3), (3,), (3,)), ((2, 1, 3, 3), (3,), (3,)), ((0, 3), (3,), (3,))),
]  # fmt: skip


def ids(case):
    return f"{case.op}-{'x'.join(str(s).replace(' ', '') for s in case.shapes)}"


everything = pytest.mark.parametrize("case", TABLE, ids=ids)


def inputs(case, dtype=np.float64, seed=0):
    random = np.random.default_rng(seed)
    return [np.asarray(normal(random, s, case.positive), dtype) for s in case.shapes]


def run(case, arrays, seed=1):
    """The output, and the gradients along one random direction."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    out = case.call(*tensors)
    out.backward(np.random.default_rng(seed).standard_normal(out.shape))
    return out.data, [t.grad for t in tensors]


def test_every_op_is_in_the_table():
    found = set()
    for module in pkgutil.iter_modules(minivl.ops.__path__):
        functions = vars(importlib.import_module(f"minivl.ops.{module.name}"))
        found |= {name for name, f in functions.items() if getattr(f, "is_op", False)}
    assert found == {case.op for case in TABLE}


def test_the_package_exports_every_op():
    public = {case.op.lstrip("_") for case in TABLE}
    assert public <= set(ops.__all__) and all(hasattr(ops, name) for name in ops.__all__)


@pytest.mark.parametrize("case", [case for case in TABLE if case.naive], ids=ids)
def test_value(case):
    arrays = inputs(case)
    kept = [a.copy() for a in arrays]
    out, _ = run(case, arrays)
    expected = case.naive(*arrays)
    assert out.shape == np.shape(expected)
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-13)
    for a, b in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(a, b, err_msg="the op changed its input")


@everything
def test_derivative(case):
    arrays = inputs(case, seed=2)
    assert gradcheck(case.call, *arrays, tolerance=1e-7, seeds=(0, 1, 2))


@everything
def test_dtype_is_kept(case):
    outs = {}
    for dtype in (np.float32, np.float64):
        arrays = [a.astype(np.float32).astype(dtype) for a in inputs(case)]
        out, gradients = run(case, arrays)
        assert out.dtype == (np.float64 if case.op == "cast" else dtype)
        assert [g.dtype for g in gradients] == [dtype] * len(arrays)
        assert [g.shape for g in gradients] == [a.shape for a in arrays]
        outs[dtype] = [out, *gradients]
    for single, double in zip(outs[np.float32], outs[np.float64], strict=True):
        np.testing.assert_allclose(single, double, rtol=2e-5, atol=2e-5)


def strided(a):
    """The same numbers, every second element of a larger array that lies in memory back to front."""
    if not a.ndim:
        return a
    large = np.full([2 * n for n in a.shape][::-1], np.nan, a.dtype).T
    view = large[(slice(None, None, -2),) * a.ndim]
    view[...] = a
    return view


@everything
def test_memory_layout_makes_no_difference(case):
    arrays = inputs(case)
    out, gradients = run(case, arrays)
    other, others = run(case, [strided(a) for a in arrays])
    for a, b in zip([out, *gradients], [other, *others], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@everything
def test_small_chunks_on_several_threads(case, small_chunks):
    arrays = inputs(case)
    if case.naive is not None:
        out, _ = run(case, arrays)
        np.testing.assert_allclose(out, case.naive(*arrays), rtol=1e-12, atol=1e-13)
    assert gradcheck(case.call, *arrays, seeds=(0,))


@everything
def test_same_bits_on_any_number_of_threads(case, small_chunks, monkeypatch):
    results = []
    for threads in (1, 2, 4):
        monkeypatch.setenv("MINIVL_THREADS", str(threads))
        out, gradients = run(case, inputs(case, np.float32))
        results.append([a.tobytes() for a in (out, *gradients)])
    assert results[0] == results[1] == results[2]


@everything
def test_an_input_may_be_a_constant(case):
    arrays = inputs(case)
    out, gradients = run(case, arrays)
    for i in range(len(arrays) if len(arrays) > 1 else 0):
        tensors = [a if j == i else Tensor(a, requires_grad=True) for j, a in enumerate(arrays)]
        again = case.call(*tensors)
        again.backward(np.random.default_rng(1).standard_normal(out.shape))
        np.testing.assert_array_equal(again.data, out)
        for j, g in enumerate(gradients):
            if j != i:
                np.testing.assert_array_equal(tensors[j].grad, g)


# ---- operators and methods of Tensor ---------------------------------------------------------------------------------


def test_operators_are_ops(random):
    a, b = random.random((2, 3)) + 0.5, random.random((3,)) + 0.5
    ta = Tensor(a, requires_grad=True)
    for of_tensors, of_arrays in [
        (ta + b, a + b), (b + ta, b + a), (ta - b, a - b), (b - ta, b - a), (ta * b, a * b), (b * ta, b * a),
        (ta / b, a / b), (b / ta, b / a), (-ta, -a), (ta**3, a**3), (ta**b, a**b), (ta @ b, a @ b), (a.T @ ta, a.T @ a),
        (2 - ta, 2 - a), (1 / ta, 1 / a), (ta.max(), a.max()), (ta.var(0), a.var(0)), (ta.exp(), np.exp(a)),
        (ta.log(), np.log(a)), (ta.sqrt(), np.sqrt(a)), (ta.tanh(), np.tanh(a)), (ta.relu(), a), (ta.abs(), a),
        (ta.T, a.T), (ta.swapaxes(0, 1), a.T), (ta.reshape(3, 2), a.reshape(3, 2)), (ta.reshape((6,)), a.reshape(6)),
        (ta.transpose(), a.T), (ta.mean(0, keepdims=True), a.mean(0, keepdims=True)),
    ]:  # fmt: skip
        assert isinstance(of_tensors, Tensor) and of_tensors.requires_grad
        np.testing.assert_allclose(of_tensors.data, of_arrays, rtol=1e-14)


@pytest.mark.parametrize("exponent", [2, 2.0, np.float32(2), np.float64(2), np.int64(2)])
def test_powers_of_negative_numbers(exponent):
    x = Tensor(np.array([-3.0, 2.0], np.float32), requires_grad=True)
    y = x**exponent
    y.backward(np.ones(2))
    assert y.dtype == np.float32 and y.data.tolist() == [9, 4] and x.grad.tolist() == [-6, 4]


def test_power_zero_is_flat_at_zero():
    x = Tensor(np.array([0.0, 2.0]), requires_grad=True)
    y = x**0
    y.backward(np.ones(2))
    assert y.data.tolist() == [1, 1] and x.grad.tolist() == [0, 0]


# ---- corners ---------------------------------------------------------------------------------------------------------


def gradient(f, *values):
    tensors = [Tensor(np.asarray(v, np.float64), requires_grad=True) for v in values]
    f(*tensors).sum().backward()
    return [t.grad.tolist() for t in tensors]


def test_ties():
    assert gradient(ops.maximum, [1.0, 2.0], [1.0, 3.0]) == [[1, 0], [0, 1]]
    assert gradient(ops.minimum, [1.0, 2.0], [1.0, 3.0]) == [[1, 1], [0, 0]]
    assert gradient(lambda x: x.max(), [3.0, 1.0, 3.0]) == [[0.5, 0, 0.5]]
    assert gradient(ops.abs, [0.0, -2.0]) == [[0, -1]]
    assert gradient(ops.relu, [0.0, 1.0, -1.0]) == [[0, 1, 0]]
    assert gradient(lambda x: ops.clamp(x, min=0, max=1), [-1.0, 0.5, 2.0]) == [[0, 1, 0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_overflows(dtype):
    large = Tensor(np.array([-1e4, 0, 1e4], dtype), requires_grad=True)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for f, expected in [
            (ops.sigmoid, [0, 0.5, 1]),
            (ops.softplus, [0, math.log(2), 1e4]),
            (ops.softmax, [0, 0, 1]),
            (ops.log_softmax, [-2e4, -1e4, 0]),
            (ops.logsumexp, 1e4),
            (ops.gelu, [0, 0, 1e4]),
            (ops.quick_gelu, [0, 0, 1e4]),
            (lambda x: ops.gelu(x, approximate="tanh"), [0, 0, 1e4]),
        ]:
            y = f(large)
            np.testing.assert_allclose(y.data, np.array(expected, dtype), rtol=1e-6)
            y.sum().backward()
            assert np.isfinite(large.grad).all()


def test_a_row_without_a_finite_score():
    x = Tensor(np.array([[-np.inf, -np.inf], [0.0, -np.inf]]), requires_grad=True)
    y = ops.softmax(x)
    y.backward(np.array([[1.0, 2], [3, 4]]))
    assert y.data.tolist() == [[0, 0], [1, 0]] and x.grad.tolist() == [[0, 0], [0, 0]]
    x.grad = None
    y = ops.logsumexp(x)
    y.backward(np.ones(2))
    assert y.data.tolist() == [-np.inf, 0] and x.grad.tolist() == [[0, 0], [1, 0]]


def test_normalising_nothing():
    x = Tensor(np.array([[0.0, 0.0], [3.0, 4.0]]), requires_grad=True)
    y = ops.normalize(x)
    y.sum().backward()
    assert y.data.tolist() == [[0, 0], [0.6, 0.8]] and np.isfinite(x.grad).all()


def test_what_is_too_short_to_normalise_is_only_stretched():
    x = Tensor(np.array([3e-13, 4e-13]), requires_grad=True)
    y = ops.normalize(x)
    y.backward(np.array([1.0, 2.0]))
    np.testing.assert_allclose(y.data, [0.3, 0.4])
    np.testing.assert_allclose(x.grad, [1e12, 2e12])


def test_layernorm_of_equal_numbers_gives_the_bias(random):
    x = Tensor(np.full((2, 8), 7.0, np.float32), requires_grad=True)
    y = ops.layernorm(x, random.random(8).astype("f"), np.arange(8, dtype="f"))
    y.sum().backward()
    assert y.data.tolist() == [list(range(8))] * 2 and np.isfinite(x.grad).all()


def test_layernorm_far_from_zero(random):
    """The variance of numbers around 10,000 is not lost in float32: it is taken from the differences to their mean."""
    x = (random.standard_normal((3, 64)) + 1e4).astype("f")
    ones, zeros = np.ones(64, "f"), np.zeros(64, "f")
    expected = naive.rowwise(naive.layernorm)(x, ones, zeros)
    np.testing.assert_allclose(ops.layernorm(Tensor(x), ones, zeros).data, expected, atol=2e-3)


def test_embedding_adds_up_what_a_repeated_token_gets():
    table = Tensor(np.zeros((4, 2)), requires_grad=True)
    ops.embedding(table, np.array([3, 1, 3, 3])).backward(np.arange(8.0).reshape(4, 2))
    assert table.grad.tolist() == [[0, 0], [2, 3], [0, 0], [0 + 4 + 6, 1 + 5 + 7]]


def test_embedding_takes_any_integers(random):
    table = random.random((4, 2))
    for kind in (np.uint8, np.int32, np.int64, list):
        ids = [1, 3] if kind is list else np.array([1, 3], kind)
        assert ops.embedding(Tensor(table), ids).data.tolist() == table[[1, 3]].tolist()


def test_getitem_with_a_repeated_index_adds_up():
    x = Tensor(np.zeros(3), requires_grad=True)
    x[np.array([1, 1, 2])].backward(np.array([1.0, 10, 100]))
    assert x.grad.tolist() == [0, 11, 100]


def test_dropout(random):
    x = np.ones((200, 100), np.float32)
    t = Tensor(x, requires_grad=True)
    y = ops.dropout(t, p=0.3, random=random)
    assert y.dtype == np.float32 and set(np.unique(y.data)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((y.data == 0).mean() - 0.3) < 0.02
    y.sum().backward()
    np.testing.assert_array_equal(t.grad, y.data)  # the same numbers are dropped backward
    again = ops.dropout(Tensor(x), p=0.3, random=np.random.default_rng(0))
    np.testing.assert_array_equal(again.data, y.data)  # one seed, one choice
    assert (ops.dropout(Tensor(x), p=0.3, random=random).data != y.data).any()
    state = random.bit_generator.state
    assert ops.dropout(t, p=0, random=random) is t and random.bit_generator.state == state


def test_dropout_draws_the_same_for_both_dtypes():
    kept = [ops.dropout(Tensor(np.ones(50, d)), p=0.5, random=np.random.default_rng(3)).data > 0 for d in ("f4", "f8")]
    np.testing.assert_array_equal(*kept)


# ---- bad input -------------------------------------------------------------------------------------------------------

x23, x4 = Tensor(np.zeros((2, 3))), Tensor(np.zeros(4))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.matmul(x23, x23), ValueError, "matmul: shapes (2, 3) and (2, 3)"),
        (lambda: ops.matmul(x23, Tensor(1.0)), ValueError, "matmul: shapes (2, 3) and ()"),
        (lambda: ops.linear(x23, x23), ValueError, "linear: x (2, 3) has 3 features, weight (2, 3) takes 2"),
        (lambda: ops.layernorm(x23, x4, x4), ValueError, "layernorm: x (2, 3) needs weight and bias (3,), got (4,)"),
        (lambda: ops.add_layernorm(x23, x4, x4, x4), ValueError, "branch (4,) must have the shape of x, (2, 3)"),
        (lambda: ops.rmsnorm(x23, x4), ValueError, "rmsnorm: x (2, 3) needs weight (3,), got (4,)"),
        (lambda: ops.gelu(x23, x4), ValueError, "gelu: x (2, 3) needs a bias of its last axis, got (4,)"),
        (lambda: ops.quick_gelu(Tensor(1.0), x4), ValueError, "quick_gelu: x () needs a bias of its last axis"),
        (lambda: ops.softmax(x23, np.ones(3)), TypeError, "softmax: mask is float64, must be boolean"),
        (lambda: ops.softmax(x23, np.ones(4, bool)), ValueError, "softmax: mask (4,) cannot be broadcast to x (2, 3)"),
        (lambda: ops.embedding(x23, np.array([0.5])), TypeError, "embedding: ids must be integers, got float64"),
        (lambda: ops.embedding(x23, np.array([0, 2])), IndexError, "ids from 0 to 2, the table has rows 0 to 1"),
        (lambda: ops.embedding(x23, np.array([-1])), IndexError, "embedding: ids from -1 to -1"),
        (lambda: ops.gelu(x23, approximate="fast"), ValueError, "approximate is 'fast', must be 'none' or 'tanh'"),
        (lambda: ops.where(np.array([1, 0, 2]), x23, 0.0), TypeError, "where: condition is int64, must be boolean"),
        (lambda: ops.dropout(x23, p=1.0, random=None), ValueError, "p is 1.0, must be at least 0 and below 1"),
        (lambda: ops.dropout(x23, p=-0.1, random=None), ValueError, "dropout: p is -0.1"),
        (lambda: x23.to("gpu"), TypeError, "gpu"),
    ],
)  # fmt: skip
def test_errors_say_what_was_wrong(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
