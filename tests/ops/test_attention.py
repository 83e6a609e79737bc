"""Attention: every mask, bias and shape against loops, on each way in which the scores may be cut into blocks."""

import importlib
import tracemalloc

import naive
import numpy as np
import pytest

from minivl import Tensor, gradcheck, masks, no_grad, ops

attention_file = importlib.import_module("minivl.ops.attention")  # the package has the function under this name

BLOCKS = {  # scores held at a time, scores up to which the weights are kept
    "as shipped": (None, None),
    "whole, computed again": (1 << 16, 0),
    "an example at a time": (2 * 4 * 4, 1 << 16),
    "a head at a time, computed again": (4 * 4, 0),
    "two rows at a time": (2 * 4, 1 << 16),
    "a row at a time, computed again": (1, 0),
}


@pytest.fixture(params=BLOCKS, ids=BLOCKS)
def blocks(request, monkeypatch):
    scores, kept = BLOCKS[request.param]
    if scores is not None:
        monkeypatch.setattr(attention_file, "_SCORES", scores)
        monkeypatch.setattr(attention_file, "_ROWS", 1)
        monkeypatch.setattr(attention_file, "_KEPT", kept)
        monkeypatch.setenv("MINIVL_THREADS", "2")


def qkv(random, B=3, H=2, Tq=4, Tk=4, D=3, Dv=3):
    return [random.standard_normal(shape) for shape in ((B, H, Tq, D), (B, H, Tk, D), (B, H, Tk, Dv))]


MASKS = {
    "none": None,
    "bidirectional": masks.bidirectional(4),
    "causal": masks.causal(4),
    "padding": masks.padding([4, 1, 3], 4),
    "causal and padding": masks.causal(4) & masks.padding([4, 1, 3], 4),
    "prefix": masks.prefix(2, 2),
    "block": masks.block(1, 2, 1),
    "block or causal": masks.block(2, 2) | masks.causal(4),
    "class token last": masks.class_token_last([3, 1, 2], 3),
    "by head": np.random.default_rng(0).random((2, 4, 4)) < 0.6,
    "by example and head": np.random.default_rng(1).random((3, 2, 4, 4)) < 0.6,
    "by query": np.array([[True], [False], [True], [True]]),
    "nothing": np.zeros((1, 1), bool),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masks(random, blocks, mask):
    q, k, v = qkv(random)
    out = ops.attention(Tensor(q), k, v, mask=mask)
    np.testing.assert_allclose(out.data, naive.attention(q, k, v, mask), rtol=1e-12, atol=1e-13)
    gradcheck(lambda *a: ops.attention(*a, mask=mask), q, k, v, seeds=(0,))


BIASES = [(3, 2, 4, 4), (1, 2, 4, 4), (3, 1, 4, 4), (3, 2, 1, 4), (3, 2, 4, 1), (1, 1, 1, 1), (3, 1, 1, 4), (2, 4, 4),
          (2, 1, 1), (4, 4), (1, 4), (4,), ()]  # fmt: skip


@pytest.mark.parametrize("shape", BIASES, ids=str)
def test_a_bias_is_learned_in_whatever_shape_it_is_broadcast_from(random, blocks, shape):
    (q, k, v), bias = qkv(random), random.standard_normal(shape)
    mask = masks.causal(4) & masks.padding([4, 1, 3], 4)
    out = ops.attention(Tensor(q), k, v, mask, bias)
    np.testing.assert_allclose(out.data, naive.attention(q, k, v, mask, bias), rtol=1e-12, atol=1e-13)
    gradcheck(lambda *a: ops.attention(*a[:3], mask, a[3]), q, k, v, bias, seeds=(0,))


@pytest.mark.parametrize(
    "sizes",
    [dict(Tq=5, Tk=2), dict(Tq=1, Tk=7), dict(Dv=5), dict(D=1, Dv=1), dict(B=1, H=5, Tq=3, Tk=3), dict(B=5, H=1, Dv=2)],
    ids=str,
)
def test_cross_attention_and_values_of_another_width(random, blocks, sizes):
    q, k, v = qkv(random, **sizes)
    out = ops.attention(Tensor(q), k, v)
    assert out.shape == (*q.shape[:3], v.shape[3])
    np.testing.assert_allclose(out.data, naive.attention(q, k, v), rtol=1e-12, atol=1e-13)
    gradcheck(ops.attention, q, k, v, seeds=(0,))


@pytest.mark.parametrize("scale", [1.0, 0.25, 0.0])
def test_scale(random, blocks, scale):
    q, k, v = qkv(random)
    out = ops.attention(Tensor(q), k, v, scale=scale)
    np.testing.assert_allclose(out.data, naive.attention(q, k, v, scale=scale), rtol=1e-12, atol=1e-13)
    gradcheck(lambda *a: ops.attention(*a, scale=scale), q, k, v, seeds=(0,))


def test_a_scale_is_not_learned(random):
    q, k, v = (Tensor(a, requires_grad=True) for a in qkv(random))
    with pytest.raises(TypeError, match=r"attention.*(argument 5|scale)"):
        ops.attention(q, k, v, scale=Tensor(0.5, requires_grad=True)).sum().backward()


def test_a_row_with_nothing_to_see_gives_exactly_nothing(random, blocks):
    q, k, v = (Tensor(1e3 * a, requires_grad=True) for a in qkv(random))
    mask = np.ones((3, 1, 4, 4), bool)
    mask[1, :, 2] = False  # one query
    mask[2] = False  # a whole example
    out = ops.attention(q, k, v, mask)
    out.backward(random.standard_normal(out.shape))
    assert not out.data[1, :, 2].any() and not out.data[2].any() and out.data[0].all()
    assert not q.grad[1, :, 2].any() and not q.grad[2].any()
    assert not k.grad[2].any() and not v.grad[2].any()
    assert all(np.isfinite(t.grad).all() for t in (q, k, v))


def test_where_a_mask_forbids_the_gradient_is_exactly_zero(random, blocks):
    """The output of query t depends on the keys that t may see, and on no others, not even by a rounding error."""
    mask = masks.causal(4) & masks.padding([4, 2, 3], 4)
    for t in range(4):
        q, k, v, bias = (Tensor(a, requires_grad=True) for a in (*qkv(random), random.standard_normal((3, 2, 4, 4))))
        ops.attention(q, k, v, mask, bias)[:, :, t].sum().backward()
        hidden = np.broadcast_to(~mask[:, :, t, :, None], k.shape)
        assert not k.grad[hidden].any() and not v.grad[hidden].any()
        assert v.grad[~hidden].all()
        assert not q.grad[:, :, np.arange(4) != t].any()
        assert not bias.grad[np.broadcast_to(~mask, bias.shape)].any()
        assert not bias.grad[:, :, np.arange(4) != t].any()


def test_what_is_hidden_may_be_anything(random, blocks):
    q, k, v = qkv(random)
    mask = masks.causal(4)
    before = ops.attention(Tensor(q), k, v, mask).data
    k[:, :, 3], v[:, :, 3] = 1e30, -1e30
    np.testing.assert_array_equal(ops.attention(Tensor(q), k, v, mask).data[:, :, :3], before[:, :, :3])


@pytest.mark.parametrize("Tq, Tk", [(0, 3), (3, 0), (0, 0)])
def test_without_queries_or_without_keys_nothing_is_learned(random, blocks, Tq, Tk):
    tensors = [Tensor(random.standard_normal((2, 3, T, 4)), requires_grad=True) for T in (Tq, Tk, Tk)]
    out = ops.attention(*tensors)
    assert out.shape == (2, 3, Tq, 4) and not out.data.any()
    with np.errstate(all="raise"):
        out.backward(np.ones(out.shape))
    for x in tensors:
        assert x.grad.shape == x.shape and not x.grad.any()


def test_a_mask_that_hides_nothing_changes_no_bit(random, blocks):
    q, k, v = qkv(random)
    everything = ops.attention(Tensor(q), k, v, np.ones((1, 1, 4, 4), bool)).data
    np.testing.assert_array_equal(everything, ops.attention(Tensor(q), k, v).data)


def peak_of(compute):
    """Bytes that NumPy holds at most while it computes."""
    tracemalloc.start()
    try:
        compute()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_long_sequences_need_no_table_masked_or_not(random, monkeypatch):
    monkeypatch.setenv("MINIVL_THREADS", "1")
    T = 3000
    q, k, v = (Tensor(random.standard_normal((1, 1, T, 8), dtype=np.float32)) for _ in range(3))
    mask = np.tri(T, dtype=bool)
    for how in ({}, {"causal": True}, {"mask": mask}, {"mask": mask, "causal": True}):
        assert peak_of(lambda how=how: ops.attention(q, k, v, **how)) < T * T  # the bytes of a table of booleans


def test_without_a_graph_no_weights_are_kept(random, monkeypatch):
    monkeypatch.setattr(attention_file, "_SCORES", 1 << 10)
    q, k, v = (Tensor(random.standard_normal((16, 4, 64, 8)), requires_grad=True) for _ in range(3))
    weights = 16 * 4 * 64 * 64 * 8
    assert peak_of(lambda: ops.attention(q, k, v)) > weights
    with no_grad():
        assert peak_of(lambda: ops.attention(q, k, v)) < weights / 2


def test_large_scores_do_not_overflow(random, blocks):
    q, k, v = (a.astype(np.float32) for a in qkv(random))
    with np.errstate(over="raise", invalid="raise"):
        out = ops.attention(Tensor(1e4 * q), 1e4 * k, v)
    scores = np.einsum("bhqd,bhkd->bhqk", q, k)
    np.testing.assert_allclose(out.data, np.take_along_axis(v, scores.argmax(-1)[..., None], 2), rtol=1e-6)


@pytest.mark.parametrize("kept", [0, 1 << 16], ids=["computed again", "kept"])
@pytest.mark.parametrize("scores", [1, 8, 1 << 5, 1 << 16])
def test_same_bits_on_any_number_of_threads(random, monkeypatch, scores, kept):
    monkeypatch.setattr(attention_file, "_SCORES", scores)
    monkeypatch.setattr(attention_file, "_ROWS", 1)
    monkeypatch.setattr(attention_file, "_KEPT", kept)
    arrays = [a.astype(np.float32) for a in (*qkv(random, Tq=5, Tk=6), random.standard_normal((2, 5, 6)))]
    seen = set()
    for threads in ("1", "2", "4"):
        monkeypatch.setenv("MINIVL_THREADS", threads)
        q, k, v, bias = tensors = [Tensor(a, requires_grad=True) for a in arrays]
        out = ops.attention(q, k, v, np.tri(5, 6, dtype=bool), bias)
        out.backward(np.ones_like(out.data))
        seen.add(b"".join(a.tobytes() for a in (out.data, *(t.grad for t in tensors))))
    assert len(seen) == 1


def test_blocks_may_be_worked_out_in_any_order(random, monkeypatch):
    monkeypatch.setattr(attention_file, "_SCORES", 1)
    monkeypatch.setattr(attention_file, "_ROWS", 1)
    arrays = [a.astype(np.float32) for a in (*qkv(random, B=9), random.standard_normal((1, 1, 4, 4)))]
    d = random.standard_normal((9, 2, 4, 3)).astype(np.float32)

    def run():
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        out = ops.attention(*tensors[:3], bias=tensors[3])
        out.backward(d)
        return [out.data.tobytes(), *(t.grad.tobytes() for t in tensors)]

    forwards = run()
    monkeypatch.setattr(attention_file, "parallel", lambda body, chunks: [body(c) for c in list(chunks)[::-1]])
    assert run() == forwards


def test_a_long_sequence_does_not_hold_all_its_scores(random, monkeypatch):
    """T = 1,500 in float32: the table of scores of both heads alone would take 18 MB."""
    monkeypatch.setenv("MINIVL_THREADS", "1")
    T = 1500
    q, k, v = (a.astype(np.float32) for a in qkv(random, B=1, H=2, Tq=T, Tk=T, D=2, Dv=2))
    tensors = [Tensor(a, requires_grad=True) for a in (q, k, v)]
    tracemalloc.start()
    out = ops.attention(*tensors)
    out.sum().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6, f"{peak / 1e6:.1f} MB"
    rows = [0, 700, T - 1]
    scores = np.einsum("bhqd,bhkd->bhqk", q[:, :, rows].astype(np.float64), k) / 2**0.5
    share = np.exp(scores - scores.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    np.testing.assert_allclose(out.data[:, :, rows], share @ v, rtol=1e-4, atol=1e-5)


def test_the_output_lies_in_memory_as_the_next_layer_wants_it(random):
    """(B, H, T, D) -> (B, T, H D) is then no copy."""
    out = ops.attention(*(Tensor(a) for a in qkv(random)))
    assert np.shares_memory(out.data, out.data.transpose(0, 2, 1, 3).reshape(3, 4, 6))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (dict(k=(3, 2, 4, 5)), ValueError, "k (3, 2, 4, 5)"),
        (dict(k=(3, 1, 4, 3)), ValueError, "want (B, H, Tq, D) and twice (B, H, Tk, D)"),
        (dict(v=(3, 2, 5, 3)), ValueError, "v (3, 2, 5, 3)"),
        (dict(mask=np.zeros((4, 4))), TypeError, "mask is float64, must be boolean, True = may attend"),
        (dict(mask=np.ones((4, 4), int)), TypeError, "mask is int64"),
        (dict(mask=np.ones((4, 5), bool)), ValueError, "mask (4, 5) cannot be broadcast to (B, H, Tq, Tk) = (3,"),
        (dict(mask=np.ones((1, 3, 2, 4, 4), bool)), ValueError, "mask (1, 3, 2, 4, 4) cannot be broadcast"),
        (dict(bias=np.ones((3, 4, 4))), ValueError, "bias (3, 4, 4) cannot be broadcast"),
    ],
)  # fmt: skip
def test_errors(random, change, error, words):
    q, k, v = qkv(random)
    change = {name: np.zeros(a) if isinstance(a, tuple) else a for name, a in change.items()}
    with pytest.raises(error) as caught:
        ops.attention(Tensor(q), **({"k": k, "v": v} | change))
    assert "attention" in str(caught.value) and words in str(caught.value)
