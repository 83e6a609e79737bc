"""The kernels that go row by row, and those of GELU and embedding, against the NumPy text of their ops."""

import importlib
from typing import NamedTuple

import numpy as np
import pytest
from kernel_runs import agree, bf16, needs_compiler, results, running, ways, widened
from test_ops import TABLE, ids, inputs, run, strided

from minivl import Tensor, gradcheck, kernels, no_grad, ops
from minivl.array import to_device
from minivl.ops import rows

embedding = importlib.import_module("minivl.ops.embedding")
cross_entropy = importlib.import_module("minivl.ops.cross_entropy")
ON_TABLE = {
    "layernorm",
    "add_layernorm",
    "rmsnorm",
    "softmax",
    "log_softmax",
    "gelu",
    "quick_gelu",
    "cross_entropy",
    "embedding",
}


class Case(NamedTuple):
    name: str
    op: callable
    shapes: callable  # of the inputs, for so many rows and columns
    more: callable = lambda shape: ()  # further arguments, arrays without a derivative, for an x of this shape
    options: dict = {}  # noqa: RUF012

    def __call__(self, *inputs):
        return self.op(*inputs, *self.further(inputs[0].shape, getattr(inputs[0], "device", "cpu")), **self.options)

    def of_arrays(self, arrays):
        """(output, derivative) without Tensors, which the bits of bfloat16 cannot be."""
        device = "cpu" if isinstance(arrays[0], np.ndarray) else "cuda"
        return self.op.__wrapped__(*arrays, *self.further(arrays[0].shape, device), **self.options)

    def further(self, shape, device):
        return [to_device(a, device) for a in self.more(shape)]


def mask(*axes):
    """A mask that is the same along the other axes, and forbids the whole of the first row."""

    def made(shape):
        allowed = np.random.default_rng(3).random([n if a in axes else 1 for a, n in enumerate(shape)]) < 0.6
        allowed[(0,) * (len(shape) - 1)] = False
        return (allowed,)

    return made


def target(shape):
    random = np.random.default_rng(4)
    some = random.integers(0, shape[-1], shape[:-1])
    some[random.random(some.shape) < 0.3] = -100
    return (some,)


def token_ids(shape):
    """With one number, a pad, in a third of all places."""
    random = np.random.default_rng(5)
    return (np.where(random.random((11, 40)) < 0.35, 0, random.integers(0, shape[0], (11, 40))),)


def x(r, C):
    return [(r, C)]


def with_bias(r, C):
    return [(r, C), (C,)]


CASES = [
    Case("layernorm", ops.layernorm, lambda r, C: [(r, C), (C,), (C,)]),
    Case("add_layernorm", ops.add_layernorm, lambda r, C: [(r, C), (r, C), (C,), (C,)]),
    Case("rmsnorm", ops.rmsnorm, with_bias),
    Case("softmax", ops.softmax, x),
    Case("softmax, keys", ops.softmax, lambda r, C: [(2, 3, r, C)], mask(0, 3)),
    Case("softmax, heads", ops.softmax, lambda r, C: [(2, 3, r, C)], mask(1, 3)),
    Case("softmax, causal", ops.softmax, lambda r, C: [(2, 1, r, C)], mask(2, 3)),
    Case("softmax, rows", ops.softmax, lambda r, C: [(2, r, C)], mask(1)),
    Case("softmax, five axes", ops.softmax, lambda r, C: [(2, 1, 2, r, C)], mask(0, 4)),
    Case("log_softmax", ops.log_softmax, x),
    Case("gelu", ops.gelu, x),
    Case("gelu, tanh", ops.gelu, x, options={"approximate": "tanh"}),
    Case("quick_gelu", ops.quick_gelu, x),
    Case("gelu, bias", ops.gelu, with_bias),
    Case("gelu, tanh, bias", ops.gelu, with_bias, options={"approximate": "tanh"}),
    Case("quick_gelu, bias", ops.quick_gelu, with_bias),
    Case("cross_entropy", ops.cross_entropy, x, target),
    Case("cross_entropy, smoothed", ops.cross_entropy, x, target, {"label_smoothing": 0.1}),
    Case("embedding", ops.embedding, x, token_ids),
]
SIZES = [(1, 1), (5, 31), (40, 33), (2, 1025), (70, 24), (3, 320)]
LONG = {"layernorm", "add_layernorm", "rmsnorm", "softmax", "softmax, keys", "log_softmax", "cross_entropy, smoothed"}
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
TOLERANCE = {"f": 2e-5, "d": 2e-12}


def arrays(case, size, dtype="f"):
    random = np.random.default_rng(size)
    return [(2 * random.standard_normal(shape)).astype(dtype) for shape in case.shapes(*size)]


@ways("in order", "seed 1")
@every_size
@every_case
@pytest.mark.parametrize("dtype", "fd")
def test_numpy_computes_the_same(case, size, dtype, way):
    agree(case, arrays(case, size, dtype), way, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@needs_compiler
@every_case
def test_the_order_of_threads_makes_no_difference_to_a_single_bit(case):
    given = arrays(case, (40, 33))
    in_order = results(case, given, "in order")
    for way in ("seed 1", "seed 2", "seed 3"):
        for a, b in zip(in_order, results(case, given, way), strict=True):
            assert a.tobytes() == b.tobytes()


@ways("in order", "check")
@pytest.mark.parametrize("case", [case for case in CASES if case.name in LONG], ids=lambda case: case.name)
def test_rows_longer_than_a_team_can_keep(case, way, monkeypatch):
    """Their rest is read again, and their sums over rows are shared out among several teams."""
    monkeypatch.setattr(rows, "SHARED", 1024)
    monkeypatch.setattr(rows, "SUMMING", 32)
    for size in ((2, 1025), (2, 1040)):
        agree(case, arrays(case, size), way, rtol=1e-4, atol=1e-4)


@ways("check", "check, seed 4")
@every_case
def test_check_mode_finds_nothing(case, way):
    for size in ((5, 31), (3, 320), (3, 40)):
        agree(case, arrays(case, size), way, rtol=1e-4, atol=1e-4)


@ways("in order", "seed 1")
@pytest.mark.parametrize("size", [(5, 31), (70, 24), (2, 1025), (1, 1)], ids=lambda size: f"{size[0]}x{size[1]}")
@every_case
def test_bfloat16(case, size, way):
    """Stored in 16 bits and computed in float32: what the definition gives for the same inputs, nearly."""
    given = [bf16(a) for a in arrays(case, size)]
    with running(way) as there:
        y, derivative = case.of_arrays([there(a) for a in given])
    wide, wide_derivative = case.of_arrays([widened(a).astype("d") for a in given])
    dy = bf16(np.random.default_rng(6).standard_normal(wide.shape))
    with running(way) as there:
        gradients = derivative(there(dy))
    expected = wide_derivative(widened(dy).astype("d"))
    gradients, expected = ((g if isinstance(g, tuple) else (g,)) for g in (gradients, expected))
    for got, exact in zip((y, *gradients), (wide, *expected), strict=True):
        got = widened(to_device(got, "cpu"))
        assert got.shape == exact.shape
        np.testing.assert_allclose(got, exact, rtol=2**-6, atol=2**-7 * max(1, np.abs(exact).max()))


@needs_compiler
@pytest.mark.parametrize("case", [case for case in TABLE if case.op in ON_TABLE], ids=ids)
def test_the_table_of_ops_with_kernels(case):
    given = inputs(case)
    with kernels.on_cpu(seed=0):
        out, gradients = run(case, given)
        np.testing.assert_allclose(out, case.naive(*given), rtol=1e-12, atol=1e-13)
        other, others = run(case, [strided(a) for a in given])
        for a, b in zip([out, *gradients], [other, *others], strict=True):
            np.testing.assert_array_equal(a, b)
        single, singles = run(case, inputs(case, np.float32))
        assert {a.dtype for a in (single, *singles)} == {np.dtype(np.float32)}
        assert [g.shape for g in singles] == [a.shape for a in given]
        assert gradcheck(case.call, *inputs(case, seed=2), seeds=(0, 1, 2))


# ---- corners ---------------------------------------------------------------------------------------------------------


@ways("in order", "check")
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("C", [3, 8])
def test_a_row_of_minus_infinity_has_no_shares(way, dtype, C):
    x = np.full((3, C), -np.inf, dtype)
    x[1, 1] = 0
    x[2] = 1e4 * np.arange(C)
    with running(way) as there:
        t = Tensor(there(x), requires_grad=True)
        y = ops.softmax(t)
        y.backward(there(np.arange(3.0 * C, dtype=dtype).reshape(3, C)))
        y, dx = to_device(y.data, "cpu"), to_device(t.grad, "cpu")
    assert y.tolist() == [[0] * C, [0, 1] + [0] * (C - 2), [0] * (C - 1) + [1]] and not dx.any()


@ways("in order", "check")
@pytest.mark.parametrize("C", [3, 8])
def test_a_forbidden_score_makes_no_difference(random, way, C):
    x = random.standard_normal((2, C)).astype("f")
    mask = np.ones((2, C), bool)
    mask[0, 1] = mask[1, 0] = False
    expected = ops.softmax(Tensor(x), mask).data
    for value in (np.nan, np.inf, -np.inf, 1e30):
        x[~mask] = value
        with running(way) as there:
            y = to_device(ops.softmax(Tensor(there(x)), mask).data, "cpu")
        np.testing.assert_allclose(y, expected, rtol=1e-6)
        assert not y[~mask].any()


@ways("in order", "check")
@pytest.mark.parametrize("V", [3, 8])
def test_cross_entropy_of_infinite_logits(way, V):
    logits = np.zeros((3, V), "f")
    logits[0, 1], logits[1, 0], logits[2] = -np.inf, np.inf, np.nan
    with running(way) as there:
        for target, expected in [([1, -100, -100], np.inf), ([0, -100, -100], np.log(V - 1)), ([-100] * 3, 0)]:
            t = Tensor(there(logits), requires_grad=True)
            loss = ops.cross_entropy(t, there(np.array(target)))
            loss.backward()
            assert loss.item() == pytest.approx(expected, rel=1e-6)
            assert not to_device(t.grad, "cpu")[np.array(target) < 0].any()


@ways("in order", "check")
def test_without_a_derivative_cross_entropy_only_reads(random, way, monkeypatch):
    x, target = random.standard_normal((3, 8)).astype("f"), np.array([1, -100, 7])
    asked = []
    with running(way) as there:
        monkeypatch.setattr(kernels.Kernel, "__call__", spied(kernels.Kernel.__call__, asked))
        with no_grad():
            quiet = ops.cross_entropy(Tensor(there(x), requires_grad=True), there(target)).item()
        loud = ops.cross_entropy(Tensor(there(x), requires_grad=True), there(target)).item()
    dlogits = [arguments[3] for name, arguments in asked if name == "cross_entropy_rows"]
    assert quiet == loud and dlogits[0] is None and dlogits[1].shape == x.shape


def spied(launch, asked):
    def call(kernel, grid, block, arguments, **options):
        asked.append((kernel.signature.name, arguments))
        return launch(kernel, grid, block, arguments, **options)

    return call


@needs_compiler
def test_errors_are_those_of_the_ops():
    with kernels.on_cpu():
        with pytest.raises(IndexError, match="targets from 0 to 3, must be in 0 to 2"):
            ops.cross_entropy(Tensor(np.zeros((2, 3))), np.array([0, 3]))
        with pytest.raises(IndexError, match="ids from 0 to 2, the table has rows 0 to 1"):
            ops.embedding(Tensor(np.zeros((2, 3))), np.array([0, 2]))


@ways("in order", "check")
@pytest.mark.parametrize("C", [3, 8])
def test_what_a_gpu_does_not_wait_to_check_becomes_nan(way, C):
    """The op looks at ids on the CPU; on a GPU only the kernel does, and makes sure that nobody overlooks it."""
    with running(way) as there:
        x, places = there(np.zeros((3, C), "f")), there(np.array([0, -1, C]))
        out, back = embedding._by_kernel(x, places)
        many = there(np.repeat([-1, 0, C], 50))  # longer runs than one team sums
        _, back_from_many = embedding._by_kernel(x, many)
        dtable = to_device(back(there(np.ones((3, C), "f"))), "cpu")
        dtable_of_many = to_device(back_from_many(there(np.ones((150, C), "f"))), "cpu")
        loss, derivative = cross_entropy._by_kernel(x, places, -100, 0.0)
        out, loss, dlogits = (to_device(a, "cpu") for a in (out, loss, derivative(there(np.ones((), "f")))))
    for found in (out, dlogits):
        assert not np.isnan(found[0]).any() and np.isnan(found[1:]).all()
    assert np.isnan(loss)
    assert dtable.tolist() == [[1] * C, [0] * C, [0] * C] and dtable_of_many.tolist() == [[50] * C, [0] * C, [0] * C]


@ways("in order")
@pytest.mark.parametrize("size", [(300, 5), (300, 64), (9000, 4)])
def test_many_rows(size, way):
    """More rows than the teams of one launch: each takes several, and partial sums are added up."""
    for case in [case for case in CASES if case.name in ("layernorm", "rmsnorm", "gelu, bias")]:
        agree(case, arrays(case, size, "d"), way, rtol=1e-9, atol=1e-9)
