"""InfoNCE piece by piece, in NumPy and by kernels: the loss and gradients of its definition, and little memory."""

import contextlib
import importlib
import tracemalloc

import naive
import numpy as np
import pytest
from kernel_runs import CHECK, CPU, bf16, running, ways, widened

from minivl import Tensor, gradcheck, ops
from minivl.array import to_device
from minivl.losses import contrastive_loss

contrastive_file = importlib.import_module("minivl.ops.contrastive")  # the package has the function under this name
contrastive = ops.contrastive.__wrapped__  # on arrays, for a Tensor does not take the bits of bfloat16

DTYPES = {"float32": 1e-5, "float64": 1e-12, "bfloat16": 1e-2}  # and the largest error, beside the largest number
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def unit(random, B, C):
    x = random.standard_normal((B, C))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def twins(random, B):
    """Pairs that belong together, not mirrored: the two directions are told apart."""
    return random.random((B, B)) < 0.2


# ---- the NumPy text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize(("held", "kept"), [(1 << 22, 1 << 16), (1 << 22, 0), (14, 0), (1, 0), (14, 1 << 16)])
def test_the_batch_may_be_cut_anywhere(random, monkeypatch, held, kept, same):
    monkeypatch.setattr(contrastive_file, "_HELD", held)
    monkeypatch.setattr(contrastive_file, "_KEPT", kept)
    v, w, scale, pairs = unit(random, 7, 4), unit(random, 7, 4), np.array(1.5), twins(random, 7) if same else None
    loss = ops.contrastive(Tensor(v), w, scale, pairs)
    assert loss.item() == pytest.approx(naive.contrastive(v, w, scale, pairs), rel=1e-12)
    gradcheck(lambda *a: ops.contrastive(*a, pairs), v, w, scale, seeds=(0,))


def test_same_bits_on_any_number_of_threads(random, monkeypatch, small_chunks):
    monkeypatch.setattr(contrastive_file, "_HELD", 100)
    arrays = [a.astype(np.float32) for a in (unit(random, 33, 8), unit(random, 33, 8), np.array(2.0))]
    seen = set()
    for threads in ("1", "2", "4"):
        monkeypatch.setenv("MINIVL_THREADS", threads)
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        loss = ops.contrastive(*tensors)
        loss.backward()
        seen.add(b"".join(a.tobytes() for a in (loss.data, *(t.grad for t in tensors))))
    assert len(seen) == 1


def test_a_large_batch_does_not_hold_all_its_similarities(random, monkeypatch):
    """B = 1,500 in float32: they would take 9 MB."""
    monkeypatch.setattr(contrastive_file, "_HELD", 1 << 16)
    monkeypatch.setenv("MINIVL_THREADS", "1")
    arrays = [a.astype(np.float32) for a in (unit(random, 1500, 8), unit(random, 1500, 8), np.array(2.0))]
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    tracemalloc.start()
    loss, table = contrastive_loss(*tensors)
    loss.backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table is None and peak < 2e6, f"{peak / 1e6:.1f} MB"
    z = np.exp(2.0) * arrays[0].astype(float) @ arrays[1].T
    sums = np.log(np.exp(z).sum(0)) + np.log(np.exp(z).sum(1)) - 2 * z.diagonal()
    assert loss.item() == pytest.approx(sums.mean() / 2, rel=1e-5)


def test_far_too_sure(random):
    v = np.eye(3, dtype=np.float32)
    for sign in (1, -1):
        tensors = [Tensor(a, requires_grad=True) for a in (v, sign * v, np.float32(np.log(1e4)))]
        with np.errstate(over="raise", invalid="raise"):
            loss = ops.contrastive(*tensors)
            loss.backward()
        assert loss.item() == pytest.approx(0 if sign > 0 else 1e4 + np.log(2), rel=1e-4)
        assert all(np.isfinite(t.grad).all() for t in tensors)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.ones((2, 3)), np.ones((3, 3)), 1.0), r"image \(2, 3\), text \(3, 3\)"),
        ((np.ones((2, 3)), np.ones((2, 3)), np.ones(2)), r"log_scale \(2,\)"),
        ((np.ones((2, 3)), np.ones((2, 3)), 1.0, np.ones((2, 2))), "same is float64 .*boolean"),
        ((np.ones((2, 3)), np.ones((2, 3)), 1.0, np.ones(2, bool)), r"same is bool \(2,\)"),
    ],
)
def test_errors_name_the_argument(arguments, words):
    tensors = [Tensor(np.asarray(a)) for a in arguments[:3]]
    with pytest.raises(ValueError, match=words):
        ops.contrastive(*tensors, *arguments[3:])


# ---- the kernels -----------------------------------------------------------------------------------------------------


def example(random, dtype, B, C, scale=1.5):
    v, w = unit(random, B, C), unit(random, B, C)
    scale = np.array(scale, "f8" if dtype == "float64" else "f4")
    return (bf16(v), bf16(w), scale) if dtype == "bfloat16" else (v.astype(dtype), w.astype(dtype), scale)


def wide(x):
    x = to_device(x, "cpu")
    return (widened(x) if x.dtype == np.uint16 else np.asarray(x)).astype(np.float64)


def gradients(arrays, way=None, same=None):
    """[loss, dimage, dtext, dlog_scale]; without a way, those of the definition."""
    with running(way) if way else contextlib.nullcontext() as there:
        v, w, scale = (there(a) if way else wide(a) for a in arrays)
        loss, derivative = contrastive(v, w, scale, None if same is None else there(same) if way else same)
        d = np.array(0.7, scale.dtype)
        return [loss, *derivative(there(d) if way else d)[:3]]


def check(arrays, dtype, way, same=None):
    names = "loss", "dimage", "dtext", "dlog_scale"
    got, expected = gradients(arrays, way, same), gradients(arrays, None, same)
    for name, a, b in zip(names, map(wide, got), expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=DTYPES[dtype] * np.abs(b).max(), err_msg=name)


@ways("seed 1", "seed 2")
@every_dtype
@pytest.mark.parametrize(("B", "C"), [(1, 8), (2, 24), (31, 64), (33, 8), (65, 296), (200, 40)])
def test_odd_sizes(random, B, C, dtype, way):
    check(example(random, dtype, B, C), dtype, way)
    check(example(random, dtype, B, C), dtype, way, twins(random, B))


@ways("in order")
@every_dtype
def test_a_batch_of_1025(random, dtype, way):
    check(example(random, dtype, 1025, 16), dtype, way)


@ways(*CHECK)
@every_dtype
def test_no_race_and_no_access_out_of_bounds(random, dtype, way):
    check(example(random, dtype, 67, 24), dtype, way, twins(random, 67))


@ways("seed 3")
@every_dtype
def test_as_sharp_as_a_model_may_become(random, dtype, way):
    """exp(log_scale) = 100: some pairs are found for certain, and others not at all."""
    v, w, scale = example(random, dtype, 40, 32, np.log(100))
    near = 0.4 * wide(v) + 0.9 * wide(w)
    check((v, bf16(near) if dtype == "bfloat16" else near.astype(dtype), scale), dtype, way)


@ways("seed 1")
@every_dtype
def test_same_bits_at_every_run_and_in_every_order(random, dtype, way):
    arrays = example(random, dtype, 70, 72)
    runs = [gradients(arrays, order) for order in (["gpu"] * 2 if way == "gpu" else CPU)]
    assert len({b"".join(to_device(a, "cpu").tobytes() for a in run) for run in runs}) == 1


@ways("in order")
def test_gradcheck_runs_on_the_kernels_themselves(random, way):
    if way == "gpu":
        pytest.skip("gradcheck runs on NumPy arrays")
    v, w, scale = example(random, "float64", 6, 5)
    with running(way):
        gradcheck(lambda *a: contrastive_loss(*a, twins(np.random.default_rng(0), 6))[0], v, w, scale)
