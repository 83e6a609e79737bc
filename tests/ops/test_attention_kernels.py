"""Attention by its kernels: every mask, bias, size, head width and dtype against the NumPy text in float64."""

import contextlib
import tracemalloc

import numpy as np
import pytest
from kernel_runs import CHECK, CPU, bf16, running, ways, widened

from minivl import Tensor, gradcheck, kernels, masks, ops
from minivl.array import to_device

DTYPES = {"float32": 3e-6, "float64": 1e-13, "bfloat16": 1.2e-2}  # and the largest error, beside the largest number
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
attention = ops.attention.__wrapped__  # on arrays, for a Tensor does not take the bits of bfloat16


def rounded(x, dtype):
    return bf16(x) if dtype == "bfloat16" else x.astype(dtype)


def wide(x):
    x = to_device(x, "cpu")
    return (widened(x) if x.dtype == np.uint16 else x).astype(np.float64)


def example(random, dtype, B=2, H=2, Tq=70, Tk=70, D=32, bias=None):
    """q, k, v, dout and perhaps a bias, in `dtype`."""
    shapes = [(B, H, Tq, D), (B, H, Tk, D), (B, H, Tk, D), (B, H, Tq, D), *([] if bias is None else [bias])]
    arrays = [rounded(random.standard_normal(shape), dtype) for shape in shapes]
    return arrays[:4] + [wide(a).astype("f4") if dtype == "bfloat16" else a for a in arrays[4:]]


def gradients(arrays, way=None, mask=None, **options):
    """[output, dq, dk, dv and perhaps dbias]; without a way, those of the definition."""
    with running(way) if way else contextlib.nullcontext(np.asarray) as there:
        q, k, v, dout, *bias = (there(a if way else wide(a)) for a in arrays)
        mask = None if mask is None else there(mask)
        out, derivative = attention(q, k, v, mask, bias[0] if bias else None, **options)
        dq, dk, dv, _, dbias = derivative(dout)
        return [out, dq, dk, dv, *([dbias()] if way and bias else [dbias] if bias else [])]


def check(arrays, dtype, way, mask=None, summed=1, **options):
    """The kernels give what the definition gives; returns what they gave. `summed`: what errors may add up to."""
    got, expected = (gradients(arrays, w, mask, **options) for w in (way, None))
    for name, a, b in zip(("out", "dq", "dk", "dv", "dbias"), map(wide, got), expected, strict=False):
        assert a.shape == b.shape
        np.testing.assert_allclose(
            a, b, rtol=0, atol=summed * DTYPES[dtype] * max(1, np.abs(b).max(initial=0)), err_msg=name
        )
    return got


T = 70  # more than a tile of 64
LENGTHS = [70, 3]
MASKS = {
    "bidirectional": masks.bidirectional(T),
    "causal": masks.causal(T),
    "padding": masks.padding(LENGTHS, T),
    "causal and padding": masks.causal(T) & masks.padding(LENGTHS, T),
    "prefix": masks.prefix(20, 50),
    "block": masks.block(64, 5, 1),
    "block or causal": masks.block(10, 60) | masks.causal(T),
    "class token last": masks.class_token_last([69, 12], T - 1),
    "by head": np.random.default_rng(0).random((2, T, T)) < 0.4,
    "by example and head": np.random.default_rng(1).random((2, 2, T, T)) < 0.4,
    "by query": np.random.default_rng(2).random((T, 1)) < 0.5,
    "by head, padding": np.random.default_rng(3).random((1, 2, 1, T)) < 0.5,
    "nothing": np.zeros((1, 1), bool),
}


@ways("seed 1")
@every_dtype
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masks(random, mask, dtype, way):
    got = check(example(random, dtype), dtype, way, mask)
    allowed = np.broadcast_to(mask, (2, 2, T, T))
    assert not wide(got[0])[~allowed.any(-1)].any() and not wide(got[1])[~allowed.any(-1)].any(), "sees nothing"
    assert not wide(got[2])[~allowed.any(-2)].any() and not wide(got[3])[~allowed.any(-2)].any(), "is seen by nobody"


@ways("check, seed 4")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mask", ["causal", "padding", "by example and head"])
def test_no_race_and_no_access_out_of_bounds(random, mask, dtype, way):
    drawn = {"causal": masks.causal(33), "padding": masks.padding([33], 33), "by example and head": None}[mask]
    drawn = np.random.default_rng(1).random((1, 1, 33, 33)) < 0.4 if drawn is None else drawn
    check(example(random, dtype, 1, 1, 33, 33, bias=(33, 33)), dtype, way, drawn)


@pytest.mark.slow
@ways(*CHECK)
@every_dtype
@pytest.mark.parametrize("D", [32, 64, 128])
def test_no_race_in_any_dtype_and_width(random, D, dtype, way):
    mask = np.random.default_rng(1).random((90, 70)) < 0.5
    check(example(random, dtype, 1, 2, 90, 70, D, bias=(2, 1, 70)), dtype, way, mask)


@ways("seed 2")
@every_dtype
@pytest.mark.parametrize(("Tq", "Tk"), [(1, 1), (1, 31), (31, 1), (33, 63), (65, 33), (129, 64), (128, 200)])
@pytest.mark.parametrize("causal", [False, True])
def test_odd_sizes(random, Tq, Tk, causal, dtype, way):
    check(example(random, dtype, 1, 1, Tq, Tk), dtype, way, causal=causal)


@ways("in order")
@every_dtype
def test_long_sequences_hold_no_scores_in_memory(random, dtype, way):
    """A table of 1025 x 1025 scores would take 4.2 MB in float32; inputs, outputs and gradients take 1.3 MB."""
    arrays = example(random, dtype, 1, 1, 1025, 1025)
    check(arrays, dtype, way, causal=True)
    if way != "gpu":
        tracemalloc.start()
        gradients(arrays, way, causal=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 * arrays[0].nbytes + 1e5, f"{peak / 1e6:.1f} MB"


@ways("in order")
@every_dtype
@pytest.mark.parametrize("D", [64, 128])
def test_head_widths(random, D, dtype, way):
    if (dtype, D) == ("float64", 64) and way != "gpu":
        pytest.skip("one compilation less: 32 and 128 lie on either side of it")
    mask = np.random.default_rng(1).random((90, 70)) < 0.5
    check(example(random, dtype, 1, 2, 90, 70, D, bias=(2, 1, 70)), dtype, way, mask)


BIASES = [(2, 2, 70, 70), (1, 2, 70, 70), (2, 1, 70, 70), (2, 2, 1, 70), (2, 2, 70, 1), (1, 1, 1, 1), (70,), ()]


@ways("seed 3")
@every_dtype
@pytest.mark.parametrize("shape", BIASES, ids=str)
def test_a_bias_of_any_shape_has_its_derivative(random, shape, dtype, way):
    """Where one number stands for many scores, their rounding errors add up, as the root of how many they are."""
    many = (2 * 2 * 70 * 70 / np.prod(shape)) ** 0.5
    mask = masks.causal(70) & masks.padding(LENGTHS, 70)
    check(example(random, dtype, bias=shape), dtype, way, mask, summed=1 + many / 4)


@every_dtype
@ways("seed 1")
def test_same_bits_at_every_run_and_in_every_order(random, dtype, way):
    arrays = example(random, dtype, B=3, bias=(1, 1, 70, 70))
    orders = ["gpu", "gpu"] if way == "gpu" else list(CPU)
    runs = [gradients(arrays, order, masks.causal(70)) for order in orders]
    assert len({b"".join(to_device(a, "cpu").tobytes() for a in run) for run in runs}) == 1


@every_dtype
@ways("in order")
def test_what_is_hidden_may_be_anything(random, dtype, way):
    """Values in tiles that nobody sees are never read: they are NaN. In a tile that is partly seen they are huge."""
    arrays = example(random, dtype, 1, 1, 64, 300)
    mask = masks.padding([70], 300)
    before = gradients(arrays, way, mask)
    for a, huge in zip(arrays[1:3], (1e30, -1e30), strict=True):
        a[:, :, 70:128] = rounded(np.array(huge), dtype)
        a[:, :, 128:] = rounded(np.array(np.nan), dtype)
    for a, b in zip(before, gradients(arrays, way, mask), strict=True):
        np.testing.assert_array_equal(to_device(a, "cpu"), to_device(b, "cpu"))


@every_dtype
@ways("in order")
def test_large_scores_do_not_overflow(random, dtype, way):
    q, k, v, d = (wide(a) for a in example(random, dtype))
    out = gradients([rounded(a, dtype) for a in (8192 * q, 8192 * k, v, d)], way)[0]
    scores = np.einsum("bhqd,bhkd->bhqk", q, k)
    chosen = np.take_along_axis(v, scores.argmax(-1)[..., None], 2)
    np.testing.assert_allclose(wide(out), chosen, rtol=DTYPES[dtype])


@ways("in order")
@pytest.mark.parametrize("mask", ["causal", "padding"])
def test_gradcheck_runs_on_the_kernels_themselves(random, mask, way):
    allowed = {"causal": masks.causal(5), "padding": masks.padding([5, 0], 5)}[mask]
    q, k, v, _, bias = example(random, "float64", 2, 2, 5, 5, bias=(2, 1, 5))
    if way == "gpu":
        pytest.skip("gradcheck runs on NumPy arrays")
    with running(way):
        gradcheck(lambda *a: ops.attention(*a[:3], allowed, a[3], scale=0.3), q, k, v, bias)


@ways("in order")
def test_the_op_uses_its_kernels_where_there_are_any(random, way, monkeypatch):
    used = []
    load = kernels.load
    monkeypatch.setattr(kernels, "load", lambda name, **options: used.append(name) or load(name, **options))
    q, k, v, _ = example(random, "float32", 1, 1, 5, 5)
    with running(way) as there:
        q, k, v = (Tensor(there(a)) for a in (q, k, v))
        ops.attention(q, k, v)
        assert used == ["attention"]
        for call in (
            lambda: ops.attention(q[..., :24], k[..., :24], v),  # no kernel for this width,
            lambda: ops.attention(q, k, v[..., :16]),  # for values of another,
            lambda: ops.attention(q, k, v, scale=-1.0),  # for scores turned round,
            lambda: ops.attention(q, k[:, :, :0], v[:, :, :0]),  # for nothing
        ):
            call()
            assert used == ["attention"]


def test_causal_is_the_causal_mask(random):
    """Also without kernels, with a mask beside it, and where queries go on from earlier keys."""
    q, k, v = (random.standard_normal((2, 2, n, 3)) for n in (4, 7, 7))
    for mask in (None, masks.padding([7, 3], 7)):
        expected = masks.causal(4, 3) if mask is None else masks.causal(4, 3) & mask
        a, b = ops.attention(Tensor(q), k, v, mask, causal=True), ops.attention(Tensor(q), k, v, expected)
        np.testing.assert_array_equal(a.data, b.data)


@ways("in order", *CHECK)
def test_packing_a_mask(random, way):
    mask = random.random((2, 1, 100, 130)) < 0.5
    mask[0, 0, :64, 64:128], mask[1, 0, 64:, 128:] = False, True
    bits, tiles = np.zeros((2, 1, 100, 5), np.uint32), np.zeros((2, 1, 2, 3), np.uint8)
    with running(way) as there:
        bits, tiles = there(bits), there(tiles)
        kernels.load("attention", like=there(np.zeros(1, "f")), defines={"HEAD_WIDTH": 32}).attention_pack(
            tiles.size, 256, (there(mask), bits, tiles, 100, 130, 130)
        )
    expected = np.packbits(np.pad(mask, [(0, 0)] * 3 + [(0, 30)]), axis=-1, bitorder="little").view(np.uint32)
    np.testing.assert_array_equal(to_device(bits, "cpu"), expected)
    assert to_device(tiles, "cpu").tolist() == [[[[1, 0, 1], [1, 1, 1]]], [[[1, 1, 1], [1, 1, 2]]]]
